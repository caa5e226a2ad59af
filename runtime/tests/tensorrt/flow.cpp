// The TensorRT backend from opening to the last frame, on a GPU that is not there: stand_in.hpp says what that shows.
//
// Usage: flow FOLDER, which is made; a libcuda.so.1 that finds a GPU (tests/tensorrt/libcuda.c) must be loadable.

#include <NvInferVersion.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "backend.hpp"
#include "check.hpp"
#include "segexport/class_map_cuda.hpp"
#include "stand_in.hpp"
#include "tensorrt/driver.hpp"

using namespace segexport;
using detail::Backend;
using detail::Bundle;
using detail::ClassMapBy;

namespace {

int heap_allocations = 0;  // by our own code

void* allocated(std::size_t size) {
    if (stand_in::Inside::depth == 0) ++heap_allocations;
    void* const bytes = std::malloc(size);
    if (bytes == nullptr) std::abort();
    return bytes;
}

}  // namespace

void* operator new(std::size_t size) { return allocated(size); }
void* operator new[](std::size_t size) { return allocated(size); }
void operator delete(void* bytes) noexcept { std::free(bytes); }
void operator delete(void* bytes, std::size_t) noexcept { std::free(bytes); }
void operator delete[](void* bytes) noexcept { std::free(bytes); }
void operator delete[](void* bytes, std::size_t) noexcept { std::free(bytes); }

namespace {

std::filesystem::path folder;

constexpr Size kOwn = {24, 36};  // of the bundles' images
const std::string kFixed = " 1 24 36 1 24 36 1 24 36";
const std::string kOpen = " 1 8 8 1 24 36 4 64 64";
const std::string kTwo = " 1 8 8 1 48 48 1 64 64 1 24 36 1 24 36 1 24 36";

std::string version() {
    return std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + "." +
           std::to_string(NV_TENSORRT_PATCH);
}

Bundle bundle(const std::string& plan, ClassMapBy by = ClassMapBy::device, Size mask = kOwn) {
    Bundle made;
    made.folder = folder;
    std::ofstream(made.plan()) << plan;
    auto& manifest = made.manifest;
    manifest.precision = "fp16";
    manifest.contract.size = manifest.contract.image_size = kOwn;
    manifest.contract.mask_size = mask;
    manifest.contract.output = plan.find("scores") != std::string::npos ? Output::scores : Output::mask;
    manifest.engine = "tensorrt";
    manifest.engine_version = version();
    manifest.engine_device = "GPU";
    manifest.class_map = by;
    manifest.plan = detail::PlanFacts();
    manifest.plan->compute_capability = "8.6";
    manifest.plan->gpu = "NVIDIA One";
    manifest.plan->system = detail::system_name();
    return made;
}

struct Picture {
    Size size;
    std::vector<std::uint8_t> bytes;
    ImageView view;
};

Picture picture(Size size, PixelFormat format = PixelFormat::rgb, int padding = 0, int seed = 1) {
    Picture made;
    made.size = size;
    const bool four = format == PixelFormat::rgba || format == PixelFormat::bgra;
    const int stride = size.width * (format == PixelFormat::nv12 ? 1 : four ? 4 : 3) + padding;
    const int rows = format == PixelFormat::nv12 ? size.height * 3 / 2 : size.height;
    made.bytes.resize(static_cast<std::size_t>(stride * rows));
    unsigned state = static_cast<unsigned>(seed);
    for (auto& byte : made.bytes) byte = static_cast<std::uint8_t>((state = state * 1664525U + 1013904223U) >> 24);
    if (format == PixelFormat::nv12) {
        const std::uint8_t* const chroma = made.bytes.data() + stride * size.height;
        made.view = ImageView::nv12(made.bytes.data(), chroma, size.height, size.width, stride, stride);
    } else {
        made.view = ImageView::packed(made.bytes.data(), size.height, size.width, format, stride);
    }
    return made;
}

// What the class map of an image must be, by straightforward code.
struct Expected {
    std::vector<std::uint8_t> mask;
    std::vector<float> confidence;
};

struct Winner {
    int id;
    float confidence;
};

Winner winner(const std::vector<std::uint8_t>& pixels, Size input, Size out, int y, int x) {
    const Size grid = {(input.height + 3) / 4, (input.width + 3) / 4};
    namespace kernel = class_map_detail;
    const auto rows = kernel::source_of(y, grid.height, kernel::source_scale(grid.height, out.height));
    const auto columns = kernel::source_of(x, grid.width, kernel::source_scale(grid.width, out.width));
    const auto at = [&](int row, int column, int id) {
        row = row < grid.height ? row : grid.height - 1;
        column = column < grid.width ? column : grid.width - 1;
        return stand_in::logit(&pixels[static_cast<std::size_t>((row * 4 * input.width + column * 4) * 3)], id);
    };
    float most = -1, values[stand_in::kClasses];
    int best = 0;
    for (int id = 0; id < stand_in::kClasses; ++id) {
        const float top =
            (1 - columns.weight) * at(rows.low, columns.low, id) + columns.weight * at(rows.low, columns.low + 1, id);
        const float bottom = (1 - columns.weight) * at(rows.low + 1, columns.low, id) +
                             columns.weight * at(rows.low + 1, columns.low + 1, id);
        const float value = (1 - rows.weight) * top + rows.weight * bottom;
        values[id] = value;
        if (value > most) {
            most = value;
            best = id;
        }
    }
    float sum = 0;
    for (const float value : values) sum += std::exp(value - most);
    return {best, 1 / sum};
}

// input: the engine's; made: the class map's size before it is brought to the image's.
Expected expected(const Picture& image, Size input, Size made, bool logits) {
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(input.height * input.width * 3));
    stand_in::prepare(image.view, input, PixelFormat::rgb, pixels.data());
    Expected found;
    for (int y = 0; y < image.size.height; ++y) {
        for (int x = 0; x < image.size.width; ++x) {
            const int row = static_cast<int>((y + 0.5) * made.height / image.size.height);
            const int column = static_cast<int>((x + 0.5) * made.width / image.size.width);
            const std::size_t at = static_cast<std::size_t>(row * input.width + column) * 3;
            const std::uint8_t* const pixel = &pixels[at % pixels.size()];
            const Winner best = logits ? winner(pixels, input, made, row, column)
                                       : Winner{stand_in::mask(pixel), stand_in::confidence(pixel)};
            found.mask.push_back(static_cast<std::uint8_t>(best.id));
            found.confidence.push_back(best.confidence);
        }
    }
    return found;
}

