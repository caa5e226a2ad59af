// The stand-in's kernels: class maps and confidences by the real kernels' threads, one after another, and simple code for the others.

#include "tensorrt/kernels.hpp"

#include "segexport/class_map_cuda.hpp"
#include "segexport/confidence_cuda.hpp"
#include "stand_in.hpp"

namespace stand_in {

void prepare(const segexport::ImageView& image, segexport::Size out, segexport::PixelFormat order, std::uint8_t* to) {
    using segexport::PixelFormat;
    const bool packed = image.format != PixelFormat::nv12;
    const bool four = image.format == PixelFormat::rgba || image.format == PixelFormat::bgra;
    const bool reversed = image.format == PixelFormat::bgr || image.format == PixelFormat::bgra;
    for (int y = 0; y < out.height; ++y) {
        for (int x = 0; x < out.width; ++x, to += 3) {
            const std::uint8_t* const row = image.data + y * image.height / out.height * image.stride;
            const std::uint8_t* const pixel = row + x * image.width / out.width * (packed ? (four ? 4 : 3) : 1);
            for (int c = 0; c < 3; ++c) {
                const int from = reversed != (order == PixelFormat::bgr) ? 2 - c : c;
                to[c] = pixel[packed ? from : 0];
            }
        }
    }
}

}  // namespace stand_in

namespace segexport::detail {
namespace {

// Calls thread(block, index) for every thread of a kernel that makes a plane of `out` from logits of `size`.
template <typename Thread>
void every_thread(Size size, Size out, const Thread& thread) {
    const auto blocks = class_map_detail::blocks(size.height, size.width, out.height, out.width);
    for (unsigned block = 0; block < blocks; ++block) {
        for (unsigned index = 0; index < class_map_detail::kThreads; ++index) thread(block, index);
    }
}

template <typename T>
void class_map_of(const T* logits, int classes, Size size, std::uint8_t* map, Size out) {
    every_thread(size, out, [=](unsigned block, unsigned index) {
        class_map_detail::class_map_thread(logits, classes, size.height, size.width, map, out.height, out.width, block,
                                           index, 0);
    });
}

template <typename T>
void confidence_of(const T* logits, int classes, Size size, float* confidence, Size out) {
    every_thread(size, out, [=](unsigned block, unsigned index) {
        class_map_detail::confidence_thread(logits, classes, size.height, size.width, confidence, out.height, out.width,
                                            block, index, 0);
    });
}

template <typename T>
cudaError_t nearest(const T* from, Size size, T* to, Size out, std::ptrdiff_t stride, cudaStream_t stream) {
    const stand_in::Inside guard;
    if (stand_in::fails("the kernel")) return cudaErrorUnknown;
    stand_in::add(stream, [=] {
        for (int y = 0; y < out.height; ++y) {
            T* const row = reinterpret_cast<T*>(reinterpret_cast<std::uint8_t*>(to) + y * stride);
            for (int x = 0; x < out.width; ++x) {
                const int low_y = static_cast<int>((y + 0.5) * size.height / out.height);
                row[x] = from[low_y * size.width + static_cast<int>((x + 0.5) * size.width / out.width)];
            }
        }
    });
    return cudaSuccess;
}

}  // namespace

cudaError_t launch_class_map(const Logits& logits, std::uint8_t* map, Size out, cudaStream_t stream) {
    const stand_in::Inside guard;
    if (stand_in::fails("the kernel")) return cudaErrorUnknown;
    stand_in::add(stream, [=] {
        if (logits.half) {
            class_map_of(static_cast<const Half*>(logits.data), logits.classes, logits.size, map, out);
        } else {
            class_map_of(static_cast<const float*>(logits.data), logits.classes, logits.size, map, out);
        }
    });
    return cudaSuccess;
}

cudaError_t launch_confidence(const Logits& logits, float* confidence, Size out, cudaStream_t stream) {
    const stand_in::Inside guard;
    if (stand_in::fails("the kernel")) return cudaErrorUnknown;
    stand_in::add(stream, [=] {
        if (logits.half) {
            confidence_of(static_cast<const Half*>(logits.data), logits.classes, logits.size, confidence, out);
        } else {
            confidence_of(static_cast<const float*>(logits.data), logits.classes, logits.size, confidence, out);
        }
    });
    return cudaSuccess;
}

cudaError_t launch_nearest(const std::uint8_t* from, Size size, std::uint8_t* to, Size out, std::ptrdiff_t stride,
                           cudaStream_t stream) {
    return nearest(from, size, to, out, stride, stream);
}

cudaError_t launch_nearest(const float* from, Size size, float* to, Size out, std::ptrdiff_t stride,
                           cudaStream_t stream) {
    return nearest(from, size, to, out, stride, stream);
}

struct ImagePreparation::Kernels {
    Size out;
    PixelFormat order;
};

ImagePreparation::ImagePreparation(Size out, PixelFormat order, int)
    : kernels_(std::make_unique<Kernels>(Kernels{out, order})) {}
ImagePreparation::ImagePreparation(ImagePreparation&&) noexcept = default;
ImagePreparation& ImagePreparation::operator=(ImagePreparation&&) noexcept = default;
ImagePreparation::~ImagePreparation() = default;

cudaError_t ImagePreparation::launch(const ImageView& image, std::uint8_t* to, cudaStream_t stream) {
    const stand_in::Inside guard;
    if (stand_in::fails("the kernel")) return cudaErrorUnknown;
    stand_in::add(stream, [image, to, out = kernels_->out, order = kernels_->order] {
        stand_in::prepare(image, out, order, to);
    });
    return cudaSuccess;
}

}  // namespace segexport::detail
