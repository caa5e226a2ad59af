#include "tensorrt/execution.hpp"

#include <algorithm>
#include <cstring>
#include <iostream>
#include <utility>

#include "tensorrt/messages.hpp"

namespace segexport::detail {
namespace {

constexpr const char* kReport = "please report this";
constexpr const char* kSmaller = "close what else uses the GPU, or build a smaller --profile";

std::size_t bytes_of(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kUINT8: return 1;
        case nvinfer1::DataType::kHALF: return 2;
        case nvinfer1::DataType::kFLOAT: return 4;
        default: return 0;  // find_tensors refuses it
    }
}

bool known(const EngineOutput& output) {
    using nvinfer1::DataType;
    if (output.name == "mask") return output.type == DataType::kUINT8;
    if (output.name == "confidence") return output.type == DataType::kFLOAT;
    return output.name == "logits" && (output.type == DataType::kFLOAT || output.type == DataType::kHALF);
}

}  // namespace

std::size_t EngineOutput::bytes() const {
    const std::size_t planes = classes > 0 ? static_cast<std::size_t>(classes) : 1;
    return planes * static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width) * bytes_of(type);
}

Execution::Execution(Engine engine, const Cuda& cuda, cudaStream_t stream)
    : engine_(std::move(engine)), cuda_(cuda), stream_(stream), profiles_(*engine_.engine), captures_(!kFlavour.rtx) {
    find_tensors();
    create_context();
    allocate();
}

Execution::~Execution() {
    // Before anything is freed; what the wait would report has been reported.
    if (cudaStreamSynchronize(stream_) != cudaSuccess) cudaGetLastError();
}

void Execution::find_tensors() {
    const nvinfer1::ICudaEngine& engine = *engine_.engine;
    for (int i = 0; i < engine.getNbIOTensors(); ++i) {
        const char* const name = engine.getIOTensorName(i);
        if (std::strcmp(name, kImage) == 0) continue;
        EngineOutput output;
        output.name = name;
        output.type = engine.getTensorDataType(name);
        if (!known(output)) {
            throw EngineUnavailable("the plan's output " + output.name +
                                    " is none that this runtime reads (uint8 mask, float32 confidence, float16 or "
                                    "float32 logits): build the bundle again with this version");
        }
        outputs_.push_back(std::move(output));
    }
}

void Execution::create_context() {
    nvinfer1::ICudaEngine& engine = *engine_.engine;
#if defined(TRT_MAJOR_RTX)
    // TensorRT for RTX alone knows when a shape's own kernels have taken the place of those that serve any shape: it
    // captures its launches itself. EAGER compiles a new shape's kernels at once, so that its results stay the same.
    const std::unique_ptr<nvinfer1::IRuntimeConfig> config(engine.createRuntimeConfig());
    if (!config) throw tensorrt_failed("createRuntimeConfig", kReport);
    require(config->setCudaGraphStrategy(nvinfer1::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE), "setCudaGraphStrategy");
    config->setDynamicShapesKernelSpecializationStrategy(nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
    context_.reset(engine.createExecutionContext(config.get()));
#else
    context_.reset(engine.createExecutionContext());
#endif
    if (!context_) throw tensorrt_failed("createExecutionContext", kSmaller);
}

void Execution::allocate() {
    std::size_t input = 0;
    std::vector<std::size_t> most(outputs_.size(), 0);
    for (const Profile& profile : profiles_.all()) {
        const Size largest = Profiles::largest(profile);
        if (!profile.serves(largest)) continue;  // it takes several images at once alone
        shape(largest);
        input = std::max(input, static_cast<std::size_t>(largest.height) * static_cast<std::size_t>(largest.width) * 3);
        for (std::size_t i = 0; i < outputs_.size(); ++i) most[i] = std::max(most[i], outputs_[i].bytes());
    }
    if (input == 0) {
        throw ContractError("this engine takes NxHxW " + profiles_.text() +
                            ", never one image at a time: build with --batch 1");
    }
    input_.reserve(cuda_, input);
    for (std::size_t i = 0; i < outputs_.size(); ++i) outputs_[i].buffer.reserve(cuda_, most[i]);
}

void Execution::set_size(Size image) {
    if (image == image_) return;
    shape(image);
    bind();
    image_ = image;
}

void Execution::shape(Size image) {
    graph_.reset();
    ran_ = false;
    image_ = {};  // until all is set
    const int index = profiles_.serving(image);
    require(index >= 0, "the choice of a profile");
    if (index != profile_) {
        require(context_->setOptimizationProfileAsync(index, stream_), "setOptimizationProfileAsync");
        cuda_.require(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
        profile_ = index;
    }
    require(context_->setInputShape(kImage, nvinfer1::Dims4(1, image.height, image.width, 3)), "setInputShape");
    require(context_->inferShapes(0, nullptr) == 0, "inferShapes");
    for (EngineOutput& output : outputs_) {
        const nvinfer1::Dims dims = context_->getTensorShape(output.name.c_str());
        const bool planar = output.name == "logits";
        require(dims.nbDims == (planar ? 4 : 3) && dims.d[0] == 1, "getTensorShape");
        const int last = dims.nbDims - 1;
        output.classes = planar ? static_cast<int>(dims.d[1]) : 0;
        output.size = {static_cast<int>(dims.d[last - 1]), static_cast<int>(dims.d[last])};
        require(output.size.height > 0 && output.size.width > 0, "getTensorShape");
    }
}

void Execution::bind() {
    require(context_->setTensorAddress(kImage, input_.data()), "setTensorAddress");
    for (const EngineOutput& output : outputs_) {
        require(context_->setTensorAddress(output.name.c_str(), output.buffer.data()), "setTensorAddress");
    }
}

void Execution::run() {
    if (captures_ && ran_ && !graph_) capture();
    if (graph_) {
        cuda_.require(cudaGraphLaunch(graph_.get(), stream_), "cudaGraphLaunch");
    } else {
        enqueue();
    }
    ran_ = true;
}

void Execution::enqueue() { require(context_->enqueueV3(stream_), "enqueueV3"); }

// What cannot be captured goes on being launched one by one.
void Execution::capture() {
    try {
        graph_ = captured();
    } catch (const EngineUnavailable& error) {
        captures_ = false;
        std::clog << "segexport: no CUDA graph for this engine, whose calls take longer: " << error.what() << "\n";
    }
}

// The launches of a run, noted and not done.
GraphLaunch Execution::captured() {
    // Thread-local: other threads may go on allocating.
    cuda_.require(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    const bool noted = context_->enqueueV3(stream_);
    cudaGraph_t made = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream_, &made);  // in any case: the stream works as before
    const Graph graph(made);
    if (!noted) cudaGetLastError();  // what CUDA says of it, TensorRT has logged
    require(noted, "enqueueV3");
    cuda_.require(ended, "cudaStreamEndCapture");
    cudaGraphExec_t ready = nullptr;
    cuda_.require(cudaGraphInstantiateWithFlags(&ready, made, 0), "cudaGraphInstantiateWithFlags");
    return GraphLaunch(ready);
}

const EngineOutput* Execution::output(const char* name) const {
    const auto found = std::find_if(outputs_.begin(), outputs_.end(),
                                    [name](const EngineOutput& output) { return output.name == name; });
    return found == outputs_.end() ? nullptr : &*found;
}

void Execution::require(bool done, const char* call) const {
    if (!done) throw tensorrt_failed(call, kReport);
}

}  // namespace segexport::detail
