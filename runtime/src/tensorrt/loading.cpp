#include "tensorrt/loading.hpp"

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tensorrt/messages.hpp"

namespace segexport::detail {
namespace {

std::vector<char> read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
    std::vector<char> content(size > 0 ? static_cast<std::size_t>(size) : 0);
    file.seekg(0);
    if (size < 0 || !file.read(content.data(), size)) {
        throw BundleCorrupt(path.string() + " cannot be read: copy the bundle again, or build it again");
    }
    return content;
}

}  // namespace

Version tensorrt_version() {
    const Version version = {getInferLibMajorVersion(), getInferLibMinorVersion(), getInferLibPatchVersion(),
                             getInferLibBuildVersion()};
    if (std::pair(version[0], version[1]) < kFlavour.oldest) {
        throw EngineUnavailable(std::string(kFlavour.title) + " " + std::to_string(version[0]) + "." +
                                std::to_string(version[1]) + "." + std::to_string(version[2]) +
                                " is too old: install " + std::to_string(kFlavour.oldest.first) + "." +
                                std::to_string(kFlavour.oldest.second) + " or newer");
    }
    return version;
}

Engine deserialise(const Bundle& bundle, const Gpu& gpu) {
    const PlanFacts& facts = plan_of(bundle);
    const std::vector<char> plan = read(bundle.plan());
    Messages& messages = Messages::all();
    messages.drain();
    Engine made;
    made.runtime.reset(nvinfer1::createInferRuntime(messages));
    if (!made.runtime) {
        throw tensorrt_failed("createInferRuntime", "build this program with the headers of the TensorRT it runs with");
    }
    // Such a plan brings its own runtime; its checksum was verified.
    if (facts.version_compatible) made.runtime->setEngineHostCodeAllowed(true);
    if (facts.dla) made.runtime->setDLACore(*facts.dla);
    made.engine.reset(made.runtime->deserializeCudaEngine(plan.data(), plan.size()));
    if (!made.engine) refuse(bundle, gpu, messages.drain());
    if (made.engine->getStreamableWeightsSize() > 0) {
        const auto budget = made.engine->getWeightStreamingAutomaticBudget();
        if (!made.engine->setWeightStreamingBudgetV2(budget)) {
            throw tensorrt_failed("setWeightStreamingBudgetV2", "close what else uses the GPU");
        }
    }
    return made;
}

}  // namespace segexport::detail
