// Which NVIDIA GPUs there are, and where there is none, precisely what is missing: segexport/tensorrt/device.py, in the
// same words.
//
// Asked of the driver itself (libcuda, CUDA's driver API), because neither TensorRT nor a CUDA runtime tells: a
// TensorRT runtime is made without a GPU and fails later, and a CUDA runtime calls a missing driver an old one.

#ifndef SEGEXPORT_SRC_TENSORRT_DRIVER_HPP
#define SEGEXPORT_SRC_TENSORRT_DRIVER_HPP

#include <cstddef>
#include <string>
#include <vector>

#include "segexport/errors.hpp"

namespace segexport::detail {

// A GPU that CUDA shows to this process: its index there, and what it is.
struct Gpu {
    int index = 0;
    std::string name;
    int major = 0, minor = 0;  // compute capability
    std::size_t memory_bytes = 0;

    std::string device() const { return "cuda:" + std::to_string(index); }
    std::string target() const { return "sm" + std::to_string(major) + std::to_string(minor); }
};

inline std::string to_string(const Gpu& gpu) { return gpu.name + " (" + gpu.target() + ")"; }

// The GPUs that the driver shows to this process; none where `why_none` has something to say.
std::vector<Gpu> gpus();

// What is missing that `gpus` is empty, and how to get it; an empty text where there is a GPU.
std::string why_none();

// The CUDA version that the driver serves, as CUDA numbers them (12080 is 12.8); 0 without a driver.
int driver_version();

// What to do about a driver that is too old for the CUDA runtime of this program, both as CUDA numbers them. Within a
// major version any driver serves any runtime (NVIDIA, "CUDA Compatibility"). Empty where that is so.
std::string older_driver(int driver, int runtime);

// The GPU that a device names, such as cuda:1; the first for GPU, or an empty text.
//
// Throws EngineUnavailable: there is no such GPU, or none at all; `engine` is who asks.
Gpu gpu_named(const std::string& device, const std::string& engine);

// Operating system and architecture, which a plan is for: Linux x86_64.
std::string system_name();

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_DRIVER_HPP
