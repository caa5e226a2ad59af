// Nearest-neighbour resize on NVIDIA GPUs. Compiled by nvcc and by any C++17 compiler, which then runs the same threads
// one after another (tests) and shares the arithmetic (nearest.hpp).
//
//     source index of output i    floor((i + 0.5) * in / out)
//
// in whole numbers. segexport.images.resize_nearest computes it in float64, which gives the same: what is divided is
// exact there, and a quotient that is no whole number is further from one than it is rounded by.

#ifndef SEGEXPORT_NEAREST_CUDA_HPP
#define SEGEXPORT_NEAREST_CUDA_HPP

#include "segexport/everywhere.hpp"

#if defined(__CUDACC__)
#include <cuda_runtime_api.h>
#endif

namespace segexport {

namespace nearest_detail {

constexpr int kLargest = 1 << 15;  // side: all products fit 32 bits
constexpr int kThreads = 128;      // of a block, side by side in a row

SEGEXPORT_EVERYWHERE int nearest_source(int i, int in, int out) {
    return static_cast<int>((2 * static_cast<unsigned>(i) + 1) * static_cast<unsigned>(in) /
                            (2 * static_cast<unsigned>(out)));
}

// What one thread does: one value. Strides are bytes.
template <typename T>
SEGEXPORT_EVERYWHERE void nearest_thread(const T* from, long long from_stride, int height, int width, T* to,
                                         long long to_stride, int out_height, int out_width, int x, int y) {
    if (x >= out_width) return;
    const T* const source = reinterpret_cast<const T*>(reinterpret_cast<const unsigned char*>(from) +
                                                       nearest_source(y, height, out_height) * from_stride);
    T* const line = reinterpret_cast<T*>(reinterpret_cast<unsigned char*>(to) + y * to_stride);
    line[x] = source[nearest_source(x, width, out_width)];
}

#if defined(__CUDACC__)
template <typename T>
__global__ void __launch_bounds__(kThreads)
    nearest_kernel(const T* __restrict__ from, long long from_stride, int height, int width, T* __restrict__ to,
                   long long to_stride, int out_height, int out_width) {
    nearest_thread(from, from_stride, height, width, to, to_stride, out_height, out_width,
                   static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x),
                   static_cast<int>(blockIdx.y));
}
#endif

}  // namespace nearest_detail

#if defined(__CUDACC__)

// Starts a resize on `stream`; returns what the launch did.
//
// from: [height, width], to: [out_height, out_width], written; device memory, rows of `..._stride` bytes, not the same.
// Sizes: 1 to 2^15 along a side.
template <typename T>
cudaError_t nearest_cuda(const T* from, long long from_stride, int height, int width, T* to, long long to_stride,
                         int out_height, int out_width, cudaStream_t stream) {
    const int sides[4] = {height, width, out_height, out_width};
    for (int side : sides) {
        if (side < 1 || side > nearest_detail::kLargest) return cudaErrorInvalidValue;
    }
    const dim3 grid(static_cast<unsigned>((out_width - 1) / nearest_detail::kThreads + 1),
                    static_cast<unsigned>(out_height));
    nearest_detail::nearest_kernel<<<grid, nearest_detail::kThreads, 0, stream>>>(from, from_stride, height, width, to,
                                                                                  to_stride, out_height, out_width);
    return cudaGetLastError();
}

#endif

}  // namespace segexport

#endif  // SEGEXPORT_NEAREST_CUDA_HPP
