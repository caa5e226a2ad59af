// Counts what `new` gives out in the program that includes this, in one file of it.

#ifndef SEGEXPORT_TESTS_ALLOCATIONS_HPP
#define SEGEXPORT_TESTS_ALLOCATIONS_HPP

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace allocations {

inline std::atomic<long long> count{0};

// Allocations of a call, those of other threads included.
template <typename Call>
long long during(const Call& call) {
    const long long before = count;
    call();
    return count - before;
}

inline void* counted(std::size_t size) {
    ++count;
    if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
    throw std::bad_alloc();
}

}  // namespace allocations

// Not inlined: GCC would see `free` called on what `new` gave.
#define SEGEXPORT_COUNTED __attribute__((noinline))
SEGEXPORT_COUNTED void* operator new(std::size_t size) { return allocations::counted(size); }
SEGEXPORT_COUNTED void* operator new[](std::size_t size) { return allocations::counted(size); }
SEGEXPORT_COUNTED void operator delete(void* memory) noexcept { std::free(memory); }
SEGEXPORT_COUNTED void operator delete[](void* memory) noexcept { std::free(memory); }
SEGEXPORT_COUNTED void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
SEGEXPORT_COUNTED void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

#endif  // SEGEXPORT_TESTS_ALLOCATIONS_HPP
