// Class map of a segmentation network's logits at any size: bilinear upsampling and argmax in one go, without the
// upsampled logits ever existing; where asked for, the softmax of each pixel's class too (confidence.hpp). C++17, no
// dependencies; the Python package and the C++ runtime compile this file. class_map_cuda.hpp does the same on a GPU.
//
// The arithmetic, the same as torch.nn.functional.interpolate(mode="bilinear", align_corners=False) and argmax:
//
//     source coordinate   s = max(0, (i + 0.5) * in / out - 0.5),  lo = floor(s),  hi = min(lo + 1, in - 1), w = s - lo
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
#include <string>
#include <vector>

#include "segexport/class_map_cuda.hpp"  // which compiles without CUDA: the limit of classes
#include "segexport/confidence.hpp"
#include "segexport/errors.hpp"
#include "segexport/image.hpp"
#include "segexport/upsampling.hpp"
#include "segexport/workers.hpp"

namespace segexport {

namespace class_map_detail {

// The classes of a row of points: index of the largest of `count` logits each, ties to the lowest.
SEGEXPORT_EVERY_CPU
inline void argmax_row(const float* logits, int points, int count, std::uint8_t* classes) {
    Ints lane;
    for (int i = 0; i < kLanes; ++i) lane[i] = i;
    const Ints none = Ints{} + std::numeric_limits<int>::max();
    const Floats below_all = Floats{} - std::numeric_limits<float>::infinity();
    const float* const end = logits + static_cast<std::ptrdiff_t>(points) * count;
    int p = 0;
    // A vector may reach into the points behind, but not behind the last.
    for (; p < points && end - logits >= kLanes; ++p, logits += count) {
        Floats most, x;
        load(logits, most);
        Ints block{};
        if (count < kLanes) {
            most = lane < count ? most : below_all;
        } else {
            for (int c = kLanes; c < count; c += kLanes) {
                const int start = std::min(c, count - kLanes);  // the last block overlaps the one before
                load(logits + start, x);
                const auto more = x > most;
                most = more ? x : most;
                block = more ? Ints{} + start : block;
            }
        }
        classes[p] = static_cast<std::uint8_t>(least_of(most == Floats{} + largest_of(most) ? block + lane : none));
    }
    for (; p < points; ++p, logits += count) {
        classes[p] = static_cast<std::uint8_t>(std::max_element(logits, logits + count) - logits);
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
    float largest[kMaxClasses + 2 * kLanes];
    float least = -std::numeric_limits<float>::infinity();
    const Floats below_all = Floats{} + least;
    if (count >= kLanes) {
        Floats a, b, d, e;
        Floats bound = below_all;
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
        least = largest_of(bound);
    } else {
        for (int c = 0; c < count; ++c) {
            const float a = corners[0][c], b = corners[1][c], d = corners[2][c], e = corners[3][c];
            largest[c] = std::max(std::max(a, b), std::max(d, e));
            least = std::max(least, std::min(std::min(a, b), std::min(d, e)));
        }
    }
    std::memcpy(largest + count, &below_all, sizeof below_all);
    const Floats bound = Floats{} + least;
    int n = 0;
    for (int first = 0; first < count; first += kLanes) {
        Floats high;
        load(largest + first, high);
        if (!any_of(high >= bound)) continue;  // as in most of many classes' blocks
        for (int c = first; c < std::min(first + kLanes, count); ++c) {
            found.id[n] = c;
            n += largest[c] >= least;
        }
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

// What one share of the work needs of its own.
struct Scratch {
    std::vector<std::uint8_t> upper, lower;  // classes of the source rows above and below
    Candidates found;
    SoftRows soft;

    Scratch(int width, int classes) : upper(width), lower(width), soft(classes) {}
};

// The pixels [top, bottom) x [left, right) of a cell, from the classes that can win there.
inline void contested_cell(const Candidates& found, const Axis& rows, const Axis& columns, int top, int bottom,
                           int left, int right, std::uint8_t* map, std::ptrdiff_t stride) {
    float wy[kLanes] = {}, wx[kLanes] = {};
    int classes[kLanes];
    int y = top, x = left;
    while (y < bottom) {
        const int first_y = y, first_x = x;
        int lanes = 0;
        for (; lanes < kLanes && y < bottom; ++lanes) {
            wy[lanes] = rows.weight[y];
            wx[lanes] = columns.weight[x];
            if (++x == right) {
                x = left;
                ++y;
            }
        }
        interpolate(found, wy, wx, classes);
        y = first_y;
        x = first_x;
        for (int i = 0; i < lanes; ++i) {
            map[y * stride + x] = static_cast<std::uint8_t>(classes[i]);
            if (++x == right) {
                x = left;
                ++y;
            }
        }
    }
}

// The class map's rows that belong to the cell rows [first, last).
inline void cell_rows(const float* logits, int height, int width, int count, const Axis& rows, const Axis& columns,
                      int first, int last, std::uint8_t* map, std::ptrdiff_t map_stride, Scratch& scratch) {
    const std::ptrdiff_t stride = static_cast<std::ptrdiff_t>(width) * count;
    auto &upper = scratch.upper, &lower = scratch.lower;
    int known = -1;  // the source row whose classes `lower` holds
    for (int r = first; r < last; ++r) {
        const int top = rows.cells[r], bottom = rows.cells[r + 1];
        const int y0 = rows.low[top], y1 = std::min(y0 + 1, height - 1);
        if (known == y0) {
            std::swap(upper, lower);
        } else {
            argmax_row(logits + y0 * stride, width, count, upper.data());
        }
        if (y1 == y0) {
            std::copy(upper.begin(), upper.end(), lower.begin());
        } else {
            argmax_row(logits + y1 * stride, width, count, lower.data());
        }
        known = y1;
        const auto agree = [&](std::size_t cell, std::uint8_t id) {
            const int x0 = columns.low[columns.cells[cell]], x1 = std::min(x0 + 1, width - 1);
            return upper[x0] == id && upper[x1] == id && lower[x0] == id && lower[x1] == id;
        };
        const std::size_t cells = columns.cells.size() - 1;
        for (std::size_t cell = 0; cell < cells; ++cell) {
            const int left = columns.cells[cell];
            const int x0 = columns.low[left], x1 = std::min(x0 + 1, width - 1);
            if (const std::uint8_t id = upper[x0]; agree(cell, id)) {
                while (cell + 1 < cells && agree(cell + 1, id)) ++cell;  // as far as the class goes
                const auto wide = static_cast<std::size_t>(columns.cells[cell + 1] - left);
                for (int y = top; y < bottom; ++y) std::memset(map + y * map_stride + left, id, wide);
                continue;
            }
            const int right = columns.cells[cell + 1];
            const std::ptrdiff_t at0 = static_cast<std::ptrdiff_t>(x0) * count;
            const std::ptrdiff_t at1 = static_cast<std::ptrdiff_t>(x1) * count;
            const float *above = logits + y0 * stride, *below = logits + y1 * stride;
            const float* const corners[4] = {above + at0, above + at1, below + at0, below + at1};
            find_candidates(corners, count, scratch.found);
            contested_cell(scratch.found, rows, columns, top, bottom, left, right, map, map_stride);
        }
    }
}

}  // namespace class_map_detail

// Class maps of one size from logits of one size: all it needs is made once.
class ClassMap {
   public:
    // height, width, classes: of the logits. out: of the class map.
    //
    // Throws ContractError: no classes or more than 255, or a side that is not 1 to 2^24.
    ClassMap(int height, int width, int classes, Size out)
        : height_(checked(height, width, classes, out)),
          width_(width),
          classes_(classes),
          rows_(height, out.height),
          columns_(width, out.width) {}

    // Class map of one image, and its confidence unless that is null: the softmax of the logits upsampled in the same
    // way, of the class that is the largest. As many workers as before, or fewer, cost no allocation.
    //
    // logits: float32 [height, width, classes], classes innermost, finite. map: uint8 [out.height, out.width], and
    // confidence: float32 of that size, both written; the strides are bytes from row to row.
    void operator()(const float* logits, std::uint8_t* map, std::ptrdiff_t stride, float* confidence,
                    std::ptrdiff_t confidence_stride, Workers& workers) {
        namespace detail = class_map_detail;
        while (static_cast<int>(scratch_.size()) < workers.count()) scratch_.emplace_back(width_, classes_);
        const long long cells = static_cast<long long>(rows_.cells.size()) - 1;
        workers.each([&](int share, int shares) {
            const int first = static_cast<int>(cells * share / shares);
            const int last = static_cast<int>(cells * (share + 1) / shares);
            auto& scratch = scratch_[share];
            detail::cell_rows(logits, height_, width_, classes_, rows_, columns_, first, last, map, stride, scratch);
            if (confidence == nullptr) return;
            detail::confidence_rows(logits, height_, width_, classes_, rows_, columns_, first, last, confidence,
                                    confidence_stride, scratch.soft);
        });
    }

   private:
    static int checked(int height, int width, int classes, Size out) {
        constexpr int kLargest = 1 << 24;  // beyond it float32 no longer counts pixels
        bool fits = classes >= 1 && classes <= kMaxClasses;
        for (const int side : {height, width, out.height, out.width}) fits = fits && side >= 1 && side <= kLargest;
        if (fits) return height;
        throw ContractError("no class map of " + to_string(out) + " from logits [" + std::to_string(height) + ", " +
                            std::to_string(width) + ", " + std::to_string(classes) +
                            "]: pass [h, w, classes] with at most " + std::to_string(kMaxClasses) +
                            " classes and sides from 1 to " + std::to_string(kLargest));
    }

    int height_, width_, classes_;
    class_map_detail::Axis rows_, columns_;
    std::vector<class_map_detail::Scratch> scratch_;  // by share
};

// Class map of one image, by threads that start and end with the call.
//
// logits: float32 [height, width, classes], classes innermost, finite. map: uint8 [out_height, out_width], written.
// classes: 1 to 255. threads: how many share the work, the caller's included.
//
// Throws ContractError: see ClassMap.
inline void class_map(const float* logits, int height, int width, int classes, std::uint8_t* map, int out_height,
                      int out_width, int threads = 1) {
    ClassMap made(height, width, classes, {out_height, out_width});
    Workers workers(std::min({threads, height, out_height}));  // a column has no more cells
    made(logits, map, out_width, nullptr, 0, workers);
}

}  // namespace segexport

#endif  // SEGEXPORT_CLASS_MAP_HPP
