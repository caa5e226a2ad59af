// OpenVINO: compiles a bundle's graph for one of its devices, in exactly the precision that was asked for, as
// segexport/engines/openvino.py does. Pre- and post-processing run on the CPU, in buffers made once.

#include <unistd.h>

#include <openvino/openvino.hpp>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "backend.hpp"
#include "cores.hpp"
#include "results.hpp"
#include "segexport/preprocess.hpp"
#include "segexport/workers.hpp"

namespace segexport::detail {

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

// One for all that are open: two plugins that are closed in the order they were opened leave a signal stack that is
// gone (OpenVINO 2026.4; segexport/engines/openvino.py has the story).
std::shared_ptr<ov::Core> shared_core() {
    static std::mutex mutex;
    static std::weak_ptr<ov::Core> kept;
    const std::lock_guard<std::mutex> lock(mutex);
    auto core = kept.lock();
    if (core == nullptr) kept = core = std::make_shared<ov::Core>();
    return core;
}

bool writable(const std::filesystem::path& folder) { return access(folder.c_str(), W_OK) == 0; }

std::string one_line(const std::string& text) {
    std::istringstream words(text);
    std::string line;
    for (std::string word; words >> word;) line += (line.empty() ? "" : " ") + word;
    return line.substr(0, 400);
}

std::string family(const std::string& device) { return device.substr(0, device.find('.')); }

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

void require_device(ov::Core& core, const std::string& device) {
    const auto known = core.get_available_devices();
    const bool found =
        std::any_of(known.begin(), known.end(), [&](const std::string& one) { return family(one) == family(device); });
    if (!found) {
        throw EngineUnavailable("OpenVINO has no device " + device + " here: pass --device with one of " +
                                joined(known));
    }
}

// The same words as segexport.engines.require.
void require_precision(ov::Core& core, const std::string& precision) {
    if (precision == "fp32") return;
    static const std::map<std::string, std::string> remedies{
        {"fp16",
         "pass --engine onnxruntime, which rounds as FP16 does and so tells its accuracy before a GPU is at hand"},
        {"int8", "pass --engine onnxruntime or --precision fp32"},
        {"bf16",
         "it takes --engine openvino on a CPU with AMX or AVX512_BF16 (segexport engines lists what there is); "
         "pass --precision fp32"},
    };
    const auto remedy = remedies.find(precision);
    if (remedy == remedies.end()) throw EngineUnavailable("openvino does not compute in " + precision);
    std::string name;
    for (const char letter : precision) name += static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
    const auto able = core.get_property("CPU", ov::device::capabilities);
    if (std::find(able.begin(), able.end(), name) == able.end()) {
        throw EngineUnavailable("openvino does not compute in " + precision + " on this machine: " + remedy->second);
    }
}

ov::element::Type computed_in(const std::string& precision) {
    if (precision == "bf16") return ov::element::bf16;
    if (precision == "fp16") return ov::element::f16;
    return ov::element::f32;  // what is not in INT8 is in FP32
}

// Where OpenVINO keeps the compiled model for the next time, if that can be written.
std::optional<std::string> cache_of(const Bundle& bundle) {
    std::error_code error;
    std::filesystem::create_directories(bundle.cache(), error);
    if (error || !writable(bundle.cache())) return std::nullopt;
    return bundle.cache().string();
}

ov::CompiledModel compile(ov::Core& core, const Bundle& bundle, const std::string& device, int threads) {
    require_precision(core, bundle.manifest.precision);
    require_device(core, device);
    const ov::element::Type wanted = computed_in(bundle.manifest.precision);
    ov::AnyMap settings{
        // One image at a time, all threads on it.
        ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
        ov::hint::num_requests(1),
        // OpenVINO computes in bf16 by itself on CPUs that have it: only where asked for.
        ov::hint::inference_precision(wanted),
    };
    if (threads > 0) settings.insert(ov::inference_num_threads(threads));
    if (const auto cache = cache_of(bundle)) settings.insert(ov::cache_dir(*cache));
    auto compiled = core.compile_model(bundle.engine_graph().string(), device, settings);
    const ov::element::Type found = compiled.get_property(ov::hint::inference_precision);
    if (found != wanted) {
        throw EngineUnavailable("OpenVINO computes in " + found.to_string() + " on " + device + ", not " +
                                wanted.to_string() + ": pass another --device");
    }
    return compiled;
}

// What the outputs become, by what the bundle says of them.
std::unique_ptr<Results> results_of(const Bundle& bundle, const std::map<std::string, ov::Tensor>& outputs) {
    const Contract& contract = bundle.manifest.contract;
    const auto data = [&](const std::string& name, ov::element::Type type, std::size_t sides) -> const ov::Tensor& {
        const auto found = outputs.find(name);
        if (found == outputs.end() || found->second.get_element_type() != type || found->second.get_size() == 0 ||
            found->second.get_shape().size() != sides) {
            throw BundleCorrupt(bundle.engine_graph().string() + " has no output " + name +
                                " as its manifest says: " + "build the bundle again");
        }
        return found->second;
    };
    if (bundle.manifest.class_map == ClassMapBy::host) {
        const ov::Tensor& logits = data("logits", ov::element::f32, 4);
        const ov::Shape shape = logits.get_shape();
        return class_map_of(logits.data<float>(), {static_cast<int>(shape[1]), static_cast<int>(shape[2])},
                            static_cast<int>(shape[3]), contract.mask_size);
    }
    const auto require_size = [&](const ov::Shape& shape, std::size_t at) {
        if (shape[at] != static_cast<std::size_t>(contract.mask_size.height) ||
            shape[at + 1] != static_cast<std::size_t>(contract.mask_size.width)) {
            throw BundleCorrupt(bundle.engine_graph().string() + " has outputs of another size than its manifest's " +
                                to_string(contract.mask_size) + ": build the bundle again");
        }
    };
    if (contract.output == Output::logits) {
        const ov::Tensor& logits = data("logits", ov::element::f32, 4);
        require_size(logits.get_shape(), 2);
        return best_of(logits.data<float>(), static_cast<int>(logits.get_shape()[1]), contract.mask_size);
    }
    const ov::Tensor& mask = data("mask", ov::element::u8, 3);
    require_size(mask.get_shape(), 1);
    const float* confidence = nullptr;
    if (contract.output == Output::scores) {
        const ov::Tensor& scores = data("confidence", ov::element::f32, 3);
        require_size(scores.get_shape(), 1);
        confidence = scores.data<float>();
    }
    return copy_of(mask.data<std::uint8_t>(), confidence, contract.mask_size);
}

// A tensor of a port's shape, for one image.
ov::Tensor tensor_of(const ov::Output<const ov::Node>& port) {
    ov::PartialShape shape = port.get_partial_shape();
    if (shape[0].is_dynamic()) shape[0] = 1;
    return ov::Tensor(port.get_element_type(), shape.to_shape());
}

// OpenVINO's own errors as ours.
template <typename Call>
void checked(const Call& call) {
    try {
        call();
    } catch (const ov::Exception& error) {
        throw EngineUnavailable("OpenVINO does not compute this frame (" + one_line(error.what()) +
                                "): open the bundle again");
    }
}

class OpenVino final : public Backend {
   public:
    OpenVino(const Bundle& bundle, const Options& options)
        : contract_(bundle.manifest.contract),
          core_(shared_core()),
          workers_(options.threads > 0 ? options.threads : cores()),
          preprocess_(contract_.image_size, contract_.channel_order, bundle.manifest.resample) {
        const std::string device = options.device.empty() ? bundle.manifest.engine_device : options.device;
        auto compiled = compile(*core_, bundle, device.empty() ? "CPU" : device, options.threads);
        request_ = compiled.create_infer_request();
        image_ = tensor_of(compiled.input());
        request_.set_input_tensor(image_);
        std::map<std::string, ov::Tensor> outputs;
        for (const auto& port : compiled.outputs()) {
            const ov::Tensor tensor = tensor_of(port);
            request_.set_tensor(port, tensor);
            outputs.emplace(port.get_any_name(), tensor);
        }
        results_ = results_of(bundle, outputs);
    }

