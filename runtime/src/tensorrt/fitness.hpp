// Whether a plan is for this machine; if it is not, both sides and how to build it again:
// segexport/tensorrt/loading.py, in the same words.

#ifndef SEGEXPORT_SRC_TENSORRT_FITNESS_HPP
#define SEGEXPORT_SRC_TENSORRT_FITNESS_HPP

#include <array>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "tensorrt/driver.hpp"
#include "tensorrt/flavour.hpp"

namespace segexport::detail {

using Version = std::array<int, 4>;  // major, minor, patch, build

// Refuses a plan that was built for something else than what is here, before TensorRT sees it.
//
// Throws EngineMismatch: another TensorRT, GPU or system; names both sides and the command that builds it again.
// BundleCorrupt: the bundle has no plan.
void require_same(const Bundle& bundle, const Flavour& flavour, const Version& version, const Gpu& gpu,
                  const std::string& system);

// The bundle's facts about its plan. Throws BundleCorrupt: there are none.
const PlanFacts& plan_of(const Bundle& bundle);

// Whether TensorRT for RTX computes on a GPU: one of the kinds that it can be asked to build for, or a later one. So
// not on the GPUs of servers (sm90, sm100) and of Jetson (sm87), which classic TensorRT serves.
bool rtx_computes_on(const Gpu& gpu);

// The GPUs that a bundle is for, in words.
std::string runs_on(const Bundle& bundle);

// Throws what TensorRT's messages about a plan that it did not take come to: BundleCorrupt (the file is not whole),
// EngineUnavailable (the GPU's memory is too small) or EngineMismatch (anything else, with its reason).
[[noreturn]] void refuse(const Bundle& bundle, const Gpu& gpu, const std::vector<std::string>& said);

// A message of TensorRT's on one line, of at most 400 bytes.
std::string one_line(const std::string& message);

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_FITNESS_HPP
