// Preprocessing on NVIDIA GPUs: an image in the GPU's memory, in any format that a camera gives, to uint8
// [height, width, 3] in the network's channel order, resized as Pillow's Image.resize does it. The result is
// preprocess.hpp's, bit for bit: the same tables, made on the host, and whole numbers from there on.
//
// One kernel for each axis that changes size, the first of which reads the image as it is (NV12 becomes RGB on the
// way), the last of which writes the network's input; between two of them lies an image of one 32-bit word a pixel. A
// thread makes one pixel. What a kernel's thread does is an object's call operator, which any C++17 compiler takes:
// without nvcc this header has those alone, and a test runs the same threads one after another (preprocess_test.cpp).

#ifndef SEGEXPORT_PREPROCESS_CUDA_HPP
#define SEGEXPORT_PREPROCESS_CUDA_HPP

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "segexport/everywhere.hpp"
#include "segexport/image.hpp"
#include "segexport/pixels.hpp"
#include "segexport/resize_taps.hpp"

#if defined(__CUDACC__)
#include <cuda_runtime_api.h>
#endif

namespace segexport {

namespace preprocess_detail {

constexpr unsigned kResizeThreads = 128;  // of a block

// What lies between two kernels: a word for each pixel, its first channel in the lowest byte.
struct WordPixels {
    unsigned* data;
    int width;

    SEGEXPORT_EVERYWHERE void read(int y, int x, int channels[3]) const {
        const unsigned word = data[static_cast<long long>(y) * width + x];
        channels[0] = static_cast<int>(word & 255u);
        channels[1] = static_cast<int>(word >> 8 & 255u);
        channels[2] = static_cast<int>(word >> 16 & 255u);
    }
    SEGEXPORT_EVERYWHERE void write(int y, int x, const int channels[3]) const {
        data[static_cast<long long>(y) * width + x] = static_cast<unsigned>(channels[0]) |
                                                      static_cast<unsigned>(channels[1]) << 8 |
                                                      static_cast<unsigned>(channels[2]) << 16;
    }
};

// The network's input.
struct BytePixels {
    unsigned char* data;
    int width;

    SEGEXPORT_EVERYWHERE void write(int y, int x, const int channels[3]) const {
        unsigned char* const to = data + (static_cast<long long>(y) * width + x) * 3;
        for (int c = 0; c < 3; ++c) to[c] = static_cast<unsigned char>(channels[c]);
    }
};

// A thread's pixel of an image; false: it has none.
struct ThreadPixel {
    int y, x;

    SEGEXPORT_EVERYWHERE bool find(Size size, unsigned block, unsigned thread) {
        const unsigned index = block * kResizeThreads + thread, width = static_cast<unsigned>(size.width);
        y = static_cast<int>(index / width);
        x = static_cast<int>(index % width);
        return y < size.height;
    }
};

// Taps, wherever their tables are.
struct TapsView {
    const int *first, *count, *weights;
    int most;
};

// Each thread: one pixel of an image that is resampled along its rows (across) or columns.
template <typename Source, typename Target, bool across>
struct Resample {
    Source source;
    Target target;
    TapsView taps;
    Size size;  // of the target

    SEGEXPORT_EVERYWHERE void operator()(unsigned block, unsigned thread) const {
        ThreadPixel pixel;
        if (!pixel.find(size, block, thread)) return;
        const int at = across ? pixel.x : pixel.y;
        const int first = taps.first[at], count = taps.count[at];
        const int* const weights = taps.weights + static_cast<long long>(at) * taps.most;
        int sums[3] = {kWeightHalf, kWeightHalf, kWeightHalf};
        for (int t = 0; t < count; ++t) {
            int channels[3];
            source.read(across ? pixel.y : first + t, across ? first + t : pixel.x, channels);
            for (int c = 0; c < 3; ++c) sums[c] += weights[t] * channels[c];
        }
        for (int c = 0; c < 3; ++c) sums[c] = grey_level(sums[c]);
        target.write(pixel.y, pixel.x, sums);
    }
};

// Each thread: one pixel, which is one of the source.
template <typename Source>
struct Pick {
    Source source;
    BytePixels target;
    const int *rows, *columns;
    Size size;

