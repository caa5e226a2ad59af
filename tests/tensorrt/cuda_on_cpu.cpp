// A libcuda.so.1 for machines without one: it "loads" the class map's kernel and runs its threads on the CPU, with the
// grid and the parameters it was handed. What calls the driver can so be tested as far as the driver. A call that the
// environment variable CUDA_ON_CPU_REFUSES names returns CUDA_ERROR_INVALID_CONTEXT.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "segexport/class_map_cuda.hpp"

namespace {

constexpr int kInvalidValue = 1, kInvalidContext = 201, kNotFound = 500;
int loaded = 0;
const char* const kKernels[] = {"segexport_class_map_float16", "segexport_class_map_float32"};

bool refused(const char* call) {
    const char* named = std::getenv("CUDA_ON_CPU_REFUSES");
    return named != nullptr && std::strcmp(named, call) == 0;
}

int init(unsigned) { return refused("cuInit") ? kInvalidContext : 0; }

int library_load(void** library, const void* code, void*, void**, unsigned, void*, void**, unsigned) {
    if (refused("cuLibraryLoadData")) return kInvalidContext;
    if (std::memcmp(code,
                    "\x7f"
                    "ELF",
                    4) != 0)
        return kInvalidValue;
    *library = &loaded;
    std::printf("loaded\n");
    return 0;
}

int library_unload(void* library) {
    std::printf("unloaded\n");
    return library == &loaded ? 0 : kInvalidValue;
}

int get_kernel(void** kernel, void* library, const char* name) {
    if (library != &loaded) return kInvalidValue;
    for (const char* known : kKernels) {
        if (std::strcmp(name, known) == 0) {
            *kernel = const_cast<char*>(known);
            return 0;
        }
    }
    return kNotFound;
}

int get_function(void** function, void* kernel) {
    if (refused("cuKernelGetFunction")) return kInvalidContext;
    *function = kernel;
    return 0;
}

template <typename Logit>
void run(const unsigned grid[3], unsigned threads, void** given) {
    const auto whole = [&](int i) { return *static_cast<const int*>(given[i]); };
    for (unsigned image = 0; image < grid[2]; ++image) {
        for (unsigned block = 0; block < grid[0]; ++block) {
            for (unsigned thread = 0; thread < threads; ++thread) {
                segexport::class_map_detail::class_map_thread(
                    *static_cast<const Logit* const*>(given[0]), whole(1), whole(2), whole(3),
                    *static_cast<unsigned char* const*>(given[4]), whole(5), whole(6), block, thread, image);
            }
        }
    }
}

int launch(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y, unsigned threads_z,
           unsigned shared, void* stream, void** given, void** extra) {
    if (refused("cuLaunchKernel")) return kInvalidContext;
    if (y != 1 || threads_y != 1 || threads_z != 1 || shared != 0 || extra != nullptr) return kInvalidValue;
    const unsigned grid[3] = {x, y, z};
    std::printf("launched on stream %d\n", static_cast<int>(reinterpret_cast<std::uintptr_t>(stream)));
    if (function == kKernels[0])
        run<segexport::Half>(grid, threads, given);
    else
        run<float>(grid, threads, given);
    return 0;
}

const struct {
    const char* name;
    void* call;
} kCalls[] = {
    {"cuInit", reinterpret_cast<void*>(&init)},
    {"cuLibraryLoadData", reinterpret_cast<void*>(&library_load)},
    {"cuLibraryUnload", reinterpret_cast<void*>(&library_unload)},
    {"cuLibraryGetKernel", reinterpret_cast<void*>(&get_kernel)},
    {"cuKernelGetFunction", reinterpret_cast<void*>(&get_function)},
    {"cuLaunchKernel", reinterpret_cast<void*>(&launch)},
};

}  // namespace

extern "C" int cuGetProcAddress_v2(const char* name, void** found, int, std::uint64_t, int*) {
    for (const auto& one : kCalls) {
        if (std::strcmp(name, one.name) == 0) {
            *found = one.call;
            return 0;
        }
    }
    *found = nullptr;
    return kNotFound;
}
