// What functions are marked with so that they are compiled for more than one kind of processor.

#ifndef SEGEXPORT_EVERYWHERE_HPP
#define SEGEXPORT_EVERYWHERE_HPP

// On the CPU, and by nvcc on the GPU too. class_map_cuda.hpp, which stands alone, has the same line.
#if !defined(SEGEXPORT_EVERYWHERE)
#if defined(__CUDACC__)
#define SEGEXPORT_EVERYWHERE __host__ __device__ __forceinline__
#else
#define SEGEXPORT_EVERYWHERE inline
#endif
#endif

// Whether one binary can hold a function for several x86-64 processors, chosen at load time. Not with Clang, which
// cannot link two files that have such a function (14), and not under ThreadSanitizer, which is not there yet when that
// choice is made: there the compiler's flags decide.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_THREAD__)
#define SEGEXPORT_HAS_CLONES
#endif

#if defined(SEGEXPORT_RESIZE_CLONES)  // the compiler's flags say so (tests, which want the baseline)
#elif defined(SEGEXPORT_HAS_CLONES) && !defined(__AVX2__)
#define SEGEXPORT_RESIZE_CLONES __attribute__((target_clones("avx2", "default")))
#define SEGEXPORT_RESIZE_AVX2  // what the code is written for
#else
#define SEGEXPORT_RESIZE_CLONES
#endif
#if defined(__AVX2__) && !defined(SEGEXPORT_RESIZE_AVX2)
#define SEGEXPORT_RESIZE_AVX2
#endif

#endif  // SEGEXPORT_EVERYWHERE_HPP
