// The stand-in's CUDA runtime: stand_in.hpp.

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "stand_in.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

using Work = std::function<void()>;

struct CUstream_st {
    std::deque<Work> queue;
    std::vector<Work>* noted = nullptr;  // while capturing
    bool invalid = false;
};
struct CUevent_st {
    cudaStream_t stream = nullptr;
    bool passed = false;
};
struct CUgraph_st {
    std::vector<Work> work;
};
struct CUgraphExec_st {
    std::vector<Work> work;
};

namespace stand_in {

Counts counts;
int failing = -1;
std::string failed;
bool refuses_capture = false;
thread_local int Inside::depth = 0;

namespace {

cudaError_t last = cudaSuccess;
std::map<const std::uint8_t*, std::size_t> device, pinned;
std::set<cudaStream_t> streams;

cudaError_t error(cudaError_t status) { return last = status; }

void open_memory(bool open) {
    for (const auto& [start, size] : device) {
        if (open) {
            ASAN_UNPOISON_MEMORY_REGION(start, size);
        } else {
            ASAN_POISON_MEMORY_REGION(start, size);
        }
    }
}

void drain(cudaStream_t stream, const bool* until = nullptr) {
    open_memory(true);
    while (!stream->queue.empty() && (until == nullptr || !*until)) {
        const Work work = std::move(stream->queue.front());
        stream->queue.pop_front();
        work();
    }
    open_memory(false);
}

std::size_t room_in(const std::map<const std::uint8_t*, std::size_t>& memory, const void* pointer) {
    const auto* const byte = static_cast<const std::uint8_t*>(pointer);
    auto after = memory.upper_bound(byte);
    if (after == memory.begin()) return 0;
    --after;
    const std::size_t at = static_cast<std::size_t>(byte - after->first);
    return at < after->second ? after->second - at : 0;
}

cudaError_t allocate(std::map<const std::uint8_t*, std::size_t>& memory, void** pointer, std::size_t size) {
    auto* const bytes = static_cast<std::uint8_t*>(std::aligned_alloc(256, (size + 255) / 256 * 256));
    std::memset(bytes, 0xa5, size);
    memory[bytes] = size;
    *pointer = bytes;
    ++counts.alive;
    ++counts.allocations;
    return cudaSuccess;
}

cudaError_t release(std::map<const std::uint8_t*, std::size_t>& memory, void* pointer) {
    for (cudaStream_t stream : streams) drain(stream);  // as CUDA waits
    if (memory.erase(static_cast<const std::uint8_t*>(pointer)) != 1) std::abort();
    ASAN_UNPOISON_MEMORY_REGION(pointer, 1);
    std::free(pointer);
    --counts.alive;
    return cudaSuccess;
}

void require(bool so, const char* what) {
    if (so) return;
    std::fputs(what, stderr);
    std::abort();
}

// Both ends of a copy are what its kind says, and large enough.
void require_ends(const void* to, std::size_t to_bytes, const void* from, std::size_t from_bytes, cudaMemcpyKind kind) {
    const bool to_host = kind == cudaMemcpyDeviceToHost, from_host = kind == cudaMemcpyHostToDevice;
    require(room_in(to_host ? pinned : device, to) >= to_bytes, "a copy to memory that is too small\n");
    require(room_in(from_host ? pinned : device, from) >= from_bytes, "a copy from memory that is too small\n");
    if (to_host || from_host) ++counts.copies;
}

}  // namespace

bool fails(const char* name) {
    if (counts.calls++ != failing) return false;
    failed = name;
    return true;
}

void add(cudaStream_t stream, Work work) {
    if (stream->noted != nullptr) {
        stream->noted->push_back(std::move(work));
    } else {
        stream->queue.push_back(std::move(work));
    }
}

std::size_t room(const void* pointer) { return room_in(device, pointer); }

void write(void* to, const void* host, std::size_t size) {
    open_memory(true);
    std::memcpy(to, host, size);
    open_memory(false);
}

void read(void* host, const void* from, std::size_t size) {
    open_memory(true);
    std::memcpy(host, from, size);
    open_memory(false);
}

}  // namespace stand_in

using stand_in::counts;
using stand_in::error;
using stand_in::fails;
using stand_in::Inside;

