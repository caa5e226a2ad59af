// An image, wherever it lies and whatever it looks like, into an engine's input on the GPU.

#ifndef SEGEXPORT_SRC_TENSORRT_UPLOAD_HPP
#define SEGEXPORT_SRC_TENSORRT_UPLOAD_HPP

#include <optional>

#include "segexport/image.hpp"
#include "tensorrt/cuda.hpp"
#include "tensorrt/kernels.hpp"

namespace segexport::detail {

// An image in pageable memory goes through a pinned buffer, row by row where it has padding; one in pinned memory is
// copied from there, and one on the GPU is read where it lies. Buffers are kept, and grow with the images.
class Upload {
   public:
    // capacity: bytes of the largest image that the engine takes.
    Upload(const Cuda& cuda, PixelFormat order, int resample, std::size_t capacity);

    // Starts writing `input`, uint8 [size.height, size.width, 3] in the engine's channel order, from the image, which
    // is resized where it has another size.
    //
    // Throws ContractError: an image said to be on the GPU is not there. EngineUnavailable: a call of CUDA failed.
    void start(const ImageView& image, Size size, std::uint8_t* input, cudaStream_t stream);

   private:
    void to_gpu(const std::uint8_t* from, std::size_t stride, std::size_t row, std::size_t rows, std::uint8_t* to,
                std::size_t at, cudaStream_t stream);
    ImageView on_gpu(const ImageView& image, cudaStream_t stream);

    const Cuda cuda_;
    const PixelFormat order_;
    const int resample_;
    PinnedBuffer pinned_;
    DeviceBuffer source_;  // images that are not what the engine takes, as they came
    std::optional<ImagePreparation> preparation_;
    Size prepared_;  // the size that it makes
};

// Whether a kernel can read or write memory here. Throws ContractError where it cannot; `what` is whose memory it is.
void require_on_gpu(const Cuda& cuda, const void* memory, const char* what);

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_UPLOAD_HPP
