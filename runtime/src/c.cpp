// The C interface: arguments checked, structs of other versions understood, exceptions turned into codes.

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "segexport/segexport.hpp"
#include "segexport/segexport_c.h"

// What the pointer that C programs hold points to. The planes stand before the engine, which is freed first: a frame
// that is under way ends in them.
struct segexport_segmenter {
    segexport::Mask mask;
    segexport::Confidence confidence;
    segexport::Segmenter net;
};

namespace {

using segexport::ContractError;
using segexport::ImageView;
using segexport::Memory;
using segexport::PixelFormat;
using segexport::Yuv;

// Programs were compiled against these. A struct grows at its end alone, and then its first size stays allowed.
static_assert(sizeof(void*) != 8 || sizeof(segexport_options) == 32, "the ABI has changed");
static_assert(sizeof(void*) != 8 || sizeof(segexport_image) == 64, "the ABI has changed");
static_assert(sizeof(void*) != 8 || sizeof(segexport_result) == 56, "the ABI has changed");
static_assert(sizeof(void*) != 8 || sizeof(segexport_contract) == 56, "the ABI has changed");
static_assert(sizeof(void*) != 8 || sizeof(segexport_timings) == 40, "the ABI has changed");
static_assert(static_cast<int>(PixelFormat::rgb) == SEGEXPORT_RGB &&
                  static_cast<int>(PixelFormat::bgr) == SEGEXPORT_BGR &&
                  static_cast<int>(PixelFormat::rgba) == SEGEXPORT_RGBA &&
                  static_cast<int>(PixelFormat::bgra) == SEGEXPORT_BGRA &&
                  static_cast<int>(PixelFormat::nv12) == SEGEXPORT_NV12,
              "PixelFormat and its C names differ");
static_assert(static_cast<int>(Memory::host) == SEGEXPORT_HOST && static_cast<int>(Memory::device) == SEGEXPORT_DEVICE,
              "Memory and its C names differ");
static_assert(static_cast<int>(Yuv::bt601_limited) == SEGEXPORT_BT601_LIMITED &&
                  static_cast<int>(Yuv::bt601_full) == SEGEXPORT_BT601_FULL &&
                  static_cast<int>(Yuv::bt709_limited) == SEGEXPORT_BT709_LIMITED &&
                  static_cast<int>(Yuv::bt709_full) == SEGEXPORT_BT709_FULL,
              "Yuv and its C names differ");
static_assert(static_cast<int>(segexport::Output::mask) == SEGEXPORT_OUTPUT_MASK &&
                  static_cast<int>(segexport::Output::scores) == SEGEXPORT_OUTPUT_SCORES &&
                  static_cast<int>(segexport::Output::logits) == SEGEXPORT_OUTPUT_LOGITS &&
                  static_cast<int>(segexport::Output::topk) == SEGEXPORT_OUTPUT_TOPK,
              "Output and its C names differ");

constexpr std::size_t kLargestStruct = 4096;  // beyond it a struct's size was never set

// An array, so that there is room for the message when memory is what is missing.
thread_local char last_error[4096] = "";

segexport_status failed(segexport_status status, const char* text) noexcept {
    std::snprintf(last_error, sizeof last_error, "%s", text);
    return status;
}

// Calls `body`, and lets no exception out.
template <typename Body>
segexport_status guarded(const Body& body) noexcept {
    last_error[0] = '\0';
    try {
        body();
        return SEGEXPORT_OK;
    } catch (const ContractError& error) {
        return failed(SEGEXPORT_CONTRACT_ERROR, error.what());
    } catch (const segexport::EngineUnavailable& error) {
        return failed(SEGEXPORT_ENGINE_UNAVAILABLE, error.what());
    } catch (const segexport::EngineMismatch& error) {
        return failed(SEGEXPORT_ENGINE_MISMATCH, error.what());
    } catch (const segexport::DataError& error) {
        return failed(SEGEXPORT_DATA_ERROR, error.what());
    } catch (const segexport::BundleCorrupt& error) {
        return failed(SEGEXPORT_BUNDLE_CORRUPT, error.what());
    } catch (const segexport::SegexportError& error) {
        return failed(SEGEXPORT_ERROR, error.what());
    } catch (const std::bad_alloc&) {
        return failed(SEGEXPORT_OUT_OF_MEMORY, "out of memory");
    } catch (const std::exception& error) {
        return failed(SEGEXPORT_UNKNOWN_ERROR, error.what());
    } catch (...) {
        return failed(SEGEXPORT_UNKNOWN_ERROR, "an error without a message");
    }
}

template <typename T>
T& given(T* pointer, const char* name) {
    if (pointer == nullptr) throw ContractError(std::string(name) + " is null: pass one");
    return *pointer;
}

template <typename Struct>
std::size_t given_size(const Struct& from, const char* name) {
    if (from.struct_size >= sizeof(Struct) && from.struct_size <= kLargestStruct) return from.struct_size;
    throw ContractError(std::string(name) + " has struct_size " + std::to_string(from.struct_size) +
                        ": set it to sizeof(" + name + "), which is " + std::to_string(sizeof(Struct)));
}

// Copies a struct from a caller whose version of it may be longer.
template <typename Struct>
Struct read(const Struct* from, const char* name) {
    static_assert(std::is_trivially_copyable<Struct>::value, "a struct of C");
    const std::size_t size = given_size(given(from, name), name);
    const auto* const bytes = reinterpret_cast<const unsigned char*>(from);
    for (std::size_t i = sizeof(Struct); i < size; ++i) {
        if (bytes[i] == 0) continue;
        throw ContractError(std::string(name) + " sets a field that this version of segexport (" SEGEXPORT_VERSION
                                                ") does not know: install a newer one, or leave the field zero");
    }
    Struct copy;
    std::memcpy(&copy, from, sizeof copy);
    return copy;
}

// Fills in a struct of the caller's; what is longer in theirs becomes zero.
template <typename Struct>
void write(Struct filled, Struct* to, const char* name) {
    const std::size_t size = given_size(given(to, name), name);
    filled.struct_size = size;
    std::memset(to, 0, size);
    std::memcpy(to, &filled, sizeof filled);
}

template <typename Enum>
Enum one_of(std::int32_t value, Enum last, const char* name) {
    if (value >= 0 && value <= static_cast<std::int32_t>(last)) return static_cast<Enum>(value);
    throw ContractError(std::string(name) + " is " + std::to_string(value) + ": it goes from 0 to " +
                        std::to_string(static_cast<int>(last)) + " (segexport_c.h)");
}

ImageView view_of(const segexport_image* given_image) {
    const segexport_image image = read(given_image, "segexport_image");
    const auto format = one_of(image.format, PixelFormat::nv12, "segexport_image.format");
    const auto memory = one_of(image.memory, Memory::device, "segexport_image.memory");
    if (format != PixelFormat::nv12) {
        return ImageView::packed(image.data, image.height, image.width, format, image.stride, memory);
    }
    const auto yuv = one_of(image.yuv, Yuv::bt709_full, "segexport_image.yuv");
    return ImageView::nv12(image.data, image.chroma, image.height, image.width, image.stride, image.chroma_stride, yuv,
                           memory);
}

struct Results {
    segexport::Mask mask;
    std::optional<segexport::Confidence> confidence;
};

Results results_of(const segexport_result* given_result) {
    const segexport_result result = read(given_result, "segexport_result");
    const auto memory = one_of(result.memory, Memory::device, "segexport_result.memory");
    Results results;
    results.mask = segexport::Mask::over(result.mask, result.height, result.width, result.mask_stride, memory);
    if (result.confidence != nullptr) {
        results.confidence = segexport::Confidence::over(result.confidence, result.height, result.width,
                                                         result.confidence_stride, memory);
    }
    return results;
}

std::size_t index_of(std::int32_t id, const segexport::Labels& labels) {
    if (id >= 0 && static_cast<std::size_t>(id) < labels.names.size()) return static_cast<std::size_t>(id);
    throw ContractError("there is no class " + std::to_string(id) + ": ids go from 0 to " +
                        std::to_string(labels.names.size() - 1));
}

}  // namespace

