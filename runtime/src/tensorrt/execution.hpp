// An engine on a GPU: its memory and its shapes; one image at a time. segexport/tensorrt/execution.py.

#ifndef SEGEXPORT_SRC_TENSORRT_EXECUTION_HPP
#define SEGEXPORT_SRC_TENSORRT_EXECUTION_HPP

#include <NvInferRuntime.h>

#include <memory>
#include <string>
#include <vector>

#include "segexport/image.hpp"
#include "tensorrt/cuda.hpp"
#include "tensorrt/loading.hpp"
#include "tensorrt/profiles.hpp"

namespace segexport::detail {

// An output of the engine for one image.
struct EngineOutput {
    std::string name;  // logits, mask or confidence
    nvinfer1::DataType type = nvinfer1::DataType::kFLOAT;
    DeviceBuffer buffer;
    Size size;
    int classes = 0;  // of logits

    std::size_t bytes() const;  // of the size
};

// One execution context with buffers for the largest images of its profiles.
//
// Launches are captured as a CUDA graph and replayed: by TensorRT for RTX itself, and for classic TensorRT here, from
// the second run in a row with the same shape on, since the first one still sets things up for it. Addresses never
// change, so that a graph stays good for as long as the shape does.
//
// Every method throws EngineUnavailable where a call of CUDA or TensorRT fails.
class Execution {
   public:
    // `stream` outlives this.
    Execution(Engine engine, const Cuda& cuda, cudaStream_t stream);
    ~Execution();
    Execution(const Execution&) = delete;
    Execution& operator=(const Execution&) = delete;

    const Profiles& profiles() const { return profiles_; }

    // From here on images have this size, which a profile serves.
    void set_size(Size image);

    std::uint8_t* input() const { return input_.data(); }  // uint8 [height, width, 3] on the GPU
    std::size_t input_capacity() const { return input_.capacity(); }

    // Starts the engine.
    void run();

    // Null where the engine has no output of that name.
    const EngineOutput* output(const char* name) const;

   private:
    void find_tensors();
    void create_context();
    void allocate();
    void shape(Size image);
    void bind();
    void enqueue();
    void capture();
    GraphLaunch captured();
    void require(bool done, const char* call) const;

    Engine engine_;
    const Cuda cuda_;
    const cudaStream_t stream_;
    const Profiles profiles_;
    std::vector<EngineOutput> outputs_;
    DeviceBuffer input_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    GraphLaunch graph_;
    Size image_;  // what shapes and addresses are set for; empty: nothing
    int profile_ = 0;
    bool captures_;
    bool ran_ = false;  // at this size
};

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_EXECUTION_HPP
