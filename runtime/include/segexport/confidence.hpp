// Confidence of a class map on a CPU: confidence_cuda.hpp's arithmetic, bit for bit, for the pixels of whole rows.

#ifndef SEGEXPORT_CONFIDENCE_HPP
#define SEGEXPORT_CONFIDENCE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "segexport/confidence_cuda.hpp"  // which compiles without CUDA: the arithmetic
#include "segexport/upsampling.hpp"

namespace segexport::class_map_detail {

constexpr int kColumns = 64;  // of the output, which are worked on together

// The logits of two source rows, upsampled along the width: [classes, kColumns] each.
struct SoftRows {
    std::vector<float> upper, lower;

    explicit SoftRows(int classes) : upper(static_cast<std::size_t>(classes) * kColumns), lower(upper.size()) {}
};

// Upsamples `kColumns` outputs of a source row: `left` and `right` are where the logits of their corners begin.
SEGEXPORT_EVERY_CPU
inline void widen_row(const float* row, const std::ptrdiff_t* left, const std::ptrdiff_t* right, const float* weights,
                      int classes, float* to) {
    for (int c = 0; c < classes; ++c, ++row, to += kColumns) {
        for (int i = 0; i < kColumns; ++i) {
            to[i] = between(minus(1.0F, weights[i]), row[left[i]], weights[i], row[right[i]]);
        }
    }
}

// The confidence of `kColumns` pixels of an output row.
SEGEXPORT_EVERY_CPU
inline void soften_row(const float* upper, const float* lower, float weight, int classes, float* confidence) {
    const float rest = minus(1.0F, weight);
    for (int first = 0; first < kColumns; first += kLanes, upper += kLanes, lower += kLanes) {
        // As vectors by hand: GCC 12 leaves a loop like the second one in pieces where it takes the largest.
        Floats above, below, largest;
        load(upper, largest);
        largest = largest * 0.0F + below_all();
        for (int c = 0; c < classes; ++c) {
            load(upper + c * kColumns, above);
            load(lower + c * kColumns, below);
            const Floats value = rest * above + weight * below;
            largest = value > largest ? value : largest;
        }
        float most[kLanes], sum[kLanes] = {};
        std::memcpy(most, &largest, sizeof most);
        for (int c = 0; c < classes; ++c) {
            const float *a = upper + c * kColumns, *b = lower + c * kColumns;
            for (int i = 0; i < kLanes; ++i) sum[i] = with_term(sum[i], between(rest, a[i], weight, b[i]), most[i]);
        }
        for (int i = 0; i < kLanes; ++i) confidence[first + i] = divided(1.0F, sum[i]);
    }
}

// The confidences of the rows that belong to the cell rows [first, last).
inline void confidence_rows(const float* logits, int height, int width, int classes, const Axis& rows,
                            const Axis& columns, int first, int last, float* confidence, std::ptrdiff_t stride,
                            SoftRows& soft) {
    const std::ptrdiff_t source_stride = static_cast<std::ptrdiff_t>(width) * classes;
    const int out_width = static_cast<int>(columns.low.size());
    for (int r = first; r < last; ++r) {
        const int y0 = rows.low[rows.cells[r]], y1 = std::min(y0 + 1, height - 1);
        for (int x = 0; x < out_width; x += kColumns) {
            const int wide = std::min(kColumns, out_width - x);
            std::ptrdiff_t left[kColumns] = {}, right[kColumns] = {};
            float weights[kColumns] = {}, found[kColumns];
            for (int i = 0; i < wide; ++i) {
                const int low = columns.low[x + i];
                left[i] = static_cast<std::ptrdiff_t>(low) * classes;
                right[i] = static_cast<std::ptrdiff_t>(std::min(low + 1, width - 1)) * classes;
                weights[i] = columns.weight[x + i];
            }
            widen_row(logits + y0 * source_stride, left, right, weights, classes, soft.upper.data());
            widen_row(logits + y1 * source_stride, left, right, weights, classes, soft.lower.data());
            for (int y = rows.cells[r]; y < rows.cells[r + 1]; ++y) {
                soften_row(soft.upper.data(), soft.lower.data(), rows.weight[y], classes, found);
                std::uint8_t* const line = reinterpret_cast<std::uint8_t*>(confidence) + y * stride;
                std::copy(found, found + wide, reinterpret_cast<float*>(line) + x);
            }
        }
    }
}

}  // namespace segexport::class_map_detail

#endif  // SEGEXPORT_CONFIDENCE_HPP