    SEGEXPORT_EVERYWHERE void operator()(unsigned block, unsigned thread) const {
        ThreadPixel pixel;
        if (!pixel.find(size, block, thread)) return;
        int channels[3];
        source.read(rows[pixel.y], columns[pixel.x], channels);
        target.write(pixel.y, pixel.x, channels);
    }
};

// The kernels that take images of one size to another, and their tables.
class ResizePlan {
   public:
    // Throws ContractError: no such size or filter.
    ResizePlan(Size source, Size out, PixelFormat order, int resample) : source_(source), out_(out), order_(order) {
        check_resize(out, order, resample);
        pick_ = resample == kNearest || source == out;
        rows_first_ = rows_before_columns(source, out);
        if (pick_) {
            rows_.first = append(nearest_inputs(source.height, out.height));
            columns_.first = append(nearest_inputs(source.width, out.width));
            return;
        }
        if (source.height != out.height) rows_ = append(make_taps(source.height, out.height, resample));
        if (source.width != out.width) columns_ = append(make_taps(source.width, out.width, resample));
    }

    Size source() const { return source_; }
    const std::vector<int>& tables() const { return tables_; }

    // Words that lie between two kernels; 0 if there is one.
    std::size_t between() const {
        const Size size = between_size();
        return rows_.most != 0 && columns_.most != 0 ? static_cast<std::size_t>(size.height) * size.width : 0;
    }

    // Calls start(threads, body) for each kernel, in order: body(block, thread) is to be called for every thread of
    // enough blocks of kResizeThreads for `threads`.
    //
    // image: of the plan's source size. tables, between: as `tables` and `between` say, where the threads can read and
    // write them. dst: uint8 [height, width, 3].
    template <typename Start>
    void run(const ImageView& image, const int* tables, unsigned* between, unsigned char* dst, Start&& start) const {
        const BytePixels target{dst, out_.width};
        const unsigned threads = static_cast<unsigned>(out_.height) * static_cast<unsigned>(out_.width);
        with_pixels(image, order_, [&](const auto& pixels) {
            using Source = std::decay_t<decltype(pixels)>;
            const TapsView rows = view(rows_, tables), columns = view(columns_, tables);
            if (pick_) {
                start(threads, Pick<Source>{pixels, target, rows.first, columns.first, out_});
            } else if (columns_.most == 0) {
                start(threads, Resample<Source, BytePixels, false>{pixels, target, rows, out_});
            } else if (rows_.most == 0) {
                start(threads, Resample<Source, BytePixels, true>{pixels, target, columns, out_});
            } else {
                const Size middle = between_size();
                const WordPixels words{between, middle.width};
                if (rows_first_) {
                    start(static_cast<unsigned>(this->between()),
                          Resample<Source, WordPixels, false>{pixels, words, rows, middle});
                    start(threads, Resample<WordPixels, BytePixels, true>{words, target, columns, out_});
                } else {
                    start(static_cast<unsigned>(this->between()),
                          Resample<Source, WordPixels, true>{pixels, words, columns, middle});
                    start(threads, Resample<WordPixels, BytePixels, false>{words, target, rows, out_});
                }
            }
        });
    }

   private:
    // Where an axis's tables begin; `most` is 0 where it has no taps.
    struct Offsets {
        std::size_t first = 0, count = 0, weights = 0;
        int most = 0;
    };

    std::size_t append(const std::vector<int>& table) {
        const std::size_t start = tables_.size();
        tables_.insert(tables_.end(), table.begin(), table.end());
        return start;
    }

    Offsets append(const Taps& taps) {
        Offsets offsets;
        offsets.first = append(taps.first);
        offsets.count = append(taps.count);
        offsets.weights = append(taps.weights);
        offsets.most = taps.most;
        return offsets;
    }