template <typename T>
bool same(const Plane<T>& plane, const std::vector<T>& wanted) {
    for (int y = 0; y < plane.height(); ++y) {
        if (std::memcmp(plane.row(y), &wanted[static_cast<std::size_t>(y * plane.width())],
                        static_cast<std::size_t>(plane.width()) * sizeof(T)) != 0) {
            return false;
        }
    }
    return true;
}

bool run(Backend& backend, const Picture& image, Mask& mask, const Expected& wanted) {
    mask.fit(image.size);
    backend.submit({image.view, &mask, nullptr});
    backend.wait();
    return same(mask, wanted.mask);
}

void frames_and_graphs() {
    for (const std::string outputs : {"logits16", "logits32", "mask"}) {
        const bool logits = outputs != "mask";
        const auto backend = detail::open_tensorrt(
            bundle("stand-in " + outputs + kFixed, logits ? ClassMapBy::device : ClassMapBy::graph), {});
        CHECK(backend->has_confidence() == logits);
        stand_in::counts.enqueues = stand_in::counts.captures = stand_in::counts.launches = 0;
        Mask mask;
        for (int i = 0; i < 5; ++i) {
            const Picture image = picture(kOwn, PixelFormat::rgb, 0, i);
            CHECK(run(*backend, image, mask, expected(image, kOwn, kOwn, logits)));
            CHECK(stand_in::counts.enqueues == (i == 0 ? 1 : 2));  // by itself, and for the capture
            CHECK(stand_in::counts.captures == (i == 0 ? 0 : 1));
            CHECK(stand_in::counts.launches == i);
        }
        CHECK(backend->timings().preprocess_ms > 0 && backend->timings().infer_ms > 0);
        CHECK(backend->timings().postprocess_ms > 0);
        backend->wait();  // none is under way
    }
}

