// Confidence of a class map, on NVIDIA GPUs: the softmax of the class that is the largest, of logits upsampled as
// class_map_cuda.hpp upsamples them. Like that file it is compiled by nvcc and by any C++17 compiler, which then runs
// the same threads one after another (tests) and shares the arithmetic (confidence.hpp).
//
//     confidence = 1 / (sum over classes c, in rising order, of exp(logit c - largest logit))     in float32
//
// exp is written down here, from multiplications and additions alone: every library's expf rounds in its own way, so
// that a CPU and a GPU would be some last bits apart. This one is the same bits on both, 2e-7 of its value or less from
// the true one, and what a compiler makes vectors of.

#ifndef SEGEXPORT_CONFIDENCE_CUDA_HPP
#define SEGEXPORT_CONFIDENCE_CUDA_HPP

#include "segexport/class_map_cuda.hpp"

namespace segexport {

namespace class_map_detail {

SEGEXPORT_EVERYWHERE float larger(float a, float b) { return a > b ? a : b; }

// 2^n, from -126 to 127.
SEGEXPORT_EVERYWHERE float power_of_two(int n) {
    const int bits = (n + 127) << 23;
#if defined(__CUDA_ARCH__)
    return __int_as_float(bits);
#else
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
#endif
}

// e^x of x <= 0: 2^n e^r with |r| <= ln(2) / 2, and e^r as the polynomial of Cephes (expf.c, S. Moshier). Below -87
// it stays what it is there, which is next to nothing beside the sum's largest term, 1.
SEGEXPORT_EVERYWHERE float exponential(float x) {
    constexpr float kRounds = 12582912.0F;  // 1.5 * 2^23: a float beside it has no fraction
    x = larger(x, -87.0F);
    const float n = minus(plus(times(x, 1.44269504F), kRounds), kRounds);
    const float r = minus(minus(x, times(n, 0.693359375F)), times(n, -2.12194440e-4F));  // ln(2) in two parts
    float p = 1.9875691500e-4F;
    p = plus(times(p, r), 1.3981999507e-3F);
    p = plus(times(p, r), 8.3334519073e-3F);
    p = plus(times(p, r), 4.1665795894e-2F);
    p = plus(times(p, r), 1.6666665459e-1F);
    p = plus(times(p, r), 5.0000001201e-1F);
    p = plus(plus(times(p, times(r, r)), r), 1.0F);
    return times(p, power_of_two(static_cast<int>(n)));
}

// The sum of exponentials with one logit's.
SEGEXPORT_EVERYWHERE float with_term(float sum, float logit, float most) {
    return plus(sum, exponential(minus(logit, most)));
}

// Upsamples kTile x kTile pixels of a cell twice: for the largest logit of each, then for its sum of exponentials.
struct SoftTile {
    Weights at;
    float most[kTile][kTile], sum[kTile][kTile];

    SEGEXPORT_EVERYWHERE SoftTile(int y, int x, int height, int width, float scale_y, float scale_x)
        : at(y, x, height, width, scale_y, scale_x) {
        SEGEXPORT_UNROLL
        for (int j = 0; j < kTile; ++j) {
            SEGEXPORT_UNROLL
            for (int i = 0; i < kTile; ++i) {
                most[j][i] = below_all();
                sum[j][i] = 0.0F;
            }
        }
    }

    SEGEXPORT_EVERYWHERE void raise(const float corner[4]) {
        SEGEXPORT_UNROLL
        for (int i = 0; i < kTile; ++i) {
            const float top = at.top(i, corner), bottom = at.bottom(i, corner);
            SEGEXPORT_UNROLL
            for (int j = 0; j < kTile; ++j) most[j][i] = larger(at.value(j, top, bottom), most[j][i]);
        }
    }

    SEGEXPORT_EVERYWHERE void add(const float corner[4]) {
        SEGEXPORT_UNROLL
        for (int i = 0; i < kTile; ++i) {
            const float top = at.top(i, corner), bottom = at.bottom(i, corner);
            SEGEXPORT_UNROLL
            for (int j = 0; j < kTile; ++j) sum[j][i] = with_term(sum[j][i], at.value(j, top, bottom), most[j][i]);
        }
    }

