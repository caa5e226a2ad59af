// Class map of a segmentation network's logits at any size: bilinear upsampling and argmax in one go, without the
// upsampled logits ever existing. C++17, no dependencies; the Python package and the C++ runtime compile this file.
// class_map_cuda.hpp does the same on a GPU.
//
// The arithmetic, the same as torch.nn.functional.interpolate(mode="bilinear", align_corners=False) and argmax:
//
//     source coordinate   s = max(0, (i + 0.5) * in / out - 0.5),  lo = floor(s),  hi = min(lo + 1, in - 1),  w = s - lo
//     upsampled logit     (1 - wy) * ((1 - wx) * top_left + wx * top_right)
//                             + wy * ((1 - wx) * bottom_left + wx * bottom_right)       in float32
//     class               the largest, ties to the lowest id
//
// What is left out, and why nothing changes (the output pixels between four neighbouring points are a cell):
//   1. A sample is a convex combination of its four corners. A class that is the largest (lowest id of the largest) at
//      all four is so everywhere in the cell: no interpolation.
//   2. Elsewhere let L be the largest over all classes of a class's smallest corner. A class whose largest corner is
//      below L loses to that class everywhere in the cell: only the others are interpolated.
// That is so over the reals; in float32, two classes that are a last bit apart may come out the other way round.
//
// Compile with -ffp-contract=off for the same bits on every instruction set.

#ifndef SEGEXPORT_CLASS_MAP_HPP
#define SEGEXPORT_CLASS_MAP_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

#include "segexport/class_map_cuda.hpp"  // which compiles without CUDA: source coordinates, and the limit of classes

// One binary for every x86-64: the hot functions exist for AVX-512, AVX2 and the baseline, chosen at load time.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__AVX512F__)
#define SEGEXPORT_EVERY_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SEGEXPORT_EVERY_CPU
#endif

