// What the backend says of drivers and plans, for a test that compares it with what Python says.
//
//     said driver                     the GPUs, one a line, then why there are none
//     said named DEVICE ENGINE        the GPU that a device names
//     said older DRIVER RUNTIME
//     said plan KEY=VALUE ...         whether a plan is for a machine, or what a TensorRT that refuses it comes to
//
// An error is printed as its class, a space, and its text.

#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tensorrt/driver.hpp"
#include "tensorrt/fitness.hpp"

using namespace segexport;
using namespace segexport::detail;

namespace {

void print(const Gpu& gpu) {
    std::cout << gpu.index << "|" << gpu.name << "|" << gpu.major << "|" << gpu.minor << "|" << gpu.memory_bytes << "|"
              << gpu.device() << "|" << to_string(gpu) << "\n";
}

void plan(const std::vector<std::string>& arguments) {
    Bundle bundle;
    auto& manifest = bundle.manifest;
    manifest.plan = PlanFacts();
    Version version{};
    Gpu gpu;
    std::string system;
    std::vector<std::string> said;
    bool refused = false;
    for (const std::string& argument : arguments) {
        const std::string key = argument.substr(0, argument.find('=')), value = argument.substr(key.size() + 1);
        std::istringstream text(value);
        char dot;
        if (key == "folder") bundle.folder = value;
        if (key == "engine") manifest.engine = value;
        if (key == "built") manifest.engine_version = value;
        if (key == "here") text >> version[0] >> dot >> version[1] >> dot >> version[2] >> dot >> version[3];
        if (key == "target") manifest.plan->targets.push_back(value);
        if (key == "capability") manifest.plan->compute_capability = value;
        if (key == "gpu") manifest.plan->gpu = value;
        if (key == "built_system") manifest.plan->system = value;
        if (key == "version_compatible") manifest.plan->version_compatible = true;
        if (key == "ampere_plus") manifest.plan->ampere_plus = true;
        if (key == "here_gpu") gpu.name = value;
        if (key == "here_capability") text >> gpu.major >> dot >> gpu.minor;
        if (key == "here_system") system = value;
        if (key == "none") manifest.plan.reset();
        if (key == "refused") refused = true;
        if (key == "said") said.push_back(value);
    }
    const Flavour& flavour = manifest.engine == "tensorrt" ? kClassic : kRtx;
    std::cout << runs_on(bundle) << "\n";
    if (refused) refuse(bundle, gpu, said);
    require_same(bundle, flavour, version, gpu, system);
}

void answer(const std::vector<std::string>& arguments) {
    const std::string& asked = arguments.at(0);
    if (asked == "driver") {
        for (const Gpu& gpu : gpus()) print(gpu);
        std::cout << why_none() << "\n";
    } else if (asked == "named") {
        print(gpu_named(arguments.at(1), arguments.at(2)));
    } else if (asked == "older") {
        std::cout << older_driver(std::stoi(arguments.at(1)), std::stoi(arguments.at(2))) << "\n";
    } else {
        plan({arguments.begin() + 1, arguments.end()});
    }
}

}  // namespace

int main(int count, char** arguments) {
    try {
        answer({arguments + 1, arguments + count});
    } catch (const EngineUnavailable& error) {
        std::cout << "EngineUnavailable " << error.what() << "\n";
    } catch (const EngineMismatch& error) {
        std::cout << "EngineMismatch " << error.what() << "\n";
    } catch (const BundleCorrupt& error) {
        std::cout << "BundleCorrupt " << error.what() << "\n";
    }
    return 0;
}
