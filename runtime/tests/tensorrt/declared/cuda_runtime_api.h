// CUDA's runtime API as far as the backend calls it: declarations of our own, for machines without a CUDA toolkit.
//
// Names, signatures and values are the public API's (tests/support/tensorrt_headers.py compares them with the
// toolkit's, where there is one); structures have the members that are read, and no others.

#ifndef SEGEXPORT_TESTS_TENSORRT_DECLARED_CUDA_RUNTIME_API_H
#define SEGEXPORT_TESTS_TENSORRT_DECLARED_CUDA_RUNTIME_API_H

#include <cstddef>

#define cudaStreamNonBlocking 1

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;

enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidPitchValue = 12,
    cudaErrorNotReady = 600,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorUnknown = 999
};
using cudaError_t = cudaError;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaMemoryType { cudaMemoryTypeUnregistered = 0, cudaMemoryTypeHost = 1, cudaMemoryTypeDevice = 2 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };

struct cudaPointerAttributes {
    cudaMemoryType type;
    void* devicePointer;
};

extern "C" cudaError_t cudaGetLastError();
extern "C" const char* cudaGetErrorName(cudaError_t error);
extern "C" const char* cudaGetErrorString(cudaError_t error);
extern "C" cudaError_t cudaRuntimeGetVersion(int* version);
extern "C" cudaError_t cudaSetDevice(int device);

extern "C" cudaError_t cudaMalloc(void** memory, std::size_t size);
extern "C" cudaError_t cudaFree(void* memory);
extern "C" cudaError_t cudaMallocHost(void** memory, std::size_t size);
extern "C" cudaError_t cudaFreeHost(void* memory);
extern "C" cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory);
extern "C" cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind kind,
                                       cudaStream_t stream);
extern "C" cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_stride, const void* from, std::size_t from_stride,
                                         std::size_t row, std::size_t rows, cudaMemcpyKind kind, cudaStream_t stream);

extern "C" cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags);
extern "C" cudaError_t cudaStreamDestroy(cudaStream_t stream);
extern "C" cudaError_t cudaStreamSynchronize(cudaStream_t stream);

extern "C" cudaError_t cudaEventCreate(cudaEvent_t* event);
extern "C" cudaError_t cudaEventDestroy(cudaEvent_t event);
extern "C" cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
extern "C" cudaError_t cudaEventSynchronize(cudaEvent_t event);
extern "C" cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

extern "C" cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
extern "C" cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
extern "C" cudaError_t cudaGraphDestroy(cudaGraph_t graph);
extern "C" cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* ready, cudaGraph_t graph,
                                                     unsigned long long flags);
extern "C" cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t stream);
extern "C" cudaError_t cudaGraphExecDestroy(cudaGraphExec_t ready);

#endif  // SEGEXPORT_TESTS_TENSORRT_DECLARED_CUDA_RUNTIME_API_H