    SEGEXPORT_EVERYWHERE void write(float* confidence, long long stride, int rows, int columns) const {
        SEGEXPORT_UNROLL
        for (int j = 0; j < kTile; ++j) {
            SEGEXPORT_UNROLL
            for (int i = 0; i < kTile; ++i) {
                if (j < rows && i < columns) confidence[j * stride + i] = divided(1.0F, sum[j][i]);
            }
        }
    }
};

// What one thread does: the pixels that class_map_thread gives it. confidence: [images, out_height, out_width].
template <typename Logit>
SEGEXPORT_EVERYWHERE void confidence_thread(const Logit* __restrict__ logits, int classes, int height, int width,
                                            float* __restrict__ confidence, int out_height, int out_width,
                                            unsigned block, unsigned thread, unsigned image) {
    const Pieces rows(height, out_height), columns(width, out_width);
    const unsigned long long index = static_cast<unsigned long long>(block) * kThreads + thread;
    if (index >= static_cast<unsigned long long>(rows.count) * columns.count) return;
    const Place place(index, columns.count);
    const int y = rows.start(place.row), y_end = rows.start(place.row + 1);
    const int x = columns.start(place.column), x_end = columns.start(place.column + 1);
    if (y >= y_end || x >= x_end) return;
    const Corners<Logit> first(logits + image * (static_cast<long long>(classes) * height * width),
                               source_of(y, height, rows.scale).low, source_of(x, width, columns.scale).low, height,
                               width);
    confidence += image * (static_cast<long long>(out_height) * out_width);
    for (int j = y; j < y_end; j += kTile) {
        for (int i = x; i < x_end; i += kTile) {
            SoftTile tile(j, i, height, width, rows.scale, columns.scale);
            float v[4];
            Corners<Logit> corners = first;
            SEGEXPORT_UNROLL_BATCH
            for (int c = 0; c < classes; ++c, corners.advance(1)) {
                corners.read(0, v);
                tile.raise(v);
            }
            corners = first;
            SEGEXPORT_UNROLL_BATCH
            for (int c = 0; c < classes; ++c, corners.advance(1)) {
                corners.read(0, v);
                tile.add(v);
            }
            tile.write(confidence + static_cast<long long>(j) * out_width + i, out_width, y_end - j, x_end - i);
        }
    }
}

#if defined(__CUDACC__)
template <typename Logit>
__global__ void __launch_bounds__(kThreads)
    confidence_kernel(const Logit* __restrict__ logits, int classes, int height, int width,
                      float* __restrict__ confidence, int out_height, int out_width) {
    confidence_thread(logits, classes, height, width, confidence, out_height, out_width, blockIdx.x, threadIdx.x,
                      blockIdx.z);
}
#endif

}  // namespace class_map_detail

#if defined(__CUDACC__)

// Starts the confidences of a batch on `stream`; returns what the launch did. class_map_cuda with the same logits
// starts the class maps that belong to them.
//
// confidence: device memory, float32 [n, out_height, out_width], written. All else as for class_map_cuda.
template <typename Logit>
cudaError_t confidence_cuda(const Logit* logits, int n, int classes, int height, int width, float* confidence,
                            int out_height, int out_width, cudaStream_t stream) {
    dim3 grid;
    if (!class_map_detail::launch_grid(n, classes, height, width, out_height, out_width, grid)) {
        return cudaErrorInvalidValue;
    }
    if (n == 0) return cudaSuccess;
    class_map_detail::confidence_kernel<<<grid, class_map_detail::kThreads, 0, stream>>>(
        logits, classes, height, width, confidence, out_height, out_width);
    return cudaGetLastError();
}

inline cudaError_t confidence_cuda(const __half* logits, int n, int classes, int height, int width, float* confidence,
                                   int out_height, int out_width, cudaStream_t stream) {
    return confidence_cuda(reinterpret_cast<const Half*>(logits), n, classes, height, width, confidence, out_height,
                           out_width, stream);
}

#endif

}  // namespace segexport

#endif  // SEGEXPORT_CONFIDENCE_CUDA_HPP
