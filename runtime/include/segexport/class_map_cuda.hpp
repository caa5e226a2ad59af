// Class map of a segmentation network's logits at any size, on NVIDIA GPUs: bilinear upsampling and argmax in one
// kernel. This one file is compiled by nvcc for C++ programs, by NVRTC for Python, and by any C++17 compiler, which
// then runs the same threads one after another (tests) and shares the arithmetic (class_map.hpp).
//
// The result is class_map.hpp's, bit for bit: the same float32 operations in the same order, never contracted to
// multiply-adds whatever the compiler's flags (except --use_fast_math, which flushes denormals: do not use it), and the
// same two shortcuts. Logits are planar, [n, classes, height, width], as TensorRT hands them out: for one class, the
// cells of neighbouring threads lie beside each other and are read together. With classes innermost every thread would
// read a line of its own.
//
// A thread takes the output pixels of one cell, those between the same four logits: at the usual 4 x 4 pixels to a
// cell, 4 reads serve 16 pixels. It goes through the classes once for the largest at each corner, and is done if all
// four agree, as they do in most of a picture. If not, it goes through them again and interpolates those that can win.

#ifndef SEGEXPORT_CLASS_MAP_CUDA_HPP
#define SEGEXPORT_CLASS_MAP_CUDA_HPP

#if defined(__CUDACC__)
#define SEGEXPORT_EVERYWHERE __host__ __device__ __forceinline__
#else
#define SEGEXPORT_EVERYWHERE inline
#endif
#if defined(__CUDA_ARCH__)
#define SEGEXPORT_UNROLL _Pragma("unroll")
#define SEGEXPORT_UNROLL_BATCH _Pragma("unroll 4")  // kBatch
#define SEGEXPORT_ROLLED _Pragma("unroll 1")
#else
#define SEGEXPORT_UNROLL
#define SEGEXPORT_UNROLL_BATCH
#define SEGEXPORT_ROLLED
#endif

#if !defined(__CUDACC_RTC__)  // NVRTC has no standard library, and needs none
#include <cmath>
#include <cstring>
#endif
#if defined(__CUDACC__) && !defined(__CUDACC_RTC__)
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#endif