namespace segexport {

namespace class_map_detail {

// Vectors as GCC and Clang have them: one AVX-512 register, two of AVX2, or four of SSE and NEON.
constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef int Ints __attribute__((vector_size(kLanes * 4)));

// By reference: how a vector is returned depends on the instruction set, and so would the binary interface.
inline __attribute__((always_inline)) void load(const float* from, Floats& to) { std::memcpy(&to, from, sizeof to); }

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

// The classes of a row of points: index of the largest of `count` logits each, ties to the lowest.
SEGEXPORT_EVERY_CPU
inline void argmax_row(const float* logits, int points, int count, std::uint8_t* classes) {
    Ints lane;
    for (int i = 0; i < kLanes; ++i) lane[i] = i;
    for (int p = 0; p < points; ++p, logits += count) {
        float best = logits[0];
        int id = 0;
        if (count < kLanes) {
            for (int c = 1; c < count; ++c) {
                const bool more = logits[c] > best;
                best = more ? logits[c] : best;
                id = more ? c : id;
            }
        } else {
            Floats most, x;
            load(logits, most);
            Ints block = lane * 0;
            for (int c = kLanes; c < count; c += kLanes) {
                const int start = std::min(c, count - kLanes);  // the last block overlaps the one before
                load(logits + start, x);
                const auto more = x > most;
                most = more ? x : most;
                block = more ? lane * 0 + start : block;
            }
            const Ints ids = block + lane;
            best = most[0];
            id = ids[0];
            for (int i = 1; i < kLanes; ++i) {
                const float next = most[i];
                const int other = ids[i];
                const bool more = next > best || (next == best && other < id);
                best = more ? next : best;
                id = more ? other : id;
            }
        }
        classes[p] = static_cast<std::uint8_t>(id);
    }
}

// Logits of the cell's corners that can win somewhere inside, by class id in rising order.
struct Candidates {
    int count = 0;
    int id[kMaxClasses + 1];
    float corner[4][kMaxClasses + 1];
};

SEGEXPORT_EVERY_CPU
inline void find_candidates(const float* const corners[4], int count, Candidates& found) {
    float largest[kMaxClasses + kLanes];
    float least = -std::numeric_limits<float>::infinity();
    int c = 0;
    if (count >= kLanes) {
        Floats a, b, d, e;
        load(corners[0], a);
        Floats bound = a * 0.0F + least;
        for (int next = 0; next < count; next += kLanes) {
            const int start = std::min(next, count - kLanes);
            load(corners[0] + start, a);
            load(corners[1] + start, b);
            load(corners[2] + start, d);
            load(corners[3] + start, e);
            const Floats ab = a < b ? a : b, de = d < e ? d : e, low = ab < de ? ab : de;
            const Floats AB = a < b ? b : a, DE = d < e ? e : d, high = AB < DE ? DE : AB;
            std::memcpy(largest + start, &high, sizeof high);
            bound = bound < low ? low : bound;
        }
        for (int i = 0; i < kLanes; ++i) least = std::max(least, static_cast<float>(bound[i]));
        c = count;
    }
    for (; c < count; ++c) {
        const float a = corners[0][c], b = corners[1][c], d = corners[2][c], e = corners[3][c];
        largest[c] = std::max(std::max(a, b), std::max(d, e));
        least = std::max(least, std::min(std::min(a, b), std::min(d, e)));
    }
    int n = 0;
    for (c = 0; c < count; ++c) {
        found.id[n] = c;
        n += !(largest[c] < least);
    }
    found.count = n;
    for (int k = 0; k < 4; ++k) {
        for (int i = 0; i < n; ++i) found.corner[k][i] = corners[k][found.id[i]];
    }
}

// Classes of `kLanes` pixels of a cell, given each pixel's weights.
SEGEXPORT_EVERY_CPU
inline void interpolate(const Candidates& found, const float* weights_y, const float* weights_x, int* classes) {
    Floats wy, wx;
    load(weights_y, wy);
    load(weights_x, wx);
    const Floats vy = 1.0F - wy, vx = 1.0F - wx;
    Floats best = wy * 0.0F - std::numeric_limits<float>::infinity();
    Ints ids = (wy > 2.0F) + found.id[0];
    for (int k = 0; k < found.count; ++k) {
        const Floats top = vx * found.corner[0][k] + wx * found.corner[1][k];
        const Floats bottom = vx * found.corner[2][k] + wx * found.corner[3][k];
        const Floats value = vy * top + wy * bottom;
        const auto more = value > best;
        best = more ? value : best;
        ids = more ? ids * 0 + found.id[k] : ids;
    }
    std::memcpy(classes, &ids, sizeof ids);
}

// The class map's rows that belong to the cell rows [first, last).
inline void cell_rows(const float* logits, int height, int width, int count, const Axis& rows, const Axis& columns,
                      int first, int last, std::uint8_t* map) {
    const int out_width = static_cast<int>(columns.low.size());
    const std::ptrdiff_t stride = static_cast<std::ptrdiff_t>(width) * count;
    std::vector<std::uint8_t> upper(width), lower(width);
    std::vector<float> wy, wx;
    int known = -1;  // the source row whose classes `lower` holds
    Candidates found;
    for (int r = first; r < last; ++r) {
        const int y0 = rows.low[rows.cells[r]], y1 = std::min(y0 + 1, height - 1);
        if (known == y0) {
            std::swap(upper, lower);
        } else {
            argmax_row(logits + y0 * stride, width, count, upper.data());
        }
        if (y1 == y0) {
            lower = upper;
        } else {
            argmax_row(logits + y1 * stride, width, count, lower.data());
        }
        known = y1;
        const int top = rows.cells[r], bottom = rows.cells[r + 1];
        for (std::size_t cell = 0; cell + 1 < columns.cells.size(); ++cell) {
            const int left = columns.cells[cell], right = columns.cells[cell + 1];
            const int x0 = columns.low[left], x1 = std::min(x0 + 1, width - 1);
            const std::uint8_t id = upper[x0];
            if (upper[x1] == id && lower[x0] == id && lower[x1] == id) {
                for (int y = top; y < bottom; ++y) {
                    std::memset(map + static_cast<std::ptrdiff_t>(y) * out_width + left, id, right - left);
                }
                continue;
            }
            const std::ptrdiff_t at0 = static_cast<std::ptrdiff_t>(x0) * count, at1 = static_cast<std::ptrdiff_t>(x1) * count;
            const float *above = logits + y0 * stride, *below = logits + y1 * stride;
            const float* const corners[4] = {above + at0, above + at1, below + at0, below + at1};
            find_candidates(corners, count, found);
            const int wide = right - left, pixels = wide * (bottom - top);
            const int padded = (pixels + kLanes - 1) / kLanes * kLanes;
            wy.assign(padded, 0.0F);
            wx.assign(padded, 0.0F);
            for (int y = top, p = 0; y < bottom; ++y) {
                for (int x = left; x < right; ++x, ++p) {
                    wy[p] = rows.weight[y];
                    wx[p] = columns.weight[x];
                }
            }
            int y = top, x = left;
            for (int p = 0; p < pixels; p += kLanes) {
                int classes[kLanes];
                interpolate(found, wy.data() + p, wx.data() + p, classes);
                for (int i = 0; i < std::min(kLanes, pixels - p); ++i) {
                    map[static_cast<std::ptrdiff_t>(y) * out_width + x] = static_cast<std::uint8_t>(classes[i]);
                    if (++x == right) {
                        x = left;
                        ++y;
                    }
                }
            }
        }
    }
}

}  // namespace class_map_detail

// Class map of one image.
//
// logits: float32 [height, width, classes], classes innermost, finite. map: uint8 [out_height, out_width], written.
// classes: 1 to 255. threads: how many share the work, the caller's included.
inline void class_map(const float* logits, int height, int width, int classes, std::uint8_t* map, int out_height,
                      int out_width, int threads = 1) {
    namespace detail = class_map_detail;
    const detail::Axis rows(height, out_height), columns(width, out_width);
    const int cells = static_cast<int>(rows.cells.size()) - 1;
    const int shares = std::max(1, std::min(threads, cells));
    const auto work = [&](int share) {
        detail::cell_rows(logits, height, width, classes, rows, columns, cells * share / shares,
                          cells * (share + 1) / shares, map);
    };
    std::vector<std::thread> others;
    others.reserve(shares - 1);
    for (int share = 1; share < shares; ++share) {
        try {
            others.emplace_back(work, share);
        } catch (const std::system_error&) {  // the system gives no more threads: the caller does it all
            work(share);
        }
    }
    work(0);
    for (auto& other : others) other.join();
}

}  // namespace segexport

#endif  // SEGEXPORT_CLASS_MAP_HPP