void images_of_every_kind() {
    const auto backend = detail::open_tensorrt(bundle("stand-in logits16" + kFixed), {});
    Mask mask;
    using Format = PixelFormat;
    for (const Format format : {Format::rgb, Format::bgr, Format::rgba, Format::bgra, Format::nv12}) {
        for (const Size size : {kOwn, Size{50, 70}, Size{10, 12}}) {
            for (const int padding : {0, 10}) {
                const Picture image = picture(size, format, padding);
                const Expected wanted = expected(image, kOwn, kOwn, true);
                CHECK(run(*backend, image, mask, wanted));
                std::vector<std::uint8_t> room(static_cast<std::size_t>(size.height * (size.width + 5)), 99);
                Mask over = Mask::over(room.data(), size.height, size.width, size.width + 5);
                CHECK(run(*backend, image, over, wanted));
                CHECK(room[static_cast<std::size_t>(size.width)] == 99);  // what lies between rows is left alone

                void *there = nullptr, *plane = nullptr, *host = nullptr;
                cudaMalloc(&there, image.bytes.size());
                cudaMalloc(&plane, room.size());
                cudaMallocHost(&host, image.bytes.size());
                stand_in::write(there, image.bytes.data(), image.bytes.size());
                std::memcpy(host, image.bytes.data(), image.bytes.size());
                Picture moved = image;
                moved.view.data = static_cast<std::uint8_t*>(host);
                if (format == Format::nv12) moved.view.chroma = moved.view.data + (image.view.chroma - image.view.data);
                CHECK(run(*backend, moved, over, wanted));  // from pinned memory

                const std::ptrdiff_t to_there = static_cast<std::uint8_t*>(there) - static_cast<std::uint8_t*>(host);
                moved.view.memory = Memory::device;
                moved.view.data += to_there;
                if (format == Format::nv12) moved.view.chroma += to_there;
                Mask on_gpu = Mask::over(static_cast<std::uint8_t*>(plane), size.height, size.width, size.width + 5,
                                         Memory::device);
                stand_in::counts.copies = 0;
                on_gpu.fit(size);
                backend->submit({moved.view, &on_gpu, nullptr});
                backend->wait();
                CHECK(stand_in::counts.copies == 0);
                stand_in::read(room.data(), plane, room.size());
                CHECK(same(over, wanted.mask));
                cudaFree(there);
                cudaFree(plane);
                cudaFreeHost(host);
            }
        }
    }
    Picture image = picture(kOwn);
    image.view.memory = Memory::device;
    mask.fit(kOwn);
    CHECK_THROWS(backend->submit({image.view, &mask, nullptr}), ContractError, "the image is said to be on the GPU");
    image.view.memory = Memory::host;
    CHECK(run(*backend, image, mask, expected(image, kOwn, kOwn, true)));
}

void sizes_of_class_maps() {
    const Picture image = picture({40, 52});
    Mask mask;
    const Size grid = {6, 9};  // a quarter of kOwn
    for (const Size size : {grid, Size{12, 18}}) {
        const auto backend = detail::open_tensorrt(bundle("stand-in logits32" + kFixed, ClassMapBy::device, size), {});
        CHECK(run(*backend, image, mask, expected(image, kOwn, size, true)));
    }
    Bundle raw = bundle("stand-in logits32" + kFixed, ClassMapBy::graph, grid);
    raw.manifest.contract.output = Output::logits;
    CHECK(run(*detail::open_tensorrt(raw, {}), image, mask, expected(image, kOwn, grid, true)));
}