    static TapsView view(const Offsets& at, const int* tables) {
        return {tables + at.first, tables + at.count, tables + at.weights, at.most};
    }

    Size between_size() const {
        return rows_first_ ? Size{out_.height, source_.width} : Size{source_.height, out_.width};
    }

    Size source_, out_;
    PixelFormat order_;
    bool pick_ = false, rows_first_ = false;
    std::vector<int> tables_;
    Offsets rows_, columns_;
};

#if defined(__CUDACC__)

template <typename Body>
__global__ void __launch_bounds__(kResizeThreads) resize_kernel(const Body body) {
    body(blockIdx.x, threadIdx.x);
}

// Memory of the current GPU. Move-only.
template <typename T>
class ResizeMemory {
   public:
    // Throws EngineUnavailable: the GPU's memory is full, or there is no GPU.
    explicit ResizeMemory(std::size_t count) {
        if (count != 0) check(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T)), "cudaMalloc");
    }
    ResizeMemory(ResizeMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
    ResizeMemory& operator=(ResizeMemory&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    ResizeMemory(const ResizeMemory&) = delete;
    ResizeMemory& operator=(const ResizeMemory&) = delete;
    ~ResizeMemory() { cudaFree(data_); }

    T* get() const { return data_; }

    static void check(cudaError_t error, const char* call) {
        if (error == cudaSuccess) return;
        cudaGetLastError();  // or the next call would report it again
        throw EngineUnavailable(std::string("preprocessing on the GPU failed: ") + call + ": " +
                                cudaGetErrorString(error));
    }

   private:
    T* data_ = nullptr;
};

#endif

}  // namespace preprocess_detail

#if defined(__CUDACC__)

// Preprocessing of images of one size on the GPU that is current when it is made. Move-only. Allocates when it is made,
// and never again. One frame at a time: two streams must not run the same object's kernels at once.
class PreprocessCuda {
   public:
    // source: size of the images. out, order, resample: as Preprocess.
    //
    // Throws ContractError: no such size, order or filter. EngineUnavailable: a call of CUDA that failed.
    PreprocessCuda(Size source, Size out, PixelFormat order, int resample)
        : plan_(source, out, order, resample), tables_(plan_.tables().size()), between_(plan_.between()) {
        using Memory = preprocess_detail::ResizeMemory<int>;
        Memory::check(cudaMemcpy(tables_.get(), plan_.tables().data(), plan_.tables().size() * sizeof(int),
                                 cudaMemcpyHostToDevice),
                      "cudaMemcpy");
        Memory::check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");  // for streams that do not wait for it
    }

    Size source() const { return plan_.source(); }

    // Puts the kernels on `stream` and returns; they can be captured in a graph once they have run before (the first
    // run loads them). What a launch failed with is returned, cudaErrorInvalidValue for an image of another size.
    //
    // image: in the GPU's memory, any format; it passes check(). dst: the GPU's memory, uint8
    // [out.height, out.width, 3].
    cudaError_t enqueue(const ImageView& image, unsigned char* dst, cudaStream_t stream) const {
        if (image.size() != plan_.source() || dst == nullptr) return cudaErrorInvalidValue;
        cudaError_t error = cudaSuccess;
        plan_.run(image, tables_.get(), between_.get(), dst, [&](unsigned threads, const auto& body) {
            if (error != cudaSuccess) return;
            const unsigned blocks = (threads - 1) / preprocess_detail::kResizeThreads + 1;
            preprocess_detail::resize_kernel<<<blocks, preprocess_detail::kResizeThreads, 0, stream>>>(body);
            error = cudaGetLastError();
        });
        return error;
    }

   private:
    preprocess_detail::ResizePlan plan_;
    preprocess_detail::ResizeMemory<int> tables_;
    preprocess_detail::ResizeMemory<unsigned> between_;
};

#endif

}  // namespace segexport

#endif  // SEGEXPORT_PREPROCESS_CUDA_HPP
