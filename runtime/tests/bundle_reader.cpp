// Opens the bundles that are named on standard input, one a line, and answers with one line each: what it read of the
// manifest, or the error. For tests/runtime/test_manifest_cpp.py.
//
// bundle_reader --manifest reads lines that name manifests instead, and --sha256 lines that name files.

#include <exception>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "bundle.hpp"
#include "sha256.hpp"

using namespace segexport;

namespace {

std::string in_words(const detail::Manifest& manifest) {
    const Contract& contract = manifest.contract;
    std::ostringstream out;
    out << "schema=" << manifest.schema << "\tprecision=" << manifest.precision << "\tsize=" << to_string(contract.size)
        << "\tbatch=" << contract.batch << "\tbgr=" << (contract.channel_order == PixelFormat::bgr)
        << "\toutput=" << static_cast<int>(contract.output) << "\tmask_size=" << to_string(contract.mask_size)
        << "\timage_size=" << to_string(contract.image_size) << "\tgrid=" << contract.grid.patch << "/"
        << contract.grid.stride << "\tresample=" << manifest.resample << "\tnames=";
    for (const auto& name : manifest.labels.names) out << name << "|";
    out << "\tpalette=";
    for (const auto& [red, green, blue] : manifest.labels.palette) out << +red << "," << +green << "," << +blue << "|";
    out << "\treduce=" << manifest.labels.reduce << "\tengine=" << manifest.engine
        << "\tversion=" << manifest.engine_version << "\tdevice=" << manifest.engine_device
        << "\tclass_map=" << static_cast<int>(manifest.class_map) << "\tderived=" << manifest.derived << "\tplan=";
    if (const auto& plan = manifest.plan) {
        for (const auto& target : plan->targets) out << target << "|";
        out << ";" << plan->compute_capability.value_or("none") << ";" << plan->gpu.value_or("none") << ";"
            << plan->system << ";" << plan->version_compatible << ";" << plan->ampere_plus << ";"
            << plan->dla.value_or(-1);
    }
    return out.str();
}

std::string answer(const std::string& mode, const std::string& path) {
    if (mode.empty()) return in_words(detail::open_bundle(path).manifest);
    std::ifstream file(path, std::ios::binary);
    if (mode == "--sha256") return detail::sha256_of(file);
    std::ostringstream text;
    text << file.rdbuf();
    return in_words(detail::parse_manifest(text.str(), path));
}

}  // namespace

int main(int count, char** arguments) {
    const std::string mode = count > 1 ? arguments[1] : "";
    for (std::string path; std::getline(std::cin, path);) {
        try {
            std::cout << answer(mode, path) << std::endl;
        } catch (const BundleCorrupt& error) {
            std::cout << "BundleCorrupt: " << error.what() << std::endl;
        } catch (const std::exception& error) {
            std::cout << "another error: " << error.what() << std::endl;
        }
    }
    return 0;
}