// At another size than the bundle's a class map follows the logits only if it is as large as they are at the bundle's.
// The stand-in's logits are a quarter of the image's sides, whatever the manifest says.
void sizes_that_follow_the_logits() {
    struct Case {
        Grid grid;
        Size mask, made;
    };
    const Picture image = picture({64, 48});
    const Size logits = {16, 12};
    Options own;
    own.own_sizes = true;
    Mask mask;
    for (const Case& one :
         {Case{{7, 4}, {6, 9}, logits}, Case{{7, 4}, {12, 18}, {12, 18}}, Case{{3, 2}, {12, 18}, logits},
          Case{{4, 2}, {13, 19}, logits}, Case{{7, 3}, {8, 12}, logits}}) {
        Bundle opened = bundle("stand-in logits32" + kTwo, ClassMapBy::device, one.mask);
        opened.manifest.contract.grid = one.grid;
        const auto backend = detail::open_tensorrt(opened, own);
        CHECK(run(*backend, image, mask, expected(image, image.size, one.made, true)));
    }
}

bool close(const Confidence& plane, const std::vector<float>& wanted) {
    for (int y = 0; y < plane.height(); ++y) {
        for (int x = 0; x < plane.width(); ++x) {
            const float difference = plane.at(y, x) - wanted[static_cast<std::size_t>(y * plane.width() + x)];
            if (!(std::abs(difference) < 1e-5F)) return false;
        }
    }
    return true;
}

void confidences() {
    for (const std::string outputs : {"scores", "logits16", "logits32"}) {
        const bool logits = outputs != "scores";
        const auto backend = detail::open_tensorrt(
            bundle("stand-in " + outputs + kFixed, logits ? ClassMapBy::device : ClassMapBy::graph), {});
        CHECK(backend->has_confidence());
        for (const Size size : {kOwn, Size{30, 20}, kOwn}) {
            const Picture image = picture(size);
            const Expected wanted = expected(image, kOwn, kOwn, logits);
            Mask mask;
            Confidence confidence;
            mask.fit(size);
            confidence.fit(size);
            backend->submit({image.view, &mask, &confidence});
            backend->wait();
            CHECK(same(mask, wanted.mask));
            CHECK(logits ? close(confidence, wanted.confidence) : same(confidence, wanted.confidence));
            CHECK(run(*backend, image, mask, wanted));
        }
    }
}

void profiles() {
    Options own;
    own.own_sizes = true;
    const auto backend = detail::open_tensorrt(bundle("stand-in logits16" + kTwo), own);
    stand_in::counts.allocations = stand_in::counts.profiles = stand_in::counts.captures = 0;
    stand_in::counts.launches = 0;
    Mask mask;
    const auto check = [&](Size size, Size input, int launches) {
        const Picture image = picture(size);
        stand_in::counts.launches = 0;
        CHECK(run(*backend, image, mask, expected(image, input, input == kOwn ? kOwn : size, true)));
        CHECK(stand_in::counts.launches == launches);
    };
    check(kOwn, kOwn, 0);  // the narrow profile
    check(kOwn, kOwn, 1);
    check({64, 64}, {64, 64}, 0);  // the wide one: the graph is forgotten
    check({64, 64}, {64, 64}, 1);
    check({64, 48}, {64, 48}, 0);
    check({64, 48}, {64, 48}, 1);
    check({80, 64}, kOwn, 0);  // none serves it: resized
    check(kOwn, kOwn, 1);      // the network's input has the same size, and the graph is still good
    CHECK(stand_in::counts.profiles == 2);
    const auto resized = detail::open_tensorrt(bundle("stand-in logits16" + kOpen), {});
    const Picture image = picture({64, 48});
    CHECK(run(*resized, image, mask, expected(image, kOwn, kOwn, true)));  // not asked for own sizes
    CHECK_THROWS(detail::open_tensorrt(bundle("stand-in mask 2 24 36 2 24 36 4 24 36"), {}), ContractError,
                 "never one image at a time: build with --batch 1");
    CHECK_THROWS(detail::open_tensorrt(bundle("stand-in mask 1 8 8 1 8 8 1 16 16"), {}), ContractError,
                 "within NxHxW 1x8x8:1x8x8:1x16x16; build with another --profile");
}

