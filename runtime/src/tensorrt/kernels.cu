#include "tensorrt/kernels.hpp"

#include <optional>

#include "segexport/class_map_cuda.hpp"
#include "segexport/confidence_cuda.hpp"
#include "segexport/nearest_cuda.hpp"
#include "segexport/preprocess_cuda.hpp"

namespace segexport::detail {
namespace {

template <typename T>
cudaError_t nearest(const T* from, Size size, T* to, Size out, std::ptrdiff_t stride, cudaStream_t stream) {
    const long long from_stride = static_cast<long long>(size.width) * static_cast<long long>(sizeof(T));
    return nearest_cuda(from, from_stride, size.height, size.width, to, stride, out.height, out.width, stream);
}

}  // namespace

cudaError_t launch_class_map(const Logits& logits, std::uint8_t* map, Size out, cudaStream_t stream) {
    const Size size = logits.size;
    if (logits.half) {
        return class_map_cuda(static_cast<const Half*>(logits.data), 1, logits.classes, size.height, size.width, map,
                              out.height, out.width, stream);
    }
    return class_map_cuda(static_cast<const float*>(logits.data), 1, logits.classes, size.height, size.width, map,
                          out.height, out.width, stream);
}

cudaError_t launch_confidence(const Logits& logits, float* confidence, Size out, cudaStream_t stream) {
    const Size size = logits.size;
    if (logits.half) {
        return confidence_cuda(static_cast<const Half*>(logits.data), 1, logits.classes, size.height, size.width,
                               confidence, out.height, out.width, stream);
    }
    return confidence_cuda(static_cast<const float*>(logits.data), 1, logits.classes, size.height, size.width,
                           confidence, out.height, out.width, stream);
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
    int resample;
    std::optional<PreprocessCuda> resize;  // of images of one size
};

ImagePreparation::ImagePreparation(Size out, PixelFormat order, int resample)
    : kernels_(std::make_unique<Kernels>(Kernels{out, order, resample, std::nullopt})) {}
ImagePreparation::ImagePreparation(ImagePreparation&&) noexcept = default;
ImagePreparation& ImagePreparation::operator=(ImagePreparation&&) noexcept = default;
ImagePreparation::~ImagePreparation() = default;

cudaError_t ImagePreparation::launch(const ImageView& image, std::uint8_t* to, cudaStream_t stream) {
    auto& resize = kernels_->resize;
    if (!resize || resize->source() != image.size()) {
        resize.reset();  // first, so that both need not fit at once
        resize.emplace(image.size(), kernels_->out, kernels_->order, kernels_->resample);
    }
    return resize->enqueue(image, to, stream);
}

}  // namespace segexport::detail
