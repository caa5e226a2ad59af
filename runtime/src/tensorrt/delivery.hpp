// A plane on the GPU (a class map, a confidence) into the caller's, in the image's size.

#ifndef SEGEXPORT_SRC_TENSORRT_DELIVERY_HPP
#define SEGEXPORT_SRC_TENSORRT_DELIVERY_HPP

#include "segexport/image.hpp"
#include "tensorrt/cuda.hpp"

namespace segexport::detail {

// T: std::uint8_t or float. Buffers are kept, and grow with the images.
template <typename T>
class Delivery {
   public:
    // capacity: pixels of the largest plane to be expected.
    Delivery(const Cuda& cuda, std::size_t capacity) : cuda_(cuda) { pinned_.reserve(cuda_, capacity * sizeof(T)); }

    // Starts bringing `from`, on the GPU without padding, to a plane, by nearest neighbour where that has another size.
    // The plane stays where it is until `finish`.
    //
    // Throws ContractError: a plane said to be on the GPU is not there. EngineUnavailable: a call of CUDA failed.
    void start(const T* from, Size size, Plane<T>& to, cudaStream_t stream);

    // Writes the rows of a plane in the host's memory, what was started having ended.
    void finish();

   private:
    const Cuda cuda_;
    DeviceBuffer resized_;
    PinnedBuffer pinned_;
    Plane<T>* to_ = nullptr;  // in the host's memory
};

extern template class Delivery<std::uint8_t>;
extern template class Delivery<float>;

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_DELIVERY_HPP
