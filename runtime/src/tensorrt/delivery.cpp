#include "tensorrt/delivery.hpp"

#include <cstring>

#include "tensorrt/kernels.hpp"
#include "tensorrt/upload.hpp"

namespace segexport::detail {
namespace {

constexpr const char* kNearest = "the kernel that resizes a class map";

}  // namespace

template <typename T>
void Delivery<T>::start(const T* from, Size size, Plane<T>& to, cudaStream_t stream) {
    to_ = nullptr;
    const std::size_t row = static_cast<std::size_t>(to.width()) * sizeof(T);
    const std::size_t rows = static_cast<std::size_t>(to.height());
    if (to.memory() == Memory::device) {
        require_on_gpu(cuda_, to.data(), "the mask (or the confidence)");
        if (to.size() == size) {
            cuda_.copy(to.data(), static_cast<std::size_t>(to.stride()), from, row, row, rows, cudaMemcpyDeviceToDevice,
                       stream);
        } else {
            cuda_.require(launch_nearest(from, size, to.data(), to.size(), to.stride(), stream), kNearest);
        }
        return;
    }
    if (to.size() != size) {
        T* const resized = reinterpret_cast<T*>(resized_.reserve(cuda_, row * rows));
        const auto stride = static_cast<std::ptrdiff_t>(row);
        cuda_.require(launch_nearest(from, size, resized, to.size(), stride, stream), kNearest);
        from = resized;
    }
    cuda_.copy(pinned_.reserve(cuda_, row * rows), row, from, row, row, rows, cudaMemcpyDeviceToHost, stream);
    to_ = &to;
}

template <typename T>
void Delivery<T>::finish() {
    if (to_ == nullptr) return;
    const std::size_t row = static_cast<std::size_t>(to_->width()) * sizeof(T);
    const std::uint8_t* from = pinned_.data();
    if (static_cast<std::size_t>(to_->stride()) == row) {
        std::memcpy(to_->data(), from, row * static_cast<std::size_t>(to_->height()));
    } else {
        for (int y = 0; y < to_->height(); ++y, from += row) std::memcpy(to_->row(y), from, row);
    }
    to_ = nullptr;
}

template class Delivery<std::uint8_t>;
template class Delivery<float>;

}  // namespace segexport::detail
