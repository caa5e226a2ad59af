// Where a pixel's channels are, for every format that images come in. Each reader's `read` gives the channels of pixel
// (y, x) in the network's order, 0 to 255; the CPU and the GPU read with the same code.

#ifndef SEGEXPORT_PIXELS_HPP
#define SEGEXPORT_PIXELS_HPP

#include "segexport/everywhere.hpp"
#include "segexport/image.hpp"
#include "segexport/yuv.hpp"

namespace segexport::preprocess_detail {

// The place of red among the channels, 0 or 2. What NV12 becomes is RGB.
constexpr int red_at(PixelFormat format) { return format == PixelFormat::bgr || format == PixelFormat::bgra ? 2 : 0; }

// RGB, BGR, RGBA, BGRA.
struct PackedPixels {
    const unsigned char* data;
    long long stride;
    int step;   // bytes from a pixel to the next
    int first;  // where the network's first channel is: 0, or 2 if the order is the other one

    SEGEXPORT_EVERYWHERE void read(int y, int x, int channels[3]) const {
        const unsigned char* const pixel = data + y * stride + static_cast<long long>(x) * step;
        channels[0] = pixel[first];
        channels[1] = pixel[1];
        channels[2] = pixel[2 - first];
    }
};

struct Nv12Pixels {
    const unsigned char *luma, *chroma;
    long long stride, chroma_stride;
    YuvWeights weights;
    int first;  // the network's channel that is red, 0 or 2

    SEGEXPORT_EVERYWHERE void read(int y, int x, int channels[3]) const {
        const unsigned char* const pair = chroma + y / 2 * chroma_stride + x / 2 * 2;
        int rgb[3];
        yuv_to_rgb(weights, luma[y * stride + x], pair[0], pair[1], rgb);
        channels[0] = first == 0 ? rgb[0] : rgb[2];
        channels[1] = rgb[1];
        channels[2] = first == 0 ? rgb[2] : rgb[0];
    }
};

// Calls use(pixels) with the reader of an image's format. order: of the channels to give, rgb or bgr.
template <typename Use>
auto with_pixels(const ImageView& image, PixelFormat order, const Use& use) {
    if (image.format == PixelFormat::nv12) {
        return use(Nv12Pixels{image.data, image.chroma, image.stride, image.chroma_stride, yuv_weights(image.yuv),
                              red_at(order)});
    }
    const bool four = image.format == PixelFormat::rgba || image.format == PixelFormat::bgra;
    return use(PackedPixels{image.data, image.stride, four ? 4 : 3, red_at(image.format) == red_at(order) ? 0 : 2});
}

}  // namespace segexport::preprocess_detail

#endif  // SEGEXPORT_PIXELS_HPP
