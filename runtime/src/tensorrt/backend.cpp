// TensorRT: a bundle's plan on a GPU. An image goes up, is prepared there, runs through the engine, becomes a class map
// and comes down, all in one stream: segexport/engines/tensorrt_runner.py.

#include "backend.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "tensorrt/cuda.hpp"
#include "tensorrt/delivery.hpp"
#include "tensorrt/driver.hpp"
#include "tensorrt/execution.hpp"
#include "tensorrt/fitness.hpp"
#include "tensorrt/kernels.hpp"
#include "tensorrt/loading.hpp"
#include "tensorrt/upload.hpp"

namespace segexport::detail {
namespace {

// Why no GPU here can be computed on, and the remedy; empty where one can.
std::string missing() {
    if (const std::string why = why_none(); !why.empty()) return why;
    int runtime = 0;
    if (cudaRuntimeGetVersion(&runtime) == cudaSuccess) {
        if (const std::string why = older_driver(driver_version(), runtime); !why.empty()) return why;
    }
    if (!kFlavour.rtx) return "";
    std::string here;
    for (const Gpu& gpu : gpus()) {
        if (rtx_computes_on(gpu)) return "";
        here += (here.empty() ? "" : ", ") + to_string(gpu);
    }
    return std::string(kFlavour.title) + " does not compute on " + here +
           ": it serves RTX GPUs; build the bundle with --engine tensorrt";
}

void require_compiled_in(const Bundle& bundle) {
    const std::string& engine = bundle.manifest.engine;
    if (engine == kFlavour.engine) return;
    const Flavour& wanted = kFlavour.rtx ? kClassic : kRtx;
    throw EngineUnavailable(bundle.folder.string() + " is for " + engine + ", and this build of the runtime has " +
                            kFlavour.engine + ": configure it with -DTensorRT_ROOT of " + wanted.title +
                            ", or segexport build --from-bundle " + bundle.folder.string() + " --engine " +
                            kFlavour.engine + " --out NEW");
}

// Of the logits for an input of that size: segexport.spec.Grid.of.
Size size_of(const Grid& grid, Size network) {
    const auto along = [&](int side) { return (side + 2 * (grid.patch / 2) - grid.patch) / grid.stride + 1; };
    return {along(network.height), along(network.width)};
}

std::size_t pixels(Size size) { return static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width); }

class TensorRt final : public Backend {
   public:
    TensorRt(const Bundle& bundle, const Options& options, const Cuda& cuda, Engine engine);
    ~TensorRt() override;

    void submit(const Frame& frame) override;
    void wait() override;
    bool has_confidence() const override {
        return confidence_ != nullptr || (logits_ != nullptr && contract_.output != Output::logits);
    }
    Timings timings() const override { return timings_; }

   private:
    Size input_size(Size image) const;
    Size map_size(Size image, Size logits) const;
    Logits logits() const;
    void make_map(Size size);
    const float* make_confidence(Size size);
    void settle() noexcept;

