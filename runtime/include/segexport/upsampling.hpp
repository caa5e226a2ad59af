// What upsampling on a CPU is made of: where outputs lie between inputs, vectors, and code for every instruction set.

#ifndef SEGEXPORT_UPSAMPLING_HPP
#define SEGEXPORT_UPSAMPLING_HPP

#include <algorithm>
#include <cstring>
#include <vector>

#include "segexport/class_map_cuda.hpp"  // which compiles without CUDA: source coordinates
#include "segexport/everywhere.hpp"

// One binary for every x86-64: the hot functions exist for AVX-512, AVX2 and the baseline.
#if defined(SEGEXPORT_HAS_CLONES) && !defined(__AVX512F__)
#define SEGEXPORT_EVERY_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SEGEXPORT_EVERY_CPU
#endif

namespace segexport::class_map_detail {

// Vectors as GCC and Clang have them: one AVX-512 register, two of AVX2, or four of SSE and NEON.
constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef int Ints __attribute__((vector_size(kLanes * 4)));

// By reference: how a vector is returned depends on the instruction set, and so would the binary interface.
inline __attribute__((always_inline)) void load(const float* from, Floats& to) { std::memcpy(&to, from, sizeof to); }

// A vector's halves, folded into each other until one number is left.
typedef float EightFloats __attribute__((vector_size(kLanes * 2)));
typedef float FourFloats __attribute__((vector_size(kLanes)));
typedef int EightInts __attribute__((vector_size(kLanes * 2)));
typedef int FourInts __attribute__((vector_size(kLanes)));

template <typename Half, typename Whole>
inline __attribute__((always_inline)) void halve(const Whole& whole, Half& first, Half& second) {
    std::memcpy(&first, &whole, sizeof first);
    std::memcpy(&second, reinterpret_cast<const char*>(&whole) + sizeof first, sizeof second);
}

inline __attribute__((always_inline)) float largest_of(const Floats& all) {
    EightFloats a, b;
    FourFloats c, d;
    halve(all, a, b);
    a = a > b ? a : b;
    halve(a, c, d);
    c = c > d ? c : d;
    return std::max(std::max(c[0], c[1]), std::max(c[2], c[3]));
}

inline __attribute__((always_inline)) int least_of(const Ints& all) {
    EightInts a, b;
    FourInts c, d;
    halve(all, a, b);
    a = a < b ? a : b;
    halve(a, c, d);
    c = c < d ? c : d;
    return std::min(std::min(c[0], c[1]), std::min(c[2], c[3]));
}

inline __attribute__((always_inline)) bool any_of(const Ints& all) {
    EightInts a, b;
    FourInts c, d;
    halve(all, a, b);
    a |= b;
    halve(a, c, d);
    c |= d;
    return ((c[0] | c[1]) | (c[2] | c[3])) != 0;
}

// One axis: for each output index its lower source index and the weight of the upper one, and where the runs of
// equal lower index (the cells) begin.
struct Axis {
    std::vector<int> low;
    std::vector<float> weight;
    std::vector<int> cells;  // first output index of each cell, and the end

    Axis(int in, int out) : low(out), weight(out) {
        const float scale = source_scale(in, out);
        for (int i = 0; i < out; ++i) {
            const Source source = source_of(i, in, scale);
            low[i] = source.low;
            weight[i] = source.weight;
            if (i == 0 || low[i] != low[i - 1]) cells.push_back(i);
        }
        cells.push_back(out);
    }
};

}  // namespace segexport::class_map_detail

#endif  // SEGEXPORT_UPSAMPLING_HPP