extern "C" {

const char* segexport_version(void) { return SEGEXPORT_VERSION; }

const char* segexport_last_error(void) { return last_error; }

segexport_status segexport_open(const char* bundle, const segexport_options* options, segexport_segmenter** out) {
    return guarded([&] {
        given(out, "out") = nullptr;
        given(bundle, "bundle");
        segexport::Options chosen;
        if (options != nullptr) {
            const segexport_options copy = read(options, "segexport_options");
            chosen.threads = copy.threads;
            chosen.own_sizes = copy.own_sizes != 0;
            chosen.stream = copy.stream;
            if (copy.device != nullptr) chosen.device = copy.device;
        }
        auto net = segexport::Segmenter::open(std::filesystem::path(bundle), chosen);
        *out = std::make_unique<segexport_segmenter>(segexport_segmenter{{}, {}, std::move(net)}).release();
    });
}

void segexport_close(segexport_segmenter* net) {
    guarded([&] { const std::unique_ptr<segexport_segmenter> freed(net); });
}

segexport_status segexport_run(segexport_segmenter* net, const segexport_image* image, const segexport_result* result) {
    return guarded([&] {
        auto& opened = given(net, "segexport_segmenter");
        const ImageView view = view_of(image);
        Results results = results_of(result);
        if (results.confidence) {
            opened.net.run(view, results.mask, *results.confidence);
        } else {
            opened.net.run(view, results.mask);
        }
    });
}

segexport_status segexport_submit(segexport_segmenter* net, const segexport_image* image,
                                  const segexport_result* result) {
    return guarded([&] {
        auto& opened = given(net, "segexport_segmenter");
        const ImageView view = view_of(image);
        Results results = results_of(result);
        opened.net.wait();  // the frame before writes to the planes that are replaced now
        opened.mask = std::move(results.mask);
        if (results.confidence) {
            opened.confidence = std::move(*results.confidence);
            opened.net.submit(view, opened.mask, opened.confidence);
        } else {
            opened.net.submit(view, opened.mask);
        }
    });
}

segexport_status segexport_wait(segexport_segmenter* net) {
    return guarded([&] { given(net, "segexport_segmenter").net.wait(); });
}

segexport_status segexport_get_contract(const segexport_segmenter* net, segexport_contract* out) {
    return guarded([&] {
        const auto& opened = given(net, "segexport_segmenter").net;
        const segexport::Contract& contract = opened.contract();
        segexport_contract filled{};
        filled.height = contract.size.height;
        filled.width = contract.size.width;
        filled.image_height = contract.image_size.height;
        filled.image_width = contract.image_size.width;
        filled.mask_height = contract.mask_size.height;
        filled.mask_width = contract.mask_size.width;
        filled.batch = contract.batch;
        filled.channel_order = static_cast<std::int32_t>(contract.channel_order);
        filled.output = static_cast<std::int32_t>(contract.output);
        filled.has_confidence = opened.has_confidence() ? 1 : 0;
        filled.reduce_labels = opened.labels().reduce ? 1 : 0;
        write(filled, out, "segexport_contract");
    });
}

segexport_status segexport_get_timings(const segexport_segmenter* net, segexport_timings* out) {
    return guarded([&] {
        const segexport::Timings timings = given(net, "segexport_segmenter").net.timings();
        segexport_timings filled{};
        filled.preprocess_ms = timings.preprocess_ms;
        filled.infer_ms = timings.infer_ms;
        filled.postprocess_ms = timings.postprocess_ms;
        filled.total_ms = timings.total_ms;
        write(filled, out, "segexport_timings");
    });
}

segexport_status segexport_get_engine(const segexport_segmenter* net, const char** out) {
    return guarded([&] { given(out, "out") = given(net, "segexport_segmenter").net.engine().c_str(); });
}

segexport_status segexport_get_precision(const segexport_segmenter* net, const char** out) {
    return guarded([&] { given(out, "out") = given(net, "segexport_segmenter").net.precision().c_str(); });
}

segexport_status segexport_get_class_count(const segexport_segmenter* net, int32_t* out) {
    return guarded([&] {
        given(out, "out") = static_cast<std::int32_t>(given(net, "segexport_segmenter").net.labels().names.size());
    });
}

segexport_status segexport_get_class_name(const segexport_segmenter* net, int32_t id, const char** out) {
    return guarded([&] {
        const segexport::Labels& labels = given(net, "segexport_segmenter").net.labels();
        given(out, "out") = labels.names[index_of(id, labels)].c_str();
    });
}

segexport_status segexport_get_class_colour(const segexport_segmenter* net, int32_t id, uint8_t out[3]) {
    return guarded([&] {
        const segexport::Labels& labels = given(net, "segexport_segmenter").net.labels();
        given(out, "out");
        const auto& colour = labels.palette[index_of(id, labels)];
        std::memcpy(out, colour.data(), colour.size());
    });
}

}  // extern "C"
