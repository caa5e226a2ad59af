// The loops of preprocessing on the CPU. A line is one row of an image as they work on it: 4 bytes a pixel, the
// channels in the network's order and a byte that nobody looks at, so that whole pixels fill a vector. Lines have room
// for kSlack bytes beyond their last pixel, which may be read and written.
//
// Vectors as GCC and Clang have them: one AVX2 register, or two of SSE and NEON.

#ifndef SEGEXPORT_RESIZE_LINES_HPP
#define SEGEXPORT_RESIZE_LINES_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "segexport/everywhere.hpp"
#include "segexport/resize_taps.hpp"
#include "segexport/yuv.hpp"

// Lanes of two vectors, by their numbers. GCC knows Clang's name for it from version 12 on; JetPack 6 has 11.
#if defined(__clang__) || __GNUC__ >= 12
#define SEGEXPORT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SEGEXPORT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, std::decay_t<decltype(a)>{__VA_ARGS__})
#endif

namespace segexport::preprocess_detail {

constexpr int kLanes = 8;
constexpr int kPixels = kLanes / 4;  // of a line in a vector of kLanes
constexpr int kSlack = 64;
typedef std::int32_t Ints __attribute__((vector_size(kLanes * 4)));
typedef std::uint8_t Bytes __attribute__((vector_size(16)));
constexpr int kQuad = 4;  // pixels of a line in Bytes
typedef std::int16_t Shorts __attribute__((vector_size(kLanes * 2)));
typedef std::uint8_t Narrow __attribute__((vector_size(kLanes)));
typedef std::uint64_t Longs __attribute__((vector_size(16)));
typedef std::uint16_t Doubled __attribute__((vector_size(16)));

// By reference: how a vector is returned depends on the instruction set, and so would the binary interface.
template <typename Vector>
inline __attribute__((always_inline)) void load(const void* from, Vector& to) {
    std::memcpy(&to, from, sizeof to);
}

// kLanes bytes as whole numbers, written so that GCC makes one instruction of it for AVX2, and three for SSE2 and NEON.
inline __attribute__((always_inline)) void load_widened(const std::uint8_t* from, Ints& to) {
#if defined(SEGEXPORT_RESIZE_AVX2) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    to = Ints{from[0], from[1], from[2], from[3], from[4], from[5], from[6], from[7]};
#else
    std::uint64_t eight;
    std::memcpy(&eight, from, sizeof eight);
    const Longs pair = {eight, 0};
    const Bytes bytes = reinterpret_cast<const Bytes&>(pair), zero = {};
    const Bytes doubled = SEGEXPORT_SHUFFLE(bytes, zero, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const Doubled shorts = reinterpret_cast<const Doubled&>(doubled), zeros = {};
    const Doubled halves[2] = {SEGEXPORT_SHUFFLE(shorts, zeros, 0, 8, 1, 9, 2, 10, 3, 11),
                               SEGEXPORT_SHUFFLE(shorts, zeros, 4, 12, 5, 13, 6, 14, 7, 15)};
    std::memcpy(&to, halves, sizeof to);
#endif
}

inline __attribute__((always_inline)) void clip(Ints& values) {
    values = values < 0 ? values * 0 : values;
    values = values > 255 ? values * 0 + 255 : values;
}

// The grey levels of weighted sums that began with 0, as bytes.
inline __attribute__((always_inline)) void store_grey(const Ints& sums, std::uint8_t* to) {
    Ints levels = (sums + kWeightHalf) >> kWeightBits;
    clip(levels);
    const Narrow bytes = __builtin_convertvector(__builtin_convertvector(levels, Shorts), Narrow);
    std::memcpy(to, &bytes, sizeof bytes);
}

// The first and third channel of 4 pixels exchanged.
inline __attribute__((always_inline)) void swap_channels(Bytes& pixels) {
    pixels = SEGEXPORT_SHUFFLE(pixels, pixels, 2, 1, 0, 3, 6, 5, 4, 7, 10, 9, 8, 11, 14, 13, 12, 15);
}

// A row of 3 bytes a pixel to a line, with the first and third channel exchanged if `swap`.
SEGEXPORT_RESIZE_CLONES inline void widen_line(const std::uint8_t* from, int width, bool swap, std::uint8_t* to) {
    int x = 0;
    for (; x * 3 + 16 <= width * 3; x += kQuad) {  // it reads 16 bytes, and takes 12
        Bytes pixels;
        load(from + x * 3, pixels);
        pixels = SEGEXPORT_SHUFFLE(pixels, pixels, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
        if (swap) swap_channels(pixels);
        std::memcpy(to + x * 4, &pixels, sizeof pixels);
    }
    for (; x < width; ++x) {
        for (int c = 0; c < 3; ++c) to[x * 4 + c] = from[x * 3 + (swap ? 2 - c : c)];
        to[x * 4 + 3] = 0;
    }
}

// The same of a row of 4 bytes a pixel.
SEGEXPORT_RESIZE_CLONES inline void swap_line(const std::uint8_t* from, int width, std::uint8_t* to) {
    int x = 0;
    for (; x + kQuad <= width; x += kQuad) {
        Bytes pixels;
        load(from + x * 4, pixels);
        swap_channels(pixels);
        std::memcpy(to + x * 4, &pixels, sizeof pixels);
    }
    for (; x < width; ++x) {
        for (int c = 0; c < 3; ++c) to[x * 4 + c] = from[x * 4 + 2 - c];
        to[x * 4 + 3] = 0;
    }
}

// A line to 3 bytes a pixel; reads no more than the line has, writes no more than 3 * width bytes.
SEGEXPORT_RESIZE_CLONES inline void pack_line(const std::uint8_t* from, int width, std::uint8_t* to) {
    int x = 0;
    for (; x + kQuad <= width; x += kQuad) {
        Bytes pixels;
        load(from + x * 4, pixels);
        pixels = SEGEXPORT_SHUFFLE(pixels, pixels, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15);
        std::memcpy(to + x * 3, &pixels, 3 * kQuad);
    }
    for (; x < width; ++x) std::memcpy(to + x * 3, from + x * 4, 3);
}

// A row of NV12, as yuv_to_rgb: kLanes pixels at once, and the rest one by one. first: the channel of red, 0 or 2.
SEGEXPORT_RESIZE_CLONES inline void nv12_line(const std::uint8_t* luma, const std::uint8_t* chroma, int width,
                                              const YuvWeights& weights, int first, std::uint8_t* to) {
    const int third = 2 - first;
    int x = 0;
    for (; x + kLanes <= width; x += kLanes) {
        Ints y, uv;
        load_widened(luma + x, y);
        load_widened(chroma + x, uv);
        uv -= kChromaZero;
        const Ints u = SEGEXPORT_SHUFFLE(uv, uv, 0, 0, 2, 2, 4, 4, 6, 6);
        const Ints v = SEGEXPORT_SHUFFLE(uv, uv, 1, 1, 3, 3, 5, 5, 7, 7);
        const Ints l = weights.luma * (y - weights.zero) + kYuvHalf;
        Ints red = (l + weights.red_v * v) >> kYuvBits;
        Ints green = (l + weights.green_u * u + weights.green_v * v) >> kYuvBits;
        Ints blue = (l + weights.blue_u * u) >> kYuvBits;
        clip(red);
        clip(green);
        clip(blue);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        const Ints pixels = red << (24 - 8 * first) | green << 16 | blue << (24 - 8 * third);
#else
        const Ints pixels = red << (8 * first) | green << 8 | blue << (8 * third);
#endif
        std::memcpy(to + x * 4, &pixels, sizeof pixels);
    }
    for (; x < width; ++x) {
        int rgb[3];
        yuv_to_rgb(weights, luma[x], chroma[x / 2 * 2], chroma[x / 2 * 2 + 1], rgb);
        to[x * 4 + first] = static_cast<std::uint8_t>(rgb[0]);
        to[x * 4 + 1] = static_cast<std::uint8_t>(rgb[1]);
        to[x * 4 + third] = static_cast<std::uint8_t>(rgb[2]);
        to[x * 4 + 3] = 0;
    }
}

// The weights of an axis as vectors multiply them with the pixels of a line: each once for every channel, and zeros up
// to whole vectors.
struct WideTaps {
    int out = 0;
    int vectors = 0;                    // that an output takes
    std::vector<int> first;             // byte of the line; one more if `out` is odd
    std::vector<std::int32_t> weights;  // [first.size(), vectors, kLanes]

    WideTaps() = default;
    explicit WideTaps(const Taps& taps) : out(taps.out), vectors((taps.most - 1) / kPixels + 1), first(taps.first) {
        if (out % 2 != 0) first.push_back(first.back());
        weights.assign(first.size() * vectors * kLanes, 0);
        for (int& at : first) at *= 4;
        for (int i = 0; i < out; ++i) {
            std::int32_t* const wide = weights.data() + static_cast<std::ptrdiff_t>(i) * vectors * kLanes;
            for (int t = 0; t < taps.count[i]; ++t) std::fill_n(wide + 4 * t, 4, taps.weights_of(i)[t]);
        }
    }

    // Bytes that may be read beyond the end of a line.
    int slack() const { return vectors * kLanes; }
};

// Resamples a line along itself. Two pixels at once, so that their sums, two halves of each, fill one vector.
SEGEXPORT_RESIZE_CLONES inline void across_line(const std::uint8_t* from, const WideTaps& taps, std::uint8_t* to) {
    const std::int32_t* weights = taps.weights.data();
    const int* const first = taps.first.data();
    const int out = taps.out, vectors = taps.vectors;
    for (int x = 0; x < out; x += 2) {
        const std::uint8_t *left = from + first[x], *right = from + first[x + 1];
        const std::int32_t* const end = weights + vectors * kLanes;
        Ints left_sum = {}, right_sum = {};
        for (; weights != end; weights += kLanes, left += kLanes, right += kLanes) {
            Ints pixels, by;
            load_widened(left, pixels);
            load(weights, by);
            left_sum += pixels * by;
            load_widened(right, pixels);
            load(weights + vectors * kLanes, by);
            right_sum += pixels * by;
        }
        weights += vectors * kLanes;
        store_grey(SEGEXPORT_SHUFFLE(left_sum, right_sum, 0, 1, 2, 3, 8, 9, 10, 11) +
                       SEGEXPORT_SHUFFLE(left_sum, right_sum, 4, 5, 6, 7, 12, 13, 14, 15),
                   to + x * 4);
    }
}

// A line of the weighted sums of `count` lines. weights: [count, kLanes], each line's in every lane. width: in pixels.
SEGEXPORT_RESIZE_CLONES inline void down_lines(const std::uint8_t* const* lines, const std::int32_t* weights, int count,
                                               int width, std::uint8_t* to) {
    const std::ptrdiff_t bytes = static_cast<std::ptrdiff_t>(width) * 4;
    for (std::ptrdiff_t x = 0; x < bytes; x += 2 * kLanes) {
        Ints sum = {}, next_sum = {};
        for (int t = 0; t < count; ++t) {
            Ints pixels, by;
            load(weights + t * kLanes, by);
            load_widened(lines[t] + x, pixels);
            sum += pixels * by;
            load_widened(lines[t] + x + kLanes, pixels);
            next_sum += pixels * by;
        }
        store_grey(sum, to + x);
        store_grey(next_sum, to + x + kLanes);
    }
}

}  // namespace segexport::preprocess_detail

#endif  // SEGEXPORT_RESIZE_LINES_HPP
