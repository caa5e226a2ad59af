// Which pixels, with which weights, each pixel of a resized image is made of: those of Pillow's Image.resize for 8-bit
// images (src/libImaging/Resample.c of Pillow 10 to 13), in its own order of operations, so that every weight is equal.
//
// An axis that shrinks by `scale` is seen through a filter `scale` times as wide (antialiasing); one that grows,
// through the filter as it is. Weights are computed in double, made to sum to 1, and rounded to multiples of 2^-22:
//
//     out = clip((2^21 + sum of k p) >> 22, 0, 255),  k whole
//
// One axis is resampled after the other, with whole grey levels in between; an axis that keeps its size is left alone.
// segexport/graph/resize.py has the same tables in Python. Compile with -ffp-contract=off.

#ifndef SEGEXPORT_RESIZE_TAPS_HPP
#define SEGEXPORT_RESIZE_TAPS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "segexport/everywhere.hpp"
#include "segexport/image.hpp"
#include "segexport/yuv.hpp"

namespace segexport::preprocess_detail {

constexpr int kNearest = 0;  // Pillow's numbers of filters
constexpr int kFilters = 6;
constexpr int kWeightBits = 22;
constexpr int kWeightHalf = 1 << (kWeightBits - 1);

// The grey level of a weighted sum that began with kWeightHalf.
SEGEXPORT_EVERYWHERE int grey_level(int sum) { return clipped(sum >> kWeightBits); }

inline double sinc(double x) {
    constexpr double kPi = 3.14159265358979323846;
    if (x == 0) return 1;
    x *= kPi;
    return std::sin(x) / x;
}

inline double lanczos(double x) { return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0; }

inline double bilinear(double x) {
    x = std::abs(x);
    return x < 1 ? 1 - x : 0;
}

inline double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

inline double box(double x) { return -0.5 < x && x <= 0.5 ? 1 : 0; }

inline double hamming(double x) {
    constexpr double kPi = 3.14159265358979323846;
    constexpr double kMean = 0.54F, kSwing = 0.46F;  // Pillow writes them with an F
    x = std::abs(x);
    if (x == 0) return 1;
    if (x >= 1) return 0;
    x *= kPi;
    return std::sin(x) / x * (kMean + kSwing * std::cos(x));
}

struct Filter {
    double (*weight)(double distance);
    double support;  // the distance beyond which it is zero
};

// resample: Pillow's number, 1 to 5.
inline Filter filter_of(int resample) {
    static constexpr Filter kTable[kFilters] = {{nullptr, 0}, {lanczos, 3}, {bilinear, 1},
                                                {bicubic, 2}, {box, 0.5},   {hamming, 1}};
    return kTable[resample];
}

// An axis of `out` pixels, each made of `count` inputs from `first` on.
struct Taps {
    int out = 0;
    int most = 1;                   // the largest count
    std::vector<int> first, count;  // neither `first` nor `first + count` ever falls
    std::vector<int> weights;       // times 2^22: [out, most], 0 beyond an output's count

    const int* weights_of(int i) const { return weights.data() + static_cast<std::ptrdiff_t>(i) * most; }
};

// in, out: pixels along the axis, 1 or more. resample: Pillow's number of a filter other than nearest.
inline Taps make_taps(int in, int out, int resample) {
    const Filter filter = filter_of(resample);
    const double scale = static_cast<double>(in) / out;
    const double stretch = std::max(scale, 1.0), support = filter.support * stretch, shrink = 1.0 / stretch;
    Taps taps;
    taps.out = out;
    for (int i = 0; i < out; ++i) {
        const double centre = (i + 0.5) * scale;
        taps.first.push_back(std::max(static_cast<int>(centre - support + 0.5), 0));
        taps.count.push_back(std::min(static_cast<int>(centre + support + 0.5), in) - taps.first.back());
        taps.most = std::max(taps.most, taps.count.back());
    }
    taps.weights.assign(static_cast<std::size_t>(out) * taps.most, 0);
    std::vector<double> weights(taps.most);
    for (int i = 0; i < out; ++i) {
        const double centre = (i + 0.5) * scale;
        double sum = 0;
        for (int t = 0; t < taps.count[i]; ++t) {
            weights[t] = filter.weight((t + taps.first[i] - centre + 0.5) * shrink);
            sum += weights[t];
        }
        for (int t = 0; t < taps.count[i]; ++t) {
            const double fixed = (sum != 0 ? weights[t] / sum : weights[t]) * (1 << kWeightBits);
            taps.weights[static_cast<std::size_t>(i) * taps.most + t] =
                static_cast<int>(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
        }
    }
    return taps;
}

// Which input each output is: Pillow adds up positions, and so does this.
inline std::vector<int> nearest_inputs(int in, int out) {
    const double step = static_cast<double>(in) / out;
    double at = step * 0.5;
    std::vector<int> inputs(out);
    for (int& input : inputs) {
        input = std::min(static_cast<int>(at), in - 1);
        at += step;
    }
    return inputs;
}

// Which axis is resampled first: since Pillow 13 the rows, where that saves much; before, and else, the columns.
inline bool rows_before_columns(Size in, Size out) {
    return in.height - out.height > std::max(0, 2 * (in.width - out.width));
}

// Throws ContractError: a size, channel order or filter that nothing is resized to.
inline void check_resize(Size out, PixelFormat order, int resample) {
    if (out.height < 1 || out.width < 1 || out.height > kLargestSide || out.width > kLargestSide) {
        throw ContractError("images cannot be resized to " + to_string(out) + ": sides are 1 to " +
                            std::to_string(kLargestSide) + " pixels");
    }
    if (order != PixelFormat::rgb && order != PixelFormat::bgr) {
        throw ContractError("a network's channel order is rgb or bgr: give one of them");
    }
    if (resample < 0 || resample >= kFilters) {
        throw ContractError("there is no filter " + std::to_string(resample) + ": Pillow's are numbered 0 to " +
                            std::to_string(kFilters - 1));
    }
}

}  // namespace segexport::preprocess_detail

#endif  // SEGEXPORT_RESIZE_TAPS_HPP
