#include "tensorrt/driver.hpp"

#include <dlfcn.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>

namespace segexport::detail {
namespace {

constexpr const char* kLibrary = "libcuda.so.1";
constexpr int kNoDevice = 100, kStub = 34, kMismatch = 803;  // CUresult: CUDA_ERROR_NO_DEVICE, _STUB_LIBRARY,
                                                             // _SYSTEM_DRIVER_MISMATCH
constexpr int kMajor = 75, kMinor = 76;                      // CUdevice_attribute: the compute capability's two numbers
constexpr const char* kJetson = "/etc/nv_tegra_release";
constexpr const char* kControl = "/dev/nvidiactl";
constexpr const char* kVisible = "CUDA_VISIBLE_DEVICES";

bool exists(const char* path) {
    std::error_code ignored;
    return std::filesystem::exists(path, ignored);
}

std::string in_container() {
    return std::string("start a container with ") + (exists(kJetson) ? "--runtime nvidia" : "--gpus all");
}

std::string get_driver() {
    if (exists(kJetson)) return "install JetPack's (sudo apt install nvidia-jetpack); " + in_container();
    return "install one from https://www.nvidia.com/drivers; " + in_container();
}

std::string no_device() {
    if (const char* hidden = std::getenv(kVisible)) {
        return std::string("the NVIDIA driver shows no GPU, because ") + kVisible + " is '" + hidden +
               "': unset it, or set it to 0";
    }
    if (exists(kControl) && access(kControl, R_OK | W_OK) != 0) {
        return std::string(kControl) +
               " may not be opened by this user: add them to its group, or change the container's settings";
    }
    return "the NVIDIA driver finds no GPU: see whether nvidia-smi lists one; " + in_container();
}

// 12080 as 12.8.
std::string written(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

struct Close {
    void operator()(void* library) const { dlclose(library); }
};

// The driver's library. It stays loaded, since CUDA's runtime is about to use it: only the handle is given back.
class Driver {
   public:
    Driver() : library_(dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) {
        if (library_ == nullptr) {
            const char* said = dlerror();
            error_ = said != nullptr ? said : kLibrary;
        }
    }

    explicit operator bool() const { return library_ != nullptr; }
    const std::string& error() const { return error_; }

    // What a function answers; CUDA_ERROR_NOT_FOUND where this driver has none of that name.
    template <typename... Arguments>
    int call(const char* name, Arguments... arguments) const {
        using Function = int (*)(Arguments...);
        const auto function = reinterpret_cast<Function>(dlsym(library_.get(), name));
        constexpr int kNotFound = 500;
        return function == nullptr ? kNotFound : function(arguments...);
    }

    int init() const { return call("cuInit", 0U); }

    std::vector<Gpu> gpus() const {
        int count = 0;
        call("cuDeviceGetCount", &count);
        std::vector<Gpu> found;
        for (int index = 0; index < count; ++index) {
            Gpu gpu;
            gpu.index = index;
            int handle = 0;
            std::array<char, 256> name{};
            call("cuDeviceGet", &handle, index);
            call("cuDeviceGetName", name.data(), static_cast<int>(name.size()) - 1, handle);
            call("cuDeviceTotalMem_v2", &gpu.memory_bytes, handle);
            call("cuDeviceGetAttribute", &gpu.major, kMajor, handle);
            call("cuDeviceGetAttribute", &gpu.minor, kMinor, handle);
            gpu.name = name.data();
            found.push_back(gpu);
        }
        return found;
    }

    std::string said_of(int status) const {
        const char* name = nullptr;
        call("cuGetErrorName", status, &name);
        return "cuInit: " + (name != nullptr ? std::string(name) : "error " + std::to_string(status));
    }

   private:
    std::unique_ptr<void, Close> library_;
    std::string error_;
};

}  // namespace

std::vector<Gpu> gpus() {
    const Driver driver;
    if (!driver || driver.init() != 0) return {};
    return driver.gpus();
}

std::string why_none() {
    const Driver driver;
    if (!driver) return "no NVIDIA driver (" + driver.error() + "): " + get_driver();
    const int status = driver.init();
    if (status == 0) return driver.gpus().empty() ? no_device() : "";
    if (status == kNoDevice) return no_device();
    if (status == kStub) {
        return std::string(kLibrary) +
               " is the CUDA toolkit's stub, not a driver: take its folder out of LD_LIBRARY_PATH, and " + get_driver();
    }
    if (status == kMismatch) {
        return "the NVIDIA driver was updated and the old one still runs: restart the machine";
    }
    return "the NVIDIA driver does not start (" + driver.said_of(status) +
           "): see what nvidia-smi says, or install it again";
}

int driver_version() {
    const Driver driver;
    int version = 0;
    if (driver) driver.call("cuDriverGetVersion", &version);
    return version;
}

std::string older_driver(int driver, int runtime) {
    if (driver / 1000 >= runtime / 1000) return "";
    return "the NVIDIA driver serves CUDA " + written(driver) + " and is older than the runtime of this program (" +
           written(runtime) + "): update the driver, or build the program with CUDA " + std::to_string(driver / 1000);
}

Gpu gpu_named(const std::string& device, const std::string& engine) {
    const std::vector<Gpu> found = gpus();
    if (found.empty()) throw EngineUnavailable(engine + " needs an NVIDIA GPU: " + why_none());
    if (device.empty() || device == "GPU") return found.front();
    std::string known;
    for (const Gpu& gpu : found) {
        if (gpu.device() == device) return gpu;
        known += (known.empty() ? "" : ", ") + gpu.device() + " (" + gpu.name + ")";
    }
    throw EngineUnavailable(engine + " has no device " + device + " here: name one of " + known);
}

std::string system_name() {
    utsname names{};
    uname(&names);
    return std::string(names.sysname) + " " + names.machine;
}

}  // namespace segexport::detail
