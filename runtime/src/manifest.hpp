// What segexport.json says, as far as running needs it.

#ifndef SEGEXPORT_SRC_MANIFEST_HPP
#define SEGEXPORT_SRC_MANIFEST_HPP

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "segexport/segexport.hpp"

namespace segexport::detail {

constexpr int kSchema = 6;                                       // the newest that is read: segexport.bundle.SCHEMA
constexpr std::size_t kLongestManifest = std::size_t{16} << 20;  // bytes

// What a TensorRT plan was built for: segexport.bundle.PlanFacts.
struct PlanFacts {
    std::vector<std::string> targets;               // sm86, ...: plans of TensorRT for RTX
    std::optional<std::string> compute_capability;  // 8.7: plans of classic TensorRT
    std::optional<std::string> gpu;
    std::string system;  // Linux x86_64
    bool version_compatible = false;
    bool ampere_plus = false;  // hardware_compatibility
    std::optional<int> dla;
};

enum class ClassMapBy { graph, host, device };

struct Manifest {
    int schema = 0;
    std::string precision;
    Contract contract;
    int resample = 2;  // Pillow's filter number
    Labels labels;
    std::string engine;  // openvino, tensorrt, ...
    std::string engine_version;
    std::string engine_device;
    ClassMapBy class_map = ClassMapBy::graph;
    bool derived = false;  // runs engine.onnx rather than model.onnx
    std::optional<PlanFacts> plan;
};

// Reads a manifest's text. `path` is for messages. Nothing in the text can crash it: nesting, sizes and numbers are
// bounded, types and values checked.
//
// Throws BundleCorrupt: not JSON, not the schema, or newer than this runtime.
Manifest parse_manifest(std::string_view text, const std::string& path);

// The schema alone, so that a bundle newer than this runtime is told from a damaged one before it is verified.
//
// Throws BundleCorrupt: not JSON, no schema, or newer than this runtime.
int read_schema(std::string_view text, const std::string& path);

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_MANIFEST_HPP