namespace segexport {

constexpr int kMaxClasses = 255;
static_assert(kMaxClasses < 256, "a class id is one byte");

// A float16 as its bits.
struct Half {
    unsigned short bits;
};

namespace class_map_detail {

constexpr int kThreads = 64;  // of a block; few, so that small maps spread over large GPUs
constexpr int kReach = 8;     // a thread takes at most that many pixels of a cell, along each axis
constexpr int kTile = 4;      // and keeps kTile x kTile of them in registers while it goes through the classes
constexpr int kBatch = 4;     // classes whose reads are under way together

SEGEXPORT_EVERYWHERE float plus(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

SEGEXPORT_EVERYWHERE float minus(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fsub_rn(a, b);
#else
    return a - b;
#endif
}

SEGEXPORT_EVERYWHERE float times(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

SEGEXPORT_EVERYWHERE float divided(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}

SEGEXPORT_EVERYWHERE float below_all() {
#if defined(__CUDA_ARCH__)
    return __int_as_float(static_cast<int>(0xff800000u));
#else
    return -HUGE_VALF;
#endif
}

SEGEXPORT_EVERYWHERE float widened(float logit) { return logit; }

// Every float16 is a float32.
SEGEXPORT_EVERYWHERE float widened(Half logit) {
    float value;
#if defined(__CUDA_ARCH__)
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(logit.bits));
#else
    const unsigned sign = (logit.bits & 0x8000u) << 16, rest = logit.bits & 0x7fffu;
    if (rest < 0x0400u) {  // zero and denormals: multiples of 2^-24
        value = static_cast<float>(rest) * (1.0F / 16777216.0F);
        return sign != 0 ? -value : value;
    }
    const bool finite = rest < 0x7c00u;
    const unsigned bits = sign | (finite ? (rest << 13) + (112u << 23) : 0x7f800000u | (rest & 0x03ffu) << 13);
    std::memcpy(&value, &bits, sizeof value);
#endif
    return value;
}

// Where output index i of an axis lies between the inputs: `weight` of the way from the lower one, `low`, to the next.
struct Source {
    int low;
    float weight;
};

SEGEXPORT_EVERYWHERE float source_scale(int in, int out) {
    return divided(static_cast<float>(in), static_cast<float>(out));
}

SEGEXPORT_EVERYWHERE Source source_of(int i, int in, float scale) {
    const float middle = minus(times(scale, plus(static_cast<float>(i), 0.5F)), 0.5F);
    const float at = middle > 0.0F ? middle : 0.0F;
    const int floor = static_cast<int>(at);
    const int low = floor < in - 1 ? floor : in - 1;
    return {low, low + 1 < in ? minus(at, static_cast<float>(low)) : 0.0F};
}

// (1 - w) * a + w * b, where `rest` is 1 - w.
SEGEXPORT_EVERYWHERE float between(float rest, float a, float w, float b) { return plus(times(rest, a), times(w, b)); }

// How an axis of outputs is cut into the pieces that threads take: each is a cell, or a part of a large one.
struct Pieces {
    int in, out;
    int parts;       // of a cell
    unsigned count;  // some may be empty
    float scale;

    SEGEXPORT_EVERYWHERE Pieces(int in_, int out_)
        : in(in_),
          out(out_),
          parts(out < in ? 1 : (out - 1) / in / kReach + 1),
          count(out < in ? static_cast<unsigned>(out) : (static_cast<unsigned>(in) + 1) * static_cast<unsigned>(parts)),
          scale(source_scale(in, out)) {}

    // First output of a cell; cell c begins at input c - 1. What lies before the first input is cell 0: its corners are
    // those of cell 1, and as one cell the two would have half as many outputs again as the others.
    SEGEXPORT_EVERYWHERE int cell_start(int cell) const {
        if (cell <= 0) return 0;
        if (cell > in) return out;
        const float ratio = divided(static_cast<float>(out), static_cast<float>(in));
        const float at = minus(times(minus(static_cast<float>(cell), 0.5F), ratio), 0.5F);
        int start = at > 0.0F ? static_cast<int>(ceilf(at)) : 0;
        start = start < out ? start : out;
        if (cell == 1) return start;
        // That was rounded, and may be one off: what counts is where the outputs find their inputs.
        while (start > 0 && source_of(start - 1, in, scale).low >= cell - 1) --start;
        while (start < out && source_of(start, in, scale).low < cell - 1) ++start;
        return start;
    }

    // First output of a piece; `start(count)` is the end.
    SEGEXPORT_EVERYWHERE int start(unsigned piece) const {
        if (out < in) return static_cast<int>(piece);  // fewer outputs than inputs: each has a cell of its own
        if (parts == 1) return cell_start(static_cast<int>(piece));
        const int cell = static_cast<int>(piece) / parts, part = static_cast<int>(piece) % parts;
        const int first = cell_start(cell), end = cell_start(cell + 1);
        const int start = first + (end - first + parts - 1) / parts * part;
        return start < end ? start : end;
    }
};

// Row and column of a piece, given its place in an image's order of threads.
struct Place {
    unsigned row, column;

    SEGEXPORT_EVERYWHERE Place(unsigned long long index, unsigned columns) {
        if (index >> 32 == 0) {  // nearly always, and the shorter division
            row = static_cast<unsigned>(index) / columns;
            column = static_cast<unsigned>(index) % columns;
        } else {
            row = static_cast<unsigned>(index / columns);
            column = static_cast<unsigned>(index % columns);
        }
    }
};

// The logits at the four corners of a cell: top left, top right, bottom left, bottom right.
template <typename Logit>
struct Corners {
    const Logit* at[4];  // of the class that `read(0, ...)` reads
    long long plane;     // from a class to the next

    SEGEXPORT_EVERYWHERE Corners(const Logit* image, int y, int x, int height, int width)
        : plane(static_cast<long long>(height) * width) {
        at[0] = image + static_cast<long long>(y) * width + x;
        at[1] = at[0] + (x + 1 < width ? 1 : 0);
        at[2] = at[0] + (y + 1 < height ? width : 0);
        at[3] = at[1] + (y + 1 < height ? width : 0);
    }

    SEGEXPORT_EVERYWHERE void read(int ahead, float corner[4]) const {
        SEGEXPORT_UNROLL
        for (int k = 0; k < 4; ++k) corner[k] = widened(at[k][ahead * plane]);
    }

    SEGEXPORT_EVERYWHERE void advance(int classes) {
        SEGEXPORT_UNROLL
        for (int k = 0; k < 4; ++k) at[k] += classes * plane;
    }
};

SEGEXPORT_EVERYWHERE float largest(const float v[4]) { return fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])); }
SEGEXPORT_EVERYWHERE float smallest(const float v[4]) { return fminf(fminf(v[0], v[1]), fminf(v[2], v[3])); }

