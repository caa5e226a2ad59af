// Preprocessing on the CPU against the threads of the CUDA kernels, which are written pixel by pixel: the same bits for
// every format, filter and size, nothing read or written elsewhere (the sanitizers' part), and nothing allocated twice.
// That they are Pillow's bits: tests/runtime/test_preprocess.py.

#include "segexport/preprocess.hpp"

#include <cstdlib>
#include <new>
#include <random>
#include <type_traits>

#include "check.hpp"
#include "segexport/preprocess_cuda.hpp"

namespace {

long long allocations = 0;  // read while no other thread runs

void* counted(std::size_t size) {
    ++allocations;
    if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
    throw std::bad_alloc();
}

}  // namespace

// Not inlined: GCC would see malloc meet delete.
#define COUNTED __attribute__((noinline))
COUNTED void* operator new(std::size_t size) { return counted(size); }
COUNTED void* operator new[](std::size_t size) { return counted(size); }
COUNTED void operator delete(void* memory) noexcept { std::free(memory); }
COUNTED void operator delete[](void* memory) noexcept { std::free(memory); }
COUNTED void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
COUNTED void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

namespace detail = segexport::preprocess_detail;
using segexport::ImageView;
using segexport::PixelFormat;
using segexport::Preprocess;
using segexport::Size;
using segexport::Workers;
using segexport::Yuv;

std::mt19937 random_bits(0);

int between(int low, int high) { return low + static_cast<int>(random_bits() % static_cast<unsigned>(high - low + 1)); }

// An image in memory that ends with its last byte, so that AddressSanitizer sees who reads on.
class Picture {
   public:
    Picture(Size size, PixelFormat format, int padding, Yuv yuv = Yuv::bt601_limited) {
        if (format == PixelFormat::nv12) {
            const int stride = size.width + padding, chroma_stride = size.width + 2 * padding;
            luma_ = noise((size.height - 1) * stride + size.width);
            chroma_ = noise((size.height / 2 - 1) * chroma_stride + size.width);
            view_ = ImageView::nv12(luma_.data(), chroma_.data(), size.height, size.width, stride, chroma_stride, yuv);
        } else {
            const int row = size.width * (format == PixelFormat::rgb || format == PixelFormat::bgr ? 3 : 4);
            luma_ = noise((size.height - 1) * (row + padding) + row);
            view_ = ImageView::packed(luma_.data(), size.height, size.width, format, row + padding);
        }
    }
    const ImageView& view() const { return view_; }

   private:
    static std::vector<std::uint8_t> noise(int bytes) {
        std::vector<std::uint8_t> data(bytes);
        for (auto& byte : data) byte = static_cast<std::uint8_t>(random_bits());
        return data;
    }

    std::vector<std::uint8_t> luma_, chroma_;
    ImageView view_;
};

std::size_t bytes(Size size) { return static_cast<std::size_t>(size.height) * size.width * 3; }

// What a GPU would write: every thread of every kernel.
std::vector<std::uint8_t> by_threads(const ImageView& image, Size out, PixelFormat order, int resample) {
    const detail::ResizePlan plan(image.size(), out, order, resample);
    std::vector<unsigned> words(plan.between());
    std::vector<std::uint8_t> result(bytes(out));
    int kernels = 0;
    plan.run(image, plan.tables().data(), words.data(), result.data(), [&](unsigned threads, const auto& body) {
        static_assert(std::is_trivially_copyable<std::decay_t<decltype(body)>>::value, "it is a kernel's argument");
        ++kernels;
        for (unsigned block = 0; block < (threads - 1) / detail::kResizeThreads + 1; ++block) {
            for (unsigned thread = 0; thread < detail::kResizeThreads; ++thread) body(block, thread);
        }
    });
    CHECK(kernels == (words.empty() ? 1 : 2));
    return result;
}

std::vector<std::uint8_t> by_rows(Preprocess& preprocess, const ImageView& image, Size out, Workers& workers) {
    std::vector<std::uint8_t> result(bytes(out), 77);  // the memory ends with its last byte
    preprocess(image, result.data(), workers);
    return result;
}

void test_every_format_and_filter() {
    Workers alone(1), three(3);
    for (int round = 0; round < 400; ++round) {
        const auto format = static_cast<PixelFormat>(round % 5);
        const auto order = round / 5 % 2 == 0 ? PixelFormat::rgb : PixelFormat::bgr;
        const int resample = round / 10 % 6, largest = round < 300 ? 40 : 150;
        Size source{between(1, largest), between(1, largest)}, out{between(1, largest), between(1, largest)};
        if (format == PixelFormat::nv12) source = {source.height * 2, source.width * 2};
        if (round % 7 == 0) out.width = source.width;
        if (round % 11 == 0) out.height = source.height;
        const Picture picture(source, format, between(0, 1) * between(0, 30), static_cast<Yuv>(between(0, 3)));
        const auto want = by_threads(picture.view(), out, order, resample);
        Preprocess preprocess(out, order, resample);
        CHECK(by_rows(preprocess, picture.view(), out, alone) == want);
        CHECK(by_rows(preprocess, picture.view(), out, three) == want);
    }
}

