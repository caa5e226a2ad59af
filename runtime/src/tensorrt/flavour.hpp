// The two TensorRTs by name, and which of them this build of the runtime is linked with: segexport/tensorrt/flavour.py.

#ifndef SEGEXPORT_SRC_TENSORRT_FLAVOUR_HPP
#define SEGEXPORT_SRC_TENSORRT_FLAVOUR_HPP

#include <utility>

namespace segexport::detail {

struct Flavour {
    const char* engine;  // its name in a bundle, and on the command line
    const char* title;
    bool rtx;
    std::pair<int, int> oldest;  // version that is served
};

inline constexpr Flavour kClassic = {"tensorrt", "TensorRT", false, {10, 3}};  // 10.3 is JetPack 6.1's
inline constexpr Flavour kRtx = {"tensorrt-rtx", "TensorRT for RTX", true, {1, 7}};

#if defined(SEGEXPORT_TENSORRT_RTX)
inline constexpr Flavour kFlavour = kRtx;
#else
inline constexpr Flavour kFlavour = kClassic;
#endif

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_FLAVOUR_HPP
