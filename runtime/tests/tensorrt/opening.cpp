// Opens a plan on the GPU there is, with the TensorRT it is linked with: opening FOLDER ENGINE VERSION [TARGET].
// Prints what goes wrong.

#include <iostream>
#include <string>

#include "backend.hpp"
#include "tensorrt/driver.hpp"

using namespace segexport;

int main(int count, char** arguments) {
    detail::Bundle bundle;
    bundle.folder = arguments[1];
    auto& manifest = bundle.manifest;
    manifest.contract.size = manifest.contract.image_size = manifest.contract.mask_size = {64, 64};
    manifest.engine = arguments[2];
    manifest.engine_version = arguments[3];
    manifest.plan = detail::PlanFacts();
    manifest.plan->system = detail::system_name();
    if (count > 4) manifest.plan->targets = {arguments[4]};
    try {
        detail::open_tensorrt(bundle, {});
        std::cout << "opened\n";
    } catch (const SegexportError& error) {
        std::cout << error.what() << "\n";
    }
    return 0;
}