    const Contract contract_;
    const bool own_sizes_;
    const Cuda cuda_;
    const Stream own_stream_;
    const cudaStream_t stream_;
    const Event start_, staged_, ran_, end_;
    Execution execution_;
    Upload upload_;
    const EngineOutput* const logits_;      // null: the engine makes the class map
    const EngineOutput* const mask_;        // null: the kernel does
    const EngineOutput* const confidence_;  // null: there is none, or the kernel makes it
    DeviceBuffer map_, sure_;               // of the logits: classes, and how sure they are
    Delivery<std::uint8_t> masks_;
    std::optional<Delivery<float>> confidences_;
    bool confidence_wanted_ = false;
    bool under_way_ = false;
    Timings timings_;
};

TensorRt::TensorRt(const Bundle& bundle, const Options& options, const Cuda& cuda, Engine engine)
    : contract_(bundle.manifest.contract),
      own_sizes_(options.own_sizes),
      cuda_(cuda),
      own_stream_(options.stream == nullptr ? cuda_.stream() : Stream()),
      stream_(own_stream_ ? own_stream_.get() : static_cast<cudaStream_t>(options.stream)),
      start_(cuda_.event()),
      staged_(cuda_.event()),
      ran_(cuda_.event()),
      end_(cuda_.event()),
      execution_(std::move(engine), cuda_, stream_),
      upload_(cuda_, contract_.channel_order, bundle.manifest.resample, execution_.input_capacity()),
      logits_(execution_.output("logits")),
      mask_(execution_.output("mask")),
      confidence_(execution_.output("confidence")),
      masks_(cuda_, pixels(contract_.image_size)) {
    if (logits_ == nullptr && mask_ == nullptr) {
        throw BundleCorrupt(bundle.plan().string() + " has neither a mask nor logits: build the bundle again");
    }
    if (execution_.profiles().serving(contract_.image_size) < 0) {
        const Size size = contract_.image_size;
        throw ContractError("images have shape (1, " + std::to_string(size.height) + ", " + std::to_string(size.width) +
                            ", 3): this engine takes [N, height, width, 3] within NxHxW " +
                            execution_.profiles().text() + "; build with another --profile to serve more");
    }
    if (has_confidence()) confidences_.emplace(cuda_, pixels(contract_.image_size));
    if (logits_ != nullptr) {
        for (const Profile& profile : execution_.profiles().all()) {
            const Size image = Profiles::largest(profile);
            if (!profile.serves(image)) continue;
            execution_.set_size(image);
            map_.reserve(cuda_, pixels(map_size(image, logits_->size)));
        }
    }
    execution_.set_size(contract_.image_size);
}

void TensorRt::submit(const Frame& frame) {
    cuda_.use();
    under_way_ = true;
    try {
        const Size size = input_size(frame.image.size());
        execution_.set_size(size);
        cuda_.record(start_, stream_);
        upload_.start(frame.image, size, execution_.input(), stream_);
        cuda_.record(staged_, stream_);
        execution_.run();
        cuda_.record(ran_, stream_);
        confidence_wanted_ = frame.confidence != nullptr && confidences_;
        if (logits_ != nullptr) {
            const Size made = map_size(size, logits_->size);
            make_map(made);
            masks_.start(map_.data(), made, *frame.mask, stream_);
            if (confidence_wanted_) confidences_->start(make_confidence(made), made, *frame.confidence, stream_);
        } else {
            masks_.start(mask_->buffer.data(), mask_->size, *frame.mask, stream_);
            if (confidence_wanted_) {
                const auto* const from = reinterpret_cast<const float*>(confidence_->buffer.data());
                confidences_->start(from, confidence_->size, *frame.confidence, stream_);
            }
        }
        cuda_.record(end_, stream_);
    } catch (...) {
        settle();
        throw;
    }
}

void TensorRt::wait() {
    if (!under_way_) return;
    try {
        cuda_.use();
        cuda_.wait(end_);
        under_way_ = false;
        const auto arrived = std::chrono::steady_clock::now();
        masks_.finish();
        if (confidence_wanted_) confidences_->finish();
        const std::chrono::duration<double, std::milli> copied = std::chrono::steady_clock::now() - arrived;
        timings_.preprocess_ms = cuda_.milliseconds(start_, staged_);
        timings_.infer_ms = cuda_.milliseconds(staged_, ran_);
        timings_.postprocess_ms = cuda_.milliseconds(ran_, end_) + copied.count();
    } catch (...) {
        settle();
        throw;
    }
}

// The size in which an image goes through the engine.
Size TensorRt::input_size(Size image) const {
    return own_sizes_ && execution_.profiles().serving(image) >= 0 ? image : contract_.image_size;
}

// How large the class map of logits is, for an image of the contract's size and of others:
// segexport.engines.tensorrt_runner.mask_size_of.
Size TensorRt::map_size(Size image, Size logits) const {
    if (contract_.output == Output::logits) return logits;
    if (image == contract_.image_size) return contract_.mask_size;
    if (contract_.mask_size == contract_.image_size) return image;
    return contract_.mask_size == size_of(contract_.grid, contract_.size) ? logits : contract_.mask_size;
}

Logits TensorRt::logits() const {
    return {logits_->buffer.data(), logits_->type == nvinfer1::DataType::kHALF, logits_->classes, logits_->size};
}

void TensorRt::make_map(Size size) {
    map_.reserve(cuda_, pixels(size));
    cuda_.require(launch_class_map(logits(), map_.data(), size, stream_), "the kernel that makes the class map");
}

const float* TensorRt::make_confidence(Size size) {
    auto* const made = reinterpret_cast<float*>(sure_.reserve(cuda_, pixels(size) * sizeof(float)));
    cuda_.require(launch_confidence(logits(), made, size, stream_), "the kernel that makes the confidence");
    return made;
}

// Waits until nothing that was started touches the caller's memory any more; what the wait would report has been.
void TensorRt::settle() noexcept {
    if (!under_way_) return;
    under_way_ = false;
    if (cudaStreamSynchronize(stream_) != cudaSuccess) cudaGetLastError();
}

TensorRt::~TensorRt() {
    try {
        cuda_.use();                      // for TensorRT's own objects, whichever thread this is
    } catch (const EngineUnavailable&) {  // has been reported, by the call that failed first
    }
    settle();
}

}  // namespace

std::unique_ptr<Backend> open_tensorrt(const Bundle& bundle, const Options& options) {
    require_compiled_in(bundle);
    const Version version = tensorrt_version();
    if (const std::string why = missing(); !why.empty()) {
        throw EngineUnavailable(bundle.manifest.engine + " cannot run here: " + why +
                                "; the bundle itself is whole: it runs on " + runs_on(bundle));
    }
    const Gpu gpu = gpu_named(options.device, kFlavour.engine);
    require_same(bundle, kFlavour, version, gpu, system_name());
    const Cuda cuda(gpu.index);
    cuda.use();
    return std::make_unique<TensorRt>(bundle, options, cuda, deserialise(bundle, gpu));
}

}  // namespace segexport::detail
