#include "segexport/segexport.hpp"

#include <chrono>
#include <optional>
#include <utility>

#include "backend.hpp"

namespace segexport {

namespace {

using Clock = std::chrono::steady_clock;

void require_servable(const detail::Bundle& bundle) {
    const Contract& contract = bundle.manifest.contract;
    const std::string folder = bundle.folder.string();
    if (contract.output == Output::topk || contract.mask_size.height == 0) {
        throw ContractError(folder +
                            " is a classifier: this runtime makes class maps; open it with Python's segexport");
    }
    if (contract.batch != 1 && contract.batch != -1) {
        throw ContractError(folder + " takes " + std::to_string(contract.batch) +
                            " images at once, this runtime one: build with --batch 1 or dynamic");
    }
}

std::unique_ptr<detail::Backend> open_backend(const detail::Bundle& bundle, const Options& options) {
    const std::string& engine = bundle.manifest.engine;
    if (engine == "openvino") return detail::open_openvino(bundle, options);
    if (engine == "tensorrt" || engine == "tensorrt-rtx") return detail::open_tensorrt(bundle, options);
    throw EngineUnavailable(bundle.folder.string() + " is for " + engine +
                            ", which this runtime does not have: segexport build --from-bundle " +
                            bundle.folder.string() +
                            " --engine openvino (or tensorrt) --out NEW builds it for one it has");
}

}  // namespace

// What a frame under way needs beside the backend.
struct Segmenter::State {
    State(detail::Bundle&& bundle, const Options& options) : opened(std::move(bundle)) {
        require_servable(opened);
        backend = open_backend(opened, options);
    }

    void start(const ImageView& image, Mask& mask, Confidence* confidence) {
        wait();
        check(image);
        if (confidence != nullptr && !backend->has_confidence()) {
            throw ContractError("this bundle's output has no confidence: build it with --output scores");
        }
        mask.fit(image.size());
        if (confidence != nullptr) confidence->fit(image.size());
        started = Clock::now();
        backend->submit({image, &mask, confidence});
        under_way = true;
    }

    void wait() {
        if (!under_way) return;
        under_way = false;
        backend->wait();
        total_ms = std::chrono::duration<double, std::milli>(Clock::now() - started).count();
    }

    detail::Bundle opened;
    std::unique_ptr<detail::Backend> backend;
    Clock::time_point started;
    double total_ms = 0;
    bool under_way = false;
};

Segmenter Segmenter::open(const std::filesystem::path& bundle, const Options& options) {
    if (options.threads < 0) {
        throw ContractError(std::to_string(options.threads) +
                            " threads: pass 1 or more, or 0 for the engine's default");
    }
    return Segmenter(std::make_unique<State>(detail::open_bundle(bundle), options));
}

Segmenter::Segmenter(std::unique_ptr<State> state) : state_(std::move(state)) {}
Segmenter::Segmenter(Segmenter&&) noexcept = default;
Segmenter& Segmenter::operator=(Segmenter&&) noexcept = default;
Segmenter::~Segmenter() = default;

Mask Segmenter::run(const ImageView& image) {
    Mask mask;
    run(image, mask);
    return mask;
}

void Segmenter::run(const ImageView& image, Mask& mask) {
    submit(image, mask);
    wait();
}

void Segmenter::run(const ImageView& image, Mask& mask, Confidence& confidence) {
    submit(image, mask, confidence);
    wait();
}

void Segmenter::submit(const ImageView& image, Mask& mask) { state_->start(image, mask, nullptr); }

void Segmenter::submit(const ImageView& image, Mask& mask, Confidence& confidence) {
    state_->start(image, mask, &confidence);
}

void Segmenter::wait() { state_->wait(); }

const Labels& Segmenter::labels() const { return state_->opened.manifest.labels; }
const Contract& Segmenter::contract() const { return state_->opened.manifest.contract; }
const std::string& Segmenter::engine() const { return state_->opened.manifest.engine; }
const std::string& Segmenter::precision() const { return state_->opened.manifest.precision; }
bool Segmenter::has_confidence() const { return state_->backend->has_confidence(); }

Timings Segmenter::timings() const {
    Timings timings = state_->backend->timings();
    timings.total_ms = state_->total_ms;
    return timings;
}

std::vector<std::string> engines() {
    std::vector<std::string> found;
#if defined(SEGEXPORT_OPENVINO)
    found.emplace_back("openvino");
#endif
#if defined(SEGEXPORT_TENSORRT_RTX)
    found.emplace_back("tensorrt-rtx");
#elif defined(SEGEXPORT_TENSORRT)
    found.emplace_back("tensorrt");
#endif
    return found;
}

namespace detail {

#if !defined(SEGEXPORT_OPENVINO)
std::unique_ptr<Backend> open_openvino(const Bundle& bundle, const Options&) {
    throw EngineUnavailable(bundle.folder.string() +
                            " is for openvino, which this build of the runtime lacks: "
                            "configure it with -DSEGEXPORT_OPENVINO=ON");
}
#endif

#if !defined(SEGEXPORT_TENSORRT)
std::unique_ptr<Backend> open_tensorrt(const Bundle& bundle, const Options&) {
    throw EngineUnavailable(bundle.folder.string() + " is for " + bundle.manifest.engine +
                            ", which this build of the runtime lacks: configure it with -DSEGEXPORT_TENSORRT=ON");
}
#endif

}  // namespace detail

}  // namespace segexport