// One object, images of changing size and format, and then the first again.
void test_images_that_change() {
    Workers workers(2);
    const Size out{33, 47};
    Preprocess preprocess(out, PixelFormat::rgb, 2);
    for (int round = 0; round < 12; ++round) {
        const Size sources[] = {{90, 62}, {20, 30}, {33, 47}, {200, 50}};
        const Picture picture(sources[round % 4], static_cast<PixelFormat>(round / 4), 5);
        CHECK(by_rows(preprocess, picture.view(), out, workers) ==
              by_threads(picture.view(), out, PixelFormat::rgb, 2));
    }
}

void test_nothing_is_allocated_again() {
    Workers workers(2);
    for (int resample : {0, 2, 3}) {
        for (const Size source : {Size{64, 96}, Size{96, 30}, Size{32, 48}}) {
            const Size out{32, 48};
            std::vector<std::uint8_t> result(bytes(out));
            Preprocess preprocess(out, PixelFormat::rgb, resample);
            for (int format = 0; format < 5; ++format) {
                const Picture picture(source, static_cast<PixelFormat>(format), 8);
                const long long before = allocations;
                preprocess(picture.view(), result.data(), workers);
                CHECK((allocations != before) == (format == 0));  // the first makes the tables, for all formats
                const long long after = allocations;
                for (int frame = 0; frame < 3; ++frame) preprocess(picture.view(), result.data(), workers);
                CHECK(allocations == after);
            }
        }
    }
}

// The sums of 32 bits hold what the weights can make of bytes, also where an edge cuts a filter off.
void test_no_sum_overflows() {
    for (int resample = 1; resample < detail::kFilters; ++resample) {
        for (int in = 1; in < 70; ++in) {
            for (int out = 1; out < 300; out += 1 + out / 40) {
                const detail::Taps taps = detail::make_taps(in, out, resample);
                for (int i = 0; i < out; ++i) {
                    long long below = 0, above = detail::kWeightHalf;
                    CHECK(taps.first[i] >= 0 && taps.count[i] >= 1 && taps.first[i] + taps.count[i] <= in);
                    if (i > 0) {
                        CHECK(taps.first[i] >= taps.first[i - 1]);
                        CHECK(taps.first[i] + taps.count[i] >= taps.first[i - 1] + taps.count[i - 1]);
                    }
                    for (int t = 0; t < taps.count[i]; ++t) {
                        (taps.weights_of(i)[t] < 0 ? below : above) += 255LL * taps.weights_of(i)[t];
                    }
                    CHECK(above <= 0x7fffffffLL && below >= -0x80000000LL);
                }
            }
        }
    }
}

void test_known_colours() {
    struct Known {
        Yuv yuv;
        int y, u, v, rgb[3];
    };
    const Known table[] = {
        {Yuv::bt601_limited, 16, 128, 128, {0, 0, 0}},        {Yuv::bt601_limited, 235, 128, 128, {255, 255, 255}},
        {Yuv::bt601_limited, 81, 90, 240, {254, 0, 0}},       {Yuv::bt601_full, 76, 85, 255, {254, 0, 0}},
        {Yuv::bt709_limited, 63, 102, 240, {255, 1, 0}},      {Yuv::bt709_full, 128, 128, 128, {128, 128, 128}},
        {Yuv::bt601_limited, 255, 255, 255, {255, 125, 255}},
    };
    for (const Known& known : table) {
        int rgb[3];
        detail::yuv_to_rgb(detail::yuv_weights(known.yuv), known.y, known.u, known.v, rgb);
        for (int c = 0; c < 3; ++c) CHECK(rgb[c] == known.rgb[c]);
    }
}

void test_what_is_refused() {
    using segexport::ContractError;
    CHECK_THROWS(Preprocess({0, 4}, PixelFormat::rgb, 2), ContractError, "resized to 0x4: sides are 1 to 32768");
    CHECK_THROWS(Preprocess({4, 40000}, PixelFormat::rgb, 2), ContractError, "resized to 4x40000");
    CHECK_THROWS(Preprocess({4, 4}, PixelFormat::nv12, 2), ContractError, "rgb or bgr");
    CHECK_THROWS(Preprocess({4, 4}, PixelFormat::rgb, 6), ContractError, "no filter 6: Pillow's are numbered 0 to 5");
    CHECK_THROWS(Preprocess({4, 4}, PixelFormat::rgb, -1), ContractError, "no filter -1");
}

}  // namespace

int main() {
    test_every_format_and_filter();
    test_images_that_change();
    test_nothing_is_allocated_again();
    test_no_sum_overflows();
    test_known_colours();
    test_what_is_refused();
    return check::result();
}
