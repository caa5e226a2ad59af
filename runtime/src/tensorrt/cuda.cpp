#include "tensorrt/cuda.hpp"

#include <string>

#include "segexport/errors.hpp"

namespace segexport::detail {

DeviceBytes Cuda::device_bytes(std::size_t size) const {
    void* bytes = nullptr;
    require_memory(cudaMalloc(&bytes, size), "cudaMalloc", size);
    return DeviceBytes(static_cast<std::uint8_t*>(bytes));
}

PinnedBytes Cuda::pinned_bytes(std::size_t size) const {
    void* bytes = nullptr;
    require_memory(cudaMallocHost(&bytes, size), "cudaMallocHost", size);
    return PinnedBytes(static_cast<std::uint8_t*>(bytes));
}

Stream Cuda::stream() const {
    cudaStream_t made = nullptr;
    require(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    return Stream(made);
}

Event Cuda::event() const {
    cudaEvent_t made = nullptr;
    require(cudaEventCreate(&made), "cudaEventCreate");
    return Event(made);
}

double Cuda::milliseconds(const Event& start, const Event& end) const {
    float elapsed = 0;
    require(cudaEventElapsedTime(&elapsed, start.get(), end.get()), "cudaEventElapsedTime");
    return static_cast<double>(elapsed);
}

void Cuda::copy(void* to, std::size_t to_stride, const void* from, std::size_t from_stride, std::size_t row,
                std::size_t rows, cudaMemcpyKind kind, cudaStream_t stream) const {
    if (to_stride == row && from_stride == row) {
        require(cudaMemcpyAsync(to, from, row * rows, kind, stream), "cudaMemcpyAsync");
    } else {
        require(cudaMemcpy2DAsync(to, to_stride, from, from_stride, row, rows, kind, stream), "cudaMemcpy2DAsync");
    }
}

void Cuda::require_memory(cudaError_t status, const char* call, std::size_t size) const {
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        throw EngineUnavailable(std::string(call) + " finds no " + std::to_string((size + 1023) / 1024) +
                                " KiB: close what else uses the GPU's memory or the machine's, or build for a smaller "
                                "--profile or --batch");
    }
    require(status, call);
}

void Cuda::fail(cudaError_t status, const char* call) const {
    cudaGetLastError();  // or the next kernel that is launched would be taken for the one that failed
    throw EngineUnavailable(std::string(call) + " failed on GPU " + std::to_string(index_) + " (" +
                            cudaGetErrorName(status) + ": " + cudaGetErrorString(status) +
                            "): see whether nvidia-smi shows it well, and open the bundle again");
}

std::uint8_t* DeviceBuffer::reserve(const Cuda& cuda, std::size_t size) {
    if (size > capacity_) {
        bytes_.reset();  // first, so that both need not fit at once
        capacity_ = 0;
        bytes_ = cuda.device_bytes(size);
        capacity_ = size;
    }
    return bytes_.get();
}

std::uint8_t* PinnedBuffer::reserve(const Cuda& cuda, std::size_t size) {
    if (size > capacity_) {
        bytes_.reset();
        capacity_ = 0;
        bytes_ = cuda.pinned_bytes(size);
        capacity_ = size;
    }
    return bytes_.get();
}

}  // namespace segexport::detail