// The class that is the largest at all four corners, or -1; `bound` gets the largest smallest corner.
template <typename Logit>
SEGEXPORT_EVERYWHERE int agreed(Corners<Logit> corners, int classes, float& bound) {
    float best[4];
    int id[4] = {0, 0, 0, 0};
    corners.read(0, best);
    bound = smallest(best);
    SEGEXPORT_UNROLL_BATCH
    for (int c = 1; c < classes; ++c) {
        float v[4];
        corners.advance(1);
        corners.read(0, v);
        bound = fmaxf(bound, smallest(v));
        SEGEXPORT_UNROLL
        for (int k = 0; k < 4; ++k) {
            const bool more = v[k] > best[k];
            best[k] = more ? v[k] : best[k];
            id[k] = more ? c : id[k];
        }
    }
    return id[0] == id[1] && id[0] == id[2] && id[0] == id[3] ? id[0] : -1;
}

// Where kTile x kTile pixels lie in their cell.
struct Weights {
    float wx[kTile], wy[kTile], rest_x[kTile], rest_y[kTile];

    SEGEXPORT_EVERYWHERE Weights(int y, int x, int height, int width, float scale_y, float scale_x) {
        SEGEXPORT_UNROLL
        for (int i = 0; i < kTile; ++i) {
            wy[i] = source_of(y + i, height, scale_y).weight;
            wx[i] = source_of(x + i, width, scale_x).weight;
            rest_y[i] = minus(1.0F, wy[i]);
            rest_x[i] = minus(1.0F, wx[i]);
        }
    }

    // A class's logit on the edges above and below the pixels of column i, and between the two in row j.
    SEGEXPORT_EVERYWHERE float top(int i, const float corner[4]) const {
        return between(rest_x[i], corner[0], wx[i], corner[1]);
    }
    SEGEXPORT_EVERYWHERE float bottom(int i, const float corner[4]) const {
        return between(rest_x[i], corner[2], wx[i], corner[3]);
    }
    SEGEXPORT_EVERYWHERE float value(int j, float top, float bottom) const {
        return between(rest_y[j], top, wy[j], bottom);
    }
};

// Interpolates kTile x kTile pixels of a cell, one class after another.
struct Tile {
    Weights at;
    float best[kTile][kTile];
    int id[kTile][kTile];

    SEGEXPORT_EVERYWHERE Tile(int y, int x, int height, int width, float scale_y, float scale_x)
        : at(y, x, height, width, scale_y, scale_x) {}

    SEGEXPORT_EVERYWHERE void start() {
        SEGEXPORT_UNROLL
        for (int j = 0; j < kTile; ++j) {
            SEGEXPORT_UNROLL
            for (int i = 0; i < kTile; ++i) {
                best[j][i] = below_all();
                id[j][i] = 0;
            }
        }
    }

