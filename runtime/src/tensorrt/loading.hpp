// Plan -> engine: segexport/tensorrt/loading.py.

#ifndef SEGEXPORT_SRC_TENSORRT_LOADING_HPP
#define SEGEXPORT_SRC_TENSORRT_LOADING_HPP

#include <NvInferRuntime.h>

#include <memory>

#include "bundle.hpp"
#include "tensorrt/fitness.hpp"

namespace segexport::detail {

// An engine, and the runtime, which must outlive it: members are freed in the reverse of this order.
struct Engine {
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
};

// The version of the library that this process is linked with.
//
// Throws EngineUnavailable: older than what is served.
Version tensorrt_version();

// The bundle's engine on the calling thread's GPU.
//
// Throws BundleCorrupt: the file is not a whole plan. EngineMismatch: TensorRT does not take it; says why.
// EngineUnavailable: the GPU's memory is too small, or TensorRT does not start.
Engine deserialise(const Bundle& bundle, const Gpu& gpu);

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_LOADING_HPP
