// The folder that ships, opened and verified: segexport/bundle.py.

#ifndef SEGEXPORT_SRC_BUNDLE_HPP
#define SEGEXPORT_SRC_BUNDLE_HPP

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "manifest.hpp"

namespace segexport::detail {

struct Bundle {
    std::filesystem::path folder;
    Manifest manifest;

    std::filesystem::path engine_graph() const { return folder / (manifest.derived ? "engine.onnx" : "model.onnx"); }
    std::filesystem::path plan() const { return folder / "engine.plan"; }
    std::filesystem::path cache() const { return folder / "cache"; }
};

// Opens a bundle, refusing one that is not, byte for byte, what was built, as segexport.bundle.open_bundle does.
//
// Throws BundleCorrupt: no bundle, a changed or missing file, or a manifest newer than this runtime.
Bundle open_bundle(const std::filesystem::path& folder);

// A line of SHA256SUMS.
struct Sum {
    std::string name;
    std::string digest;
};

// Its lines in order, a name's last digest being the one that counts. Nothing in the text is believed yet.
std::vector<Sum> parse_sums(std::string_view text);

// Whether a name can be that of a bundle's file: printable ASCII, and a path that stays in the bundle's folder, written
// in the one way that sha256sum would be given it.
bool is_inside(std::string_view name);

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_BUNDLE_HPP