    void submit(const Frame& frame) override {
        if (frame.image.memory != Memory::host || frame.mask->memory() != Memory::host) {
            throw ContractError("OpenVINO works on the host's memory: pass an image and a mask that lie there");
        }
        const auto start = Clock::now();
        preprocess_(frame.image, image_.data<std::uint8_t>(), workers_);
        frame_ = frame;
        started_ = Clock::now();
        timings_.preprocess_ms = milliseconds(start, started_);
        checked([&] { request_.start_async(); });
    }

    void wait() override {
        checked([&] { request_.wait(); });
        const auto inferred = Clock::now();
        results_->write(frame_, workers_);
        timings_.infer_ms = milliseconds(started_, inferred);
        timings_.postprocess_ms = milliseconds(inferred, Clock::now());
    }

    bool has_confidence() const override { return results_->has_confidence(); }
    Timings timings() const override { return timings_; }

   private:
    Contract contract_;
    std::shared_ptr<ov::Core> core_;
    Workers workers_;
    Preprocess preprocess_;
    ov::InferRequest request_;
    ov::Tensor image_;
    std::unique_ptr<Results> results_;
    Frame frame_;
    Clock::time_point started_;
    Timings timings_;
};

}  // namespace

std::unique_ptr<Backend> open_openvino(const Bundle& bundle, const Options& options) {
    try {
        return std::make_unique<OpenVino>(bundle, options);
    } catch (const ov::Exception& error) {
        throw EngineUnavailable("OpenVINO " + std::string(ov::get_openvino_version().buildNumber) + " does not open " +
                                bundle.engine_graph().string() + " (" + one_line(error.what()) +
                                "): build the bundle again with this OpenVINO");
    }
}

}  // namespace segexport::detail
