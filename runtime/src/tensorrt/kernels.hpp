// What runs on the GPU around the engine. Kernels are compiled by nvcc, in kernels.cu, and nothing else there is: the
// rest of the backend knows them by these declarations alone, which tests implement on the CPU.

#ifndef SEGEXPORT_SRC_TENSORRT_KERNELS_HPP
#define SEGEXPORT_SRC_TENSORRT_KERNELS_HPP

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "segexport/image.hpp"

namespace segexport::detail {

// An engine's logits for one image, planar [classes, size.height, size.width], float16 or float32, on the GPU.
struct Logits {
    const void* data = nullptr;
    bool half = false;
    int classes = 0;
    Size size;
};

// Starts the class map of logits, uint8 [out.height, out.width] without padding.
cudaError_t launch_class_map(const Logits& logits, std::uint8_t* map, Size out, cudaStream_t stream);

// Starts the softmax of each of its pixels' classes, float32 [out.height, out.width] without padding.
cudaError_t launch_confidence(const Logits& logits, float* confidence, Size out, cudaStream_t stream);

// Starts a nearest-neighbour resize of a plane without padding to one whose rows are `stride` bytes apart.
cudaError_t launch_nearest(const std::uint8_t* from, Size size, std::uint8_t* to, Size out, std::ptrdiff_t stride,
                           cudaStream_t stream);
cudaError_t launch_nearest(const float* from, Size size, float* to, Size out, std::ptrdiff_t stride,
                           cudaStream_t stream);

// Any image on the GPU to what an engine takes: colours, and a resize as Pillow's. It keeps tables for the image's size
// and makes them again for another.
class ImagePreparation {
   public:
    // out: the engine's input; order: rgb or bgr; resample: Pillow's number of the filter.
    ImagePreparation(Size out, PixelFormat order, int resample);
    ImagePreparation(ImagePreparation&&) noexcept;
    ImagePreparation& operator=(ImagePreparation&&) noexcept;
    ~ImagePreparation();

    // Starts writing uint8 [out.height, out.width, 3].
    //
    // Throws EngineUnavailable: the tables for an image of another size than the one before find no memory.
    // ContractError: no such size or filter.
    cudaError_t launch(const ImageView& image, std::uint8_t* to, cudaStream_t stream);

   private:
    struct Kernels;
    std::unique_ptr<Kernels> kernels_;
};

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_KERNELS_HPP
