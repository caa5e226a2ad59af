// Colours of a class map laid over an image, on NVIDIA GPUs. Compiled by nvcc and by any C++17 compiler, which then
// runs the same threads one after another (tests) and shares what is done to a pixel (overlay.hpp).
//
// How a channel's value and a colour's come together is looked up: whoever makes the table (overlay.hpp) rounds once
// for all, and no device has a rounding of its own.

#ifndef SEGEXPORT_OVERLAY_CUDA_HPP
#define SEGEXPORT_OVERLAY_CUDA_HPP

#include "segexport/everywhere.hpp"

#if defined(__CUDACC__)
#include <cuda_runtime_api.h>
#endif

namespace segexport {

// What an overlay looks up; a GPU needs a copy in its memory.
struct OverlayTable {
    unsigned char colour[256][3];     // of each class id, RGB; black where there is no class
    unsigned char blended[256][256];  // [a colour's value][an image's value]
};

// Where a pixel of an image without planes has its channels; a fourth is alpha.
struct PixelLayout {
    int channels;  // 3 or 4
    int red;       // 0 or 2; blue is the other
};

namespace overlay_detail {

constexpr int kThreads = 128;  // of a block, side by side in a row

SEGEXPORT_EVERYWHERE void overlay_pixel(const OverlayTable& table, unsigned char id, const unsigned char* image,
                                        PixelLayout from, unsigned char* out, PixelLayout to) {
    const unsigned char* const colour = table.colour[id];
    const unsigned char red = table.blended[colour[0]][image[from.red]];
    const unsigned char green = table.blended[colour[1]][image[1]];
    const unsigned char blue = table.blended[colour[2]][image[2 - from.red]];
    const unsigned char alpha = from.channels == 4 ? image[3] : 255;
    out[to.red] = red;
    out[1] = green;
    out[2 - to.red] = blue;
    if (to.channels == 4) out[3] = alpha;
}

// What one thread does. Strides are bytes.
SEGEXPORT_EVERYWHERE void overlay_thread(const OverlayTable* table, const unsigned char* image, long long image_stride,
                                         PixelLayout from, const unsigned char* mask, long long mask_stride,
                                         unsigned char* out, long long out_stride, PixelLayout to, int width, int x,
                                         int y) {
    if (x >= width) return;
    image += y * image_stride + static_cast<long long>(x) * from.channels;
    out += y * out_stride + static_cast<long long>(x) * to.channels;
    overlay_pixel(*table, mask[y * mask_stride + x], image, from, out, to);
}

#if defined(__CUDACC__)
template <int threads>  // of a block; a template, so that several files of a program may have it
__global__ void __launch_bounds__(threads)
    overlay_kernel(const OverlayTable* table, const unsigned char* image, long long image_stride, PixelLayout from,
                   const unsigned char* mask, long long mask_stride, unsigned char* out, long long out_stride,
                   PixelLayout to, int width) {
    overlay_thread(table, image, image_stride, from, mask, mask_stride, out, out_stride, to, width,
                   static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x),
                   static_cast<int>(blockIdx.y));
}
#endif

}  // namespace overlay_detail

#if defined(__CUDACC__)

// Starts an overlay on `stream`; returns what the launch did.
//
// table: a copy of Overlay::table(). image, mask, out: uint8 [height, width, from.channels], [height, width] and
// [height, width, to.channels], rows of `..._stride` bytes; all device memory. out may be the image itself where both
// are laid out alike. Sizes: 1 to 65535 rows, at least one column.
inline cudaError_t overlay_cuda(const OverlayTable* table, const unsigned char* image, long long image_stride,
                                PixelLayout from, const unsigned char* mask, long long mask_stride, unsigned char* out,
                                long long out_stride, PixelLayout to, int height, int width, cudaStream_t stream) {
    if (height < 1 || height > 65535 || width < 1) return cudaErrorInvalidValue;
    const dim3 grid(static_cast<unsigned>((width - 1) / overlay_detail::kThreads + 1), static_cast<unsigned>(height));
    overlay_detail::overlay_kernel<overlay_detail::kThreads><<<grid, overlay_detail::kThreads, 0, stream>>>(
        table, image, image_stride, from, mask, mask_stride, out, out_stride, to, width);
    return cudaGetLastError();
}

#endif

}  // namespace segexport

#endif  // SEGEXPORT_OVERLAY_CUDA_HPP