    SEGEXPORT_EVERYWHERE void contend(int c, const float corner[4]) {
        SEGEXPORT_UNROLL
        for (int i = 0; i < kTile; ++i) {
            const float top = at.top(i, corner), bottom = at.bottom(i, corner);
            SEGEXPORT_UNROLL
            for (int j = 0; j < kTile; ++j) {
                const float value = at.value(j, top, bottom);
                const bool more = value > best[j][i];
                best[j][i] = more ? value : best[j][i];
                id[j][i] = more ? c : id[j][i];
            }
        }
    }

    SEGEXPORT_EVERYWHERE void write(unsigned char* map, long long stride, int rows, int columns) const {
        SEGEXPORT_UNROLL
        for (int j = 0; j < kTile; ++j) {
            SEGEXPORT_UNROLL
            for (int i = 0; i < kTile; ++i) {
                if (j < rows && i < columns) map[j * stride + i] = static_cast<unsigned char>(id[j][i]);
            }
        }
    }
};

// Lets the classes contend that are not below `bound` at every corner, in rising order.
template <typename Logit>
SEGEXPORT_EVERYWHERE void contest(Corners<Logit> corners, int classes, float bound, Tile& tile) {
    tile.start();
    for (int first = 0; first < classes; first += kBatch, corners.advance(kBatch)) {
        unsigned possible = 0;
        float v[4];
        if (first + kBatch <= classes) {
            SEGEXPORT_UNROLL
            for (int b = 0; b < kBatch; ++b) {
                corners.read(b, v);
                possible |= static_cast<unsigned>(!(largest(v) < bound)) << b;
            }
        } else {
            SEGEXPORT_ROLLED
            for (int b = 0; first + b < classes; ++b) {
                corners.read(b, v);
                possible |= static_cast<unsigned>(!(largest(v) < bound)) << b;
            }
        }
        for (int b = 0; possible != 0; ++b, possible >>= 1) {
            if ((possible & 1u) == 0) continue;
            corners.read(b, v);
            tile.contend(first + b, v);
        }
    }
}

// What one thread does. logits: [images, classes, height, width], finite. map: [images, out_height, out_width].
template <typename Logit>
SEGEXPORT_EVERYWHERE void class_map_thread(const Logit* __restrict__ logits, int classes, int height, int width,
                                           unsigned char* __restrict__ map, int out_height, int out_width,
                                           unsigned block, unsigned thread, unsigned image) {
    const Pieces rows(height, out_height), columns(width, out_width);
    const unsigned long long index = static_cast<unsigned long long>(block) * kThreads + thread;
    if (index >= static_cast<unsigned long long>(rows.count) * columns.count) return;
    const Place place(index, columns.count);
    const int y = rows.start(place.row), y_end = rows.start(place.row + 1);
    const int x = columns.start(place.column), x_end = columns.start(place.column + 1);
    if (y >= y_end || x >= x_end) return;

    const Corners<Logit> corners(logits + image * (static_cast<long long>(classes) * height * width),
                                 source_of(y, height, rows.scale).low, source_of(x, width, columns.scale).low, height,
                                 width);
    map += image * (static_cast<long long>(out_height) * out_width);
    float bound;
    const int id = agreed(corners, classes, bound);
    if (id >= 0) {
        for (int j = y; j < y_end; ++j) {
            unsigned char* const line = map + static_cast<long long>(j) * out_width;
            for (int i = x; i < x_end; ++i) line[i] = static_cast<unsigned char>(id);
        }
        return;
    }
    for (int j = y; j < y_end; j += kTile) {
        for (int i = x; i < x_end; i += kTile) {
            Tile tile(j, i, height, width, rows.scale, columns.scale);
            contest(corners, classes, bound, tile);
            tile.write(map + static_cast<long long>(j) * out_width + i, out_width, y_end - j, x_end - i);
        }
    }
}

