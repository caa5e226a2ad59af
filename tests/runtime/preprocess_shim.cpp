// Preprocessing as C functions for ctypes: the CPU's, and the threads of the CUDA kernels run one after another.

#include "segexport/preprocess.hpp"
#include "segexport/preprocess_cuda.hpp"

namespace detail = segexport::preprocess_detail;

extern "C" {

struct Image {
    const std::uint8_t *data, *chroma;
    std::int64_t stride, chroma_stride;
    std::int32_t height, width, format, yuv;
};

struct Result {
    std::uint8_t* data;
    std::int32_t height, width, order, resample;
};

}  // extern "C"

namespace {

segexport::ImageView view_of(const Image& image) {
    segexport::ImageView view;
    view.data = image.data;
    view.chroma = image.chroma;
    view.stride = image.stride;
    view.chroma_stride = image.chroma_stride;
    view.height = image.height;
    view.width = image.width;
    view.format = static_cast<segexport::PixelFormat>(image.format);
    view.yuv = static_cast<segexport::Yuv>(image.yuv);
    return view;
}

}  // namespace

extern "C" {

void preprocess(const Image* image, const Result* result, std::int32_t threads) {
    segexport::Workers workers(threads);
    segexport::Preprocess preprocess({result->height, result->width},
                                     static_cast<segexport::PixelFormat>(result->order), result->resample);
    preprocess(view_of(*image), result->data, workers);
}

void preprocess_by_threads(const Image* image, const Result* result) {
    const detail::ResizePlan plan({image->height, image->width}, {result->height, result->width},
                                  static_cast<segexport::PixelFormat>(result->order), result->resample);
    std::vector<unsigned> between(plan.between());
    plan.run(view_of(*image), plan.tables().data(), between.data(), result->data,
             [](unsigned threads, const auto& body) {
                 for (unsigned block = 0; block < (threads - 1) / detail::kResizeThreads + 1; ++block) {
                     for (unsigned thread = 0; thread < detail::kResizeThreads; ++thread) body(block, thread);
                 }
             });
}

// yuv: an array of pixels, [count, 3]. rgb: likewise, written.
void yuv_to_rgb(std::int32_t standard, const std::uint8_t* yuv, std::uint8_t* rgb, std::int64_t count) {
    const detail::YuvWeights weights = detail::yuv_weights(static_cast<segexport::Yuv>(standard));
    for (std::int64_t i = 0; i < count; ++i, yuv += 3, rgb += 3) {
        int channels[3];
        detail::yuv_to_rgb(weights, yuv[0], yuv[1], yuv[2], channels);
        for (int c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>(channels[c]);
    }
}

}  // extern "C"
