#include "tensorrt/fitness.hpp"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iterator>
#include <sstream>
#include <string_view>
#include <utility>

namespace segexport::detail {
namespace {

// What TensorRT says of bytes that are not a whole plan; and what it, or CUDA, says of a GPU that is full.
constexpr std::string_view kCut[] = {"header.size", "magictag", "empty memory buffer"};
constexpr std::string_view kTooLarge[] = {"out of memory", "outofmemory", "memoryallocation"};

// The first message with one of the words, on one line.
template <std::size_t count>
std::string about(const std::vector<std::string>& said, const std::string_view (&words)[count]) {
    for (const std::string& message : said) {
        std::string line = one_line(message), lower = line;
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
        for (const std::string_view word : words) {
            if (lower.find(word) != std::string::npos) return line;
        }
    }
    return "";
}

// The command that builds the bundle again for this machine.
std::string rebuild(const Bundle& bundle, const Gpu& gpu) {
    const auto& plan = bundle.manifest.plan;
    const std::string target = plan && !plan->targets.empty() ? " --target " + gpu.target() : "";
    return "segexport build --from-bundle " + bundle.folder.string() + " --engine " + bundle.manifest.engine + target +
           " --out NEW builds it for this machine";
}

std::pair<int, int> release(const std::string& version) {
    int major = 0, minor = 0;
    if (std::sscanf(version.c_str(), "%d.%d", &major, &minor) != 2) return {0, 0};
    return {major, minor};
}

// With as many numbers as another one has: the Python packages of 10.3 have three, those since have four.
std::string written_as(const std::string& other, const Version& version) {
    const auto numbers = static_cast<std::size_t>(std::count(other.begin(), other.end(), '.')) + 1;
    std::string text = std::to_string(version[0]);
    for (std::size_t i = 1; i < std::min(numbers, version.size()); ++i) text += "." + std::to_string(version[i]);
    return text;
}

// A plan is for the version that built it; a version-compatible one for the same major's later ones too.
bool serves(const std::string& built, const std::string& here, const PlanFacts& plan, const Flavour& flavour) {
    if (flavour.rtx || !plan.version_compatible) return built == here;
    return release(built).first == release(here).first && release(built) <= release(here);
}

std::string built_for(const PlanFacts& plan) {
    std::string text;
    if (plan.compute_capability) {
        std::string digits = *plan.compute_capability;
        digits.erase(std::remove(digits.begin(), digits.end(), '.'), digits.end());
        return plan.gpu.value_or("a GPU") + " (sm" + digits + ")";
    }
    for (const std::string& target : plan.targets) text += (text.empty() ? "" : " or ") + target;
    return text;
}

// Whether a plan was built for this GPU; one of RTX that names no targets is left for the runtime to judge.
bool fits(const PlanFacts& plan, const Gpu& gpu) {
    if (!plan.compute_capability) {
        return plan.targets.empty() ||
               std::find(plan.targets.begin(), plan.targets.end(), gpu.target()) != plan.targets.end();
    }
    if (plan.ampere_plus && gpu.major >= 8) return true;
    return *plan.compute_capability == std::to_string(gpu.major) + "." + std::to_string(gpu.minor);
}

}  // namespace

std::string one_line(const std::string& message) {
    constexpr std::size_t kLongest = 400;
    std::istringstream words(message);
    std::string line, word;
    while (words >> word) line += (line.empty() ? "" : " ") + word;
    return line.substr(0, kLongest);
}

const PlanFacts& plan_of(const Bundle& bundle) {
    if (!bundle.manifest.plan) {
        throw BundleCorrupt(bundle.folder.string() + " is for " + bundle.manifest.engine +
                            " and has no plan: build it again");
    }
    return *bundle.manifest.plan;
}

void require_same(const Bundle& bundle, const Flavour& flavour, const Version& version, const Gpu& gpu,
                  const std::string& system) {
    const PlanFacts& plan = plan_of(bundle);
    const std::string& built = bundle.manifest.engine_version;
    const std::string here = written_as(built, version);
    std::string sides;
    const auto differs = [&](const std::string& what, const std::string& theirs, const std::string& ours, bool same) {
        if (!same) sides += (sides.empty() ? "for " : "; for ") + what + " " + theirs + ", and here is " + ours;
    };
    differs("system", plan.system, system, plan.system == system);
    differs(flavour.title, built, here, serves(built, here, plan, flavour));
    differs("GPU", built_for(plan), to_string(gpu), fits(plan, gpu));
    if (!sides.empty()) {
        throw EngineMismatch(bundle.plan().string() + " is " + sides + ": " + rebuild(bundle, gpu));
    }
}

bool rtx_computes_on(const Gpu& gpu) {
    constexpr int kKnown[] = {75, 80, 86, 89, 120, 121};  // nvinfer1::ComputeCapability of TensorRT for RTX 1.7
    const int target = gpu.major * 10 + gpu.minor;
    return std::find(std::begin(kKnown), std::end(kKnown), target) != std::end(kKnown) || target > 121;
}

std::string runs_on(const Bundle& bundle) {
    const auto& plan = bundle.manifest.plan;
    const std::string named = plan ? built_for(*plan) : "";
    return named.empty() ? "a machine with a GPU that it was built for" : "a machine with " + named;
}

void refuse(const Bundle& bundle, const Gpu& gpu, const std::vector<std::string>& said) {
    const std::string plan = bundle.plan().string();
    if (const std::string cut = about(said, kCut); !cut.empty()) {
        throw BundleCorrupt(plan + " is not a whole plan (" + cut + "): copy the bundle again, or build it again");
    }
    if (const std::string full = about(said, kTooLarge); !full.empty()) {
        throw EngineUnavailable(to_string(gpu) + " has too little memory for " + plan + " (" + full +
                                "): close what else uses it, or build for a smaller --profile or --batch");
    }
    const std::string reason = said.empty() ? "it gives no reason" : one_line(said.front());
    throw EngineMismatch(bundle.manifest.engine + " does not take " + plan + " on " + to_string(gpu) + " (" + reason +
                         "): " + rebuild(bundle, gpu));
}

}  // namespace segexport::detail