void callers_stream() {
    cudaStream_t stream = nullptr;
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    {
        Options options;
        options.stream = stream;
        const auto backend = detail::open_tensorrt(bundle("stand-in logits16" + kFixed), options);
        Mask mask, second;
        const Picture image = picture(kOwn);
        mask.fit(kOwn);
        bool before = false;
        stand_in::add(stream, [&before] { before = true; });
        backend->submit({image.view, &mask, nullptr});
        CHECK(!before);  // submit waits for nothing
        backend->wait();
        CHECK(before && same(mask, expected(image, kOwn, kOwn, true).mask));
        backend->submit({image.view, &mask, nullptr});  // closed while a frame is under way
    }
    cudaStreamDestroy(stream);
}

void a_failed_capture() {
    const auto backend = detail::open_tensorrt(bundle("stand-in logits16" + kFixed), {});
    stand_in::refuses_capture = true;
    stand_in::counts.captures = stand_in::counts.enqueues = 0;
    Mask mask;
    const Picture image = picture(kOwn);
    for (int i = 0; i < 4; ++i) CHECK(run(*backend, image, mask, expected(image, kOwn, kOwn, true)));
    CHECK(stand_in::counts.captures == 0);
    CHECK(stand_in::counts.enqueues == 5);  // one of them was the attempt
    stand_in::refuses_capture = false;
}

void nothing_is_allocated() {
    for (const Size size : {kOwn, Size{50, 70}}) {
        const auto backend = detail::open_tensorrt(bundle("stand-in logits16" + kFixed), {});
        const Picture image = picture(size, PixelFormat::bgr, 2);
        Mask mask;
        mask.fit(size);
        const auto frame = [&] {
            backend->submit({image.view, &mask, nullptr});
            backend->wait();
        };
        frame();
        frame();
        heap_allocations = 0;
        const int before = stand_in::counts.allocations;
        for (int i = 0; i < 20; ++i) frame();
        CHECK(heap_allocations == 0);
        CHECK(stand_in::counts.allocations == before);
    }
}

// Every call that can fail fails once: an error that names it, or, where a graph is captured, a right class map all the
// same. Afterwards the backend works on, if it was open, and nothing is left behind.
void every_failure() {
    const Picture first = picture(kOwn), second = picture({64, 50}, PixelFormat::bgr, 3);
    const Expected first_wanted = expected(first, kOwn, kOwn, false);
    const Expected second_wanted = expected(second, second.size, second.size, false);
    const Bundle opened = bundle("stand-in scores" + kTwo, ClassMapBy::graph);
    Options own;
    own.own_sizes = true;
    const auto frame = [&](Backend& backend, const Picture& image, const Expected& wanted) {
        Mask mask;
        Confidence confidence;
        mask.fit(image.size);
        confidence.fit(image.size);
        backend.submit({image.view, &mask, &confidence});
        backend.wait();
        CHECK(same(mask, wanted.mask) && same(confidence, wanted.confidence));
    };
    const auto all = [&](std::unique_ptr<Backend>& backend) {
        backend = detail::open_tensorrt(opened, own);
        for (int i = 0; i < 3; ++i) frame(*backend, first, first_wanted);
        for (int i = 0; i < 2; ++i) frame(*backend, second, second_wanted);
    };
    const int alive = stand_in::counts.alive;
    stand_in::counts.calls = 0;
    {
        std::unique_ptr<Backend> backend;
        all(backend);
    }
    const int calls = stand_in::counts.calls;
    CHECK(calls > 80);
    int thrown = 0;
    for (int call = 0; call < calls; ++call) {
        stand_in::counts.calls = 0;
        stand_in::failing = call;
        stand_in::failed.clear();
        {
            std::unique_ptr<Backend> backend;
            try {
                all(backend);
            } catch (const EngineUnavailable& error) {
                ++thrown;
                const std::string text = error.what();
                if (text.find(stand_in::failed) == std::string::npos) check::fail(__FILE__, __LINE__, text);
            } catch (const EngineMismatch&) {
                CHECK(stand_in::failed == "deserializeCudaEngine");
            }
            stand_in::failing = -1;
            if (backend != nullptr) {
                frame(*backend, second, second_wanted);
                frame(*backend, first, first_wanted);
            }
        }
        CHECK(cudaGetLastError() == cudaSuccess);
        if (stand_in::counts.alive != alive) check::fail(__FILE__, __LINE__, "left behind after " + stand_in::failed);
    }
    CHECK(thrown > 70);
    std::cout << calls << " calls failed in turn\n";
}

