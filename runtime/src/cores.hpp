// Cores this process may use.

#ifndef SEGEXPORT_SRC_CORES_HPP
#define SEGEXPORT_SRC_CORES_HPP

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <thread>

namespace segexport::detail {

inline int cores() {
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_CORES_HPP
