// Luma and chroma to RGB in whole numbers: the same bits on every CPU and GPU.
//
// With Kr, Kb (and Kg = 1 - Kr - Kb) the weights of red and blue in the luma, 0.299 and 0.114 in ITU-R BT.601-7, 0.2126
// and 0.0722 in ITU-R BT.709-6, and Y, U, V the bytes of a pixel:
//
//     R = a (Y - z)                                   + c 2 (1 - Kr) (V - 128)
//     G = a (Y - z) - c 2 (1 - Kb) Kb / Kg (U - 128)  - c 2 (1 - Kr) Kr / Kg (V - 128)
//     B = a (Y - z) + c 2 (1 - Kb) (U - 128)
//
//     limited range: z = 16, a = 255 / 219, c = 255 / 224     full range: z = 0, a = 1, c = 1
//
// Each factor is rounded to a multiple of 2^-16, and then
//
//     channel = clip((2^15 + sum of factor 2^16 * difference) >> 16, 0, 255)
//
// which is the real value rounded to nearest, but where that is within 0.002 of a half. A block of 2 x 2 pixels has one
// U and one V, which are its four pixels' alike.

#ifndef SEGEXPORT_YUV_HPP
#define SEGEXPORT_YUV_HPP

#include "segexport/everywhere.hpp"
#include "segexport/image.hpp"

namespace segexport::preprocess_detail {

constexpr int kYuvBits = 16;
constexpr int kYuvHalf = 1 << (kYuvBits - 1);
constexpr int kChromaZero = 128;

// Factors times 2^16.
struct YuvWeights {
    int zero;  // of the luma
    int luma, red_v, green_u, green_v, blue_u;
};

constexpr int yuv_fixed(double factor) {
    return static_cast<int>(factor * (1 << kYuvBits) + (factor < 0 ? -0.5 : 0.5));
}

constexpr YuvWeights yuv_weights(Yuv yuv) {
    const bool limited = yuv == Yuv::bt601_limited || yuv == Yuv::bt709_limited;
    const bool bt601 = yuv == Yuv::bt601_limited || yuv == Yuv::bt601_full;
    const double kr = bt601 ? 0.299 : 0.2126, kb = bt601 ? 0.114 : 0.0722, kg = 1 - kr - kb;
    const double a = limited ? 255.0 / 219 : 1.0, c = limited ? 255.0 / 224 : 1.0;
    const double red = c * 2 * (1 - kr), blue = c * 2 * (1 - kb);
    return {limited ? 16 : 0,          yuv_fixed(a),   yuv_fixed(red), yuv_fixed(-blue * kb / kg),
            yuv_fixed(-red * kr / kg), yuv_fixed(blue)};
}

// The byte that a channel's value is, and its nearest where it is none.
SEGEXPORT_EVERYWHERE int clipped(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// y, u, v: bytes. rgb: 0 to 255 each.
SEGEXPORT_EVERYWHERE void yuv_to_rgb(const YuvWeights& weights, int y, int u, int v, int rgb[3]) {
    const int luma = weights.luma * (y - weights.zero) + kYuvHalf;
    u -= kChromaZero;
    v -= kChromaZero;
    rgb[0] = clipped((luma + weights.red_v * v) >> kYuvBits);
    rgb[1] = clipped((luma + weights.green_u * u + weights.green_v * v) >> kYuvBits);
    rgb[2] = clipped((luma + weights.blue_u * u) >> kYuvBits);
}

}  // namespace segexport::preprocess_detail

#endif  // SEGEXPORT_YUV_HPP
