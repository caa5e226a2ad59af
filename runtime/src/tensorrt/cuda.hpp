// CUDA's runtime API with every status checked, in the words of segexport/tensorrt/cudart.py, and owners of what it
// hands out: each frees what it holds, and its move leaves nothing behind.

#ifndef SEGEXPORT_SRC_TENSORRT_CUDA_HPP
#define SEGEXPORT_SRC_TENSORRT_CUDA_HPP

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace segexport::detail {

// What a handle is given back with. A failure there is not reported: after an error that breaks the GPU's context all
// calls fail, and the first is the one to know.
template <auto function>
struct GiveBack {
    template <typename Handle>
    void operator()(Handle* handle) const noexcept {
        function(handle);
    }
};

using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, GiveBack<cudaStreamDestroy>>;
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, GiveBack<cudaEventDestroy>>;
using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, GiveBack<cudaGraphDestroy>>;
using GraphLaunch = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, GiveBack<cudaGraphExecDestroy>>;
using DeviceBytes = std::unique_ptr<std::uint8_t, GiveBack<cudaFree>>;
using PinnedBytes = std::unique_ptr<std::uint8_t, GiveBack<cudaFreeHost>>;

// One GPU. Every method throws EngineUnavailable, which names the call and CUDA's reason.
class Cuda {
   public:
    explicit Cuda(int index) : index_(index) {}

    // Makes this the calling thread's GPU.
    void use() const { require(cudaSetDevice(index_), "cudaSetDevice"); }

    DeviceBytes device_bytes(std::size_t size) const;
    PinnedBytes pinned_bytes(std::size_t size) const;  // stay where they are, so that copies need not wait
    Stream stream() const;                             // does not wait for the default one
    Event event() const;

    // Sets the mark behind what a stream has to do so far.
    void record(const Event& event, cudaStream_t stream) const {
        require(cudaEventRecord(event.get(), stream), "cudaEventRecord");
    }

    // Waits until a mark has passed; what went wrong before it is thrown here.
    void wait(const Event& event) const { require(cudaEventSynchronize(event.get()), "cudaEventSynchronize"); }

    // Time on the GPU between two marks that have passed, in milliseconds.
    double milliseconds(const Event& start, const Event& end) const;

    // Starts copying `rows` rows of `row` bytes each.
    void copy(void* to, std::size_t to_stride, const void* from, std::size_t from_stride, std::size_t row,
              std::size_t rows, cudaMemcpyKind kind, cudaStream_t stream) const;

    void require(cudaError_t status, const char* call) const {
        if (status != cudaSuccess) fail(status, call);
    }

   private:
    [[noreturn]] void fail(cudaError_t status, const char* call) const;
    void require_memory(cudaError_t status, const char* call, std::size_t size) const;

    int index_;
};

// Bytes that are made once and again only when more are asked for: on the GPU, and pinned on the host.
class DeviceBuffer {
   public:
    // At least `size` bytes; what was in them is lost when they grow.
    std::uint8_t* reserve(const Cuda& cuda, std::size_t size);
    std::uint8_t* data() const { return bytes_.get(); }
    std::size_t capacity() const { return capacity_; }

   private:
    DeviceBytes bytes_;
    std::size_t capacity_ = 0;
};

class PinnedBuffer {
   public:
    std::uint8_t* reserve(const Cuda& cuda, std::size_t size);
    std::uint8_t* data() const { return bytes_.get(); }

   private:
    PinnedBytes bytes_;
    std::size_t capacity_ = 0;
};

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_CUDA_HPP