#define CALL(name)      \
    const Inside guard; \
    if (fails(#name)) return error(cudaErrorUnknown)

extern "C" {

cudaError_t cudaGetLastError() {
    const cudaError_t found = stand_in::last;
    stand_in::last = cudaSuccess;
    return found;
}
const char* cudaGetErrorName(cudaError_t status) {
    return status == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorUnknown";
}
const char* cudaGetErrorString(cudaError_t) { return "unknown error"; }
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 12080;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int) {
    CALL(cudaSetDevice);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, std::size_t size) {
    const Inside guard;
    if (fails("cudaMalloc")) return error(cudaErrorMemoryAllocation);
    const cudaError_t done = stand_in::allocate(stand_in::device, pointer, size);
    stand_in::open_memory(false);
    return done;
}
cudaError_t cudaFree(void* pointer) {
    const Inside guard;
    const std::size_t size = stand_in::room(pointer);
    ASAN_UNPOISON_MEMORY_REGION(pointer, size);
    return stand_in::release(stand_in::device, pointer);
}
cudaError_t cudaMallocHost(void** pointer, std::size_t size) {
    CALL(cudaMallocHost);
    return stand_in::allocate(stand_in::pinned, pointer, size);
}
cudaError_t cudaFreeHost(void* pointer) {
    const Inside guard;
    return stand_in::release(stand_in::pinned, pointer);
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
    CALL(cudaPointerGetAttributes);
    *attributes = {};
    const bool on_device = stand_in::room(pointer) > 0, is_pinned = stand_in::room_in(stand_in::pinned, pointer) > 0;
    attributes->type = on_device ? cudaMemoryTypeDevice : is_pinned ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    attributes->devicePointer = on_device || is_pinned ? const_cast<void*>(pointer) : nullptr;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    CALL(cudaStreamCreateWithFlags);
    *stream = new CUstream_st;
    stand_in::streams.insert(*stream);
    ++counts.alive;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    const Inside guard;
    stand_in::drain(stream);
    if (stand_in::streams.erase(stream) != 1) std::abort();
    delete stream;
    --counts.alive;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    CALL(cudaStreamSynchronize);
    stand_in::drain(stream);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
    CALL(cudaEventCreate);
    *event = new CUevent_st;
    ++counts.alive;
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    const Inside guard;
    delete event;
    --counts.alive;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    CALL(cudaEventRecord);
    event->stream = stream;
    event->passed = false;
    stand_in::add(stream, [event] { event->passed = true; });
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    CALL(cudaEventSynchronize);
    stand_in::drain(event->stream, &event->passed);
    return event->passed ? cudaSuccess : error(cudaErrorInvalidValue);
}
cudaError_t cudaEventElapsedTime(float* elapsed, cudaEvent_t start, cudaEvent_t end) {
    CALL(cudaEventElapsedTime);
    if (!start->passed || !end->passed) return error(cudaErrorNotReady);
    *elapsed = 0.25F;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind kind, cudaStream_t stream) {
    CALL(cudaMemcpyAsync);
    stand_in::require_ends(to, size, from, size, kind);
    stand_in::add(stream, [=] { std::memcpy(to, from, size); });
    return cudaSuccess;
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_stride, const void* from, std::size_t from_stride,
                              std::size_t row, std::size_t rows, cudaMemcpyKind kind, cudaStream_t stream) {
    CALL(cudaMemcpy2DAsync);
    if (to_stride < row || from_stride < row) return error(cudaErrorInvalidPitchValue);
    stand_in::require_ends(to, (rows - 1) * to_stride + row, from, (rows - 1) * from_stride + row, kind);
    stand_in::add(stream, [=] {
        for (std::size_t y = 0; y < rows; ++y) {
            std::memcpy(static_cast<std::uint8_t*>(to) + y * to_stride,
                        static_cast<const std::uint8_t*>(from) + y * from_stride, row);
        }
    });
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    CALL(cudaStreamBeginCapture);
    if (stream->noted != nullptr) std::abort();
    stream->noted = new std::vector<Work>;
    stream->invalid = stand_in::refuses_capture;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    const Inside guard;
    const std::unique_ptr<std::vector<Work>> noted(std::exchange(stream->noted, nullptr));  // ends also where it fails
    *graph = nullptr;
    if (fails("cudaStreamEndCapture")) return error(cudaErrorUnknown);
    if (noted == nullptr || stream->invalid) return error(cudaErrorStreamCaptureInvalidated);
    *graph = new CUgraph_st{*noted};
    ++counts.alive;
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    const Inside guard;
    delete graph;
    --counts.alive;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* ready, cudaGraph_t graph, unsigned long long) {
    CALL(cudaGraphInstantiateWithFlags);
    *ready = new CUgraphExec_st{graph->work};
    ++counts.alive;
    ++counts.captures;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t ready) {
    const Inside guard;
    delete ready;
    --counts.alive;
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t stream) {
    CALL(cudaGraphLaunch);
    for (const Work& work : ready->work) stand_in::add(stream, work);
    ++counts.launches;
    return cudaSuccess;
}

}  // extern "C"