void errors_of_cuda_in_pythons_words() {
    const Bundle opened = bundle("stand-in mask" + kFixed, ClassMapBy::graph);
    const auto fail_at = [&](const std::string& name) {
        for (int call = 0; stand_in::failed != name; ++call) {
            stand_in::counts.calls = 0;
            stand_in::failing = call;
            stand_in::failed.clear();
            try {
                detail::open_tensorrt(opened, {});
            } catch (const SegexportError& error) {
                if (stand_in::failed == name) {
                    stand_in::failing = -1;
                    return std::string(error.what());
                }
            }
        }
        return std::string();
    };
    CHECK(fail_at("cudaSetDevice") ==
          "cudaSetDevice failed on GPU 0 (cudaErrorUnknown: unknown error): see whether nvidia-smi shows it well, and "
          "open the bundle again");
    CHECK(fail_at("cudaMalloc") ==
          "cudaMalloc finds no 3 KiB: close what else uses the GPU's memory or the machine's, or build for a smaller "
          "--profile or --batch");
    CHECK(fail_at("createExecutionContext") ==
          "TensorRT: createExecutionContext failed (the stand-in was told so): close what else uses the GPU, or build "
          "a smaller --profile");
}

void other_plans() {
    const auto open = [](const Bundle& opened, const std::string& device = "") {
        Options options;
        options.device = device;
        detail::open_tensorrt(opened, options);
    };
    CHECK_THROWS(open(bundle("cut")), BundleCorrupt,
                 "is not a whole plan (Serialization: magicTag does not match): copy");
    CHECK_THROWS(open(bundle("large")), EngineUnavailable, "NVIDIA One (sm86) has too little memory for ");
    CHECK_THROWS(open(bundle("other")), EngineMismatch,
                 "on NVIDIA One (sm86) (another builder): segexport build --from-bundle ");
    CHECK_THROWS(open(bundle("stand-in mask" + kFixed), "cuda:1"), EngineMismatch,
                 "for GPU NVIDIA One (sm86), and here is NVIDIA Other (sm89): segexport build --from-bundle ");
    CHECK_THROWS(open(bundle("stand-in mask" + kFixed), "cuda:7"), EngineUnavailable, "has no device cuda:7 here");
    Bundle other = bundle("stand-in mask" + kFixed);
    other.manifest.engine = "tensorrt-rtx";
    CHECK_THROWS(open(other), EngineUnavailable, "is for tensorrt-rtx, and this build of the runtime has tensorrt:");
    other = bundle("stand-in mask" + kFixed);
    other.manifest.engine_version = "9.0.0";
    CHECK_THROWS(open(other), EngineMismatch, "for TensorRT 9.0.0, and here is " + version() + ":");
    other = bundle("stand-in mask" + kFixed);
    std::filesystem::remove(other.plan());
    CHECK_THROWS(open(other), BundleCorrupt, "engine.plan cannot be read");
}

}  // namespace

int main(int, char** arguments) {
    folder = arguments[1];
    std::filesystem::create_directories(folder);
    const int alive = stand_in::counts.alive;
    for (const auto test : {frames_and_graphs, images_of_every_kind, sizes_of_class_maps, sizes_that_follow_the_logits,
                            confidences, profiles, callers_stream, a_failed_capture, nothing_is_allocated,
                            every_failure, errors_of_cuda_in_pythons_words, other_plans}) {
        test();
        CHECK(stand_in::counts.alive == alive);
    }
    return check::result();
}
