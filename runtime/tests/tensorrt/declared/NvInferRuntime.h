// TensorRT's API as far as the backend calls it: declarations of our own, for machines without NVIDIA's headers.
//
// Names, signatures and values are the public API's, and the same in every version that is served. Layout is not: what
// NVIDIA forwards to its library is virtual here, so that the stand-in overrides it. A program compiled with this may
// call the library's C functions, and nothing of what they return. NvInferVersion.h is made for each version:
// tests/support/tensorrt_headers.py, which also compares all of this with NVIDIA's headers.

#ifndef SEGEXPORT_TESTS_TENSORRT_DECLARED_NVINFERRUNTIME_H
#define SEGEXPORT_TESTS_TENSORRT_DECLARED_NVINFERRUNTIME_H

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "NvInferVersion.h"

#define NV_TENSORRT_VERSION (NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH)

namespace nvinfer1 {

enum class DataType : int32_t { kFLOAT = 0, kHALF = 1, kUINT8 = 5 };
enum class OptProfileSelector : int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };
enum class ExecutionContextAllocationStrategy : int32_t { kSTATIC = 0 };

class Dims64 {
   public:
    int32_t nbDims;
    int64_t d[8];
};
using Dims = Dims64;
class Dims4 : public Dims64 {
   public:
    Dims4(int64_t d0, int64_t d1, int64_t d2, int64_t d3) : Dims64{4, {d0, d1, d2, d3}} {}
};

class ILogger {
   public:
    enum class Severity : int32_t { kINTERNAL_ERROR = 0, kERROR = 1 };
    virtual void log(Severity severity, char const* message) noexcept = 0;
    virtual ~ILogger() = default;
};

class IExecutionContext {
   public:
    virtual bool setOptimizationProfileAsync(int32_t profile, cudaStream_t stream) noexcept = 0;
    virtual bool setInputShape(char const* name, Dims const& dims) noexcept = 0;
    virtual int32_t inferShapes(int32_t count, char const** names) noexcept = 0;
    virtual Dims getTensorShape(char const* name) const noexcept = 0;
    virtual bool setTensorAddress(char const* name, void* data) noexcept = 0;
    virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
    virtual ~IExecutionContext() noexcept = default;
};

#if defined(TRT_MAJOR_RTX)
enum class CudaGraphStrategy : int32_t { kWHOLE_GRAPH_CAPTURE = 1 };
enum class DynamicShapesKernelSpecializationStrategy : int32_t { kEAGER = 1 };

class IRuntimeConfig {
   public:
    virtual bool setCudaGraphStrategy(CudaGraphStrategy strategy) noexcept = 0;
    virtual void setDynamicShapesKernelSpecializationStrategy(
        DynamicShapesKernelSpecializationStrategy strategy) noexcept = 0;
    virtual ~IRuntimeConfig() noexcept = default;
};
#endif

class ICudaEngine {
   public:
    virtual int32_t getNbIOTensors() const noexcept = 0;
    virtual char const* getIOTensorName(int32_t index) const noexcept = 0;
    virtual Dims getTensorShape(char const* name) const noexcept = 0;
    virtual DataType getTensorDataType(char const* name) const noexcept = 0;
    virtual int32_t getNbOptimizationProfiles() const noexcept = 0;
    virtual Dims getProfileShape(char const* name, int32_t profile, OptProfileSelector select) const noexcept = 0;
    virtual int64_t getStreamableWeightsSize() const noexcept = 0;
    virtual int64_t getWeightStreamingAutomaticBudget() const noexcept = 0;
    virtual bool setWeightStreamingBudgetV2(int64_t budget) noexcept = 0;
    virtual IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy strategy = ExecutionContextAllocationStrategy::kSTATIC) noexcept = 0;
#if defined(TRT_MAJOR_RTX)
    virtual IExecutionContext* createExecutionContext(IRuntimeConfig* config) noexcept = 0;
    virtual IRuntimeConfig* createRuntimeConfig() noexcept = 0;
#endif
    virtual ~ICudaEngine() noexcept = default;
};

class IRuntime {
   public:
    virtual void setEngineHostCodeAllowed(bool allowed) noexcept = 0;
    virtual void setDLACore(int32_t core) noexcept = 0;
    virtual ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept = 0;
    virtual ~IRuntime() noexcept = default;
};

}  // namespace nvinfer1

extern "C" void* createInferRuntime_INTERNAL(void* logger, int32_t version) noexcept;
extern "C" int32_t getInferLibMajorVersion() noexcept;
extern "C" int32_t getInferLibMinorVersion() noexcept;
extern "C" int32_t getInferLibPatchVersion() noexcept;
extern "C" int32_t getInferLibBuildVersion() noexcept;

namespace nvinfer1 {

inline IRuntime* createInferRuntime(ILogger& logger) noexcept {
    return static_cast<IRuntime*>(createInferRuntime_INTERNAL(&logger, NV_TENSORRT_VERSION));
}

}  // namespace nvinfer1

#endif  // SEGEXPORT_TESTS_TENSORRT_DECLARED_NVINFERRUNTIME_H