// Blocks that one image takes.
SEGEXPORT_EVERYWHERE unsigned long long blocks(int height, int width, int out_height, int out_width) {
    const unsigned long long pieces = Pieces(height, out_height).count * 1ull * Pieces(width, out_width).count;
    return (pieces + kThreads - 1) / kThreads;
}

#if defined(__CUDACC__)
template <typename Logit>
__global__ void __launch_bounds__(kThreads)
    class_map_kernel(const Logit* __restrict__ logits, int classes, int height, int width,
                     unsigned char* __restrict__ map, int out_height, int out_width) {
    class_map_thread(logits, classes, height, width, map, out_height, out_width, blockIdx.x, threadIdx.x, blockIdx.z);
}
#endif

}  // namespace class_map_detail

#if defined(__CUDACC__) && !defined(__CUDACC_RTC__)

namespace class_map_detail {

// The blocks of a launch; false where none can serve those sizes.
inline bool launch_grid(int n, int classes, int height, int width, int out_height, int out_width, dim3& grid) {
    constexpr int kLargest = 1 << 24;  // beyond it float32 no longer counts pixels
    const int sides[4] = {height, width, out_height, out_width};
    for (int side : sides) {
        if (side < 1 || side > kLargest) return false;
    }
    const unsigned long long count = blocks(height, width, out_height, out_width);
    if (n < 0 || n > 65535 || classes < 1 || classes > kMaxClasses || count > 0x7fffffffull) return false;
    grid = dim3(static_cast<unsigned>(count), 1, static_cast<unsigned>(n));
    return true;
}

}  // namespace class_map_detail

// Starts the class maps of a batch on `stream`; returns what the launch did.
//
// logits: device memory, float32 or float16 [n, classes, height, width], finite. map: device memory, uint8
// [n, out_height, out_width], written. classes: 1 to 255. n: up to 65535. Sizes: 1 to 2^24 along a side.
template <typename Logit>
cudaError_t class_map_cuda(const Logit* logits, int n, int classes, int height, int width, unsigned char* map,
                           int out_height, int out_width, cudaStream_t stream) {
    dim3 grid;
    if (!class_map_detail::launch_grid(n, classes, height, width, out_height, out_width, grid)) {
        return cudaErrorInvalidValue;
    }
    if (n == 0) return cudaSuccess;
    class_map_detail::class_map_kernel<<<grid, class_map_detail::kThreads, 0, stream>>>(logits, classes, height, width,
                                                                                        map, out_height, out_width);
    return cudaGetLastError();
}

inline cudaError_t class_map_cuda(const __half* logits, int n, int classes, int height, int width, unsigned char* map,
                                  int out_height, int out_width, cudaStream_t stream) {
    return class_map_cuda(reinterpret_cast<const Half*>(logits), n, classes, height, width, map, out_height, out_width,
                          stream);
}

#endif

}  // namespace segexport

#if defined(__CUDACC_RTC__)
// For Python: names without mangling.
extern "C" __global__ void __launch_bounds__(segexport::class_map_detail::kThreads)
    segexport_class_map_float32(const float* __restrict__ logits, int classes, int height, int width,
                                unsigned char* __restrict__ map, int out_height, int out_width) {
    segexport::class_map_detail::class_map_thread(logits, classes, height, width, map, out_height, out_width,
                                                  blockIdx.x, threadIdx.x, blockIdx.z);
}

extern "C" __global__ void __launch_bounds__(segexport::class_map_detail::kThreads)
    segexport_class_map_float16(const segexport::Half* __restrict__ logits, int classes, int height, int width,
                                unsigned char* __restrict__ map, int out_height, int out_width) {
    segexport::class_map_detail::class_map_thread(logits, classes, height, width, map, out_height, out_width,
                                                  blockIdx.x, threadIdx.x, blockIdx.z);
}
#endif

#endif  // SEGEXPORT_CLASS_MAP_CUDA_HPP
