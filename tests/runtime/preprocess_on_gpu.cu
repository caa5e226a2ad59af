// Preprocessing on a GPU against the same kernels' threads on the CPU, once launched and once from a CUDA graph.
// Returns 77, with the reason, where there is no GPU.

#include <cstdint>
#include <iostream>
#include <random>

#include "segexport/preprocess_cuda.hpp"

namespace {

namespace detail = segexport::preprocess_detail;
using segexport::ImageView;
using segexport::PixelFormat;
using segexport::Size;
using Memory = detail::ResizeMemory<unsigned char>;

struct Case {
    Size source, out;
    int padding;
};

void check(cudaError_t error, const char* call) { Memory::check(error, call); }

// An image at the start of `bytes`, wherever those are; nv12's chroma is behind the luma.
ImageView view_of(const Case& one, PixelFormat format, const unsigned char* bytes) {
    const bool three = format == PixelFormat::rgb || format == PixelFormat::bgr;
    const int channels = format == PixelFormat::nv12 ? 1 : three ? 3 : 4;
    const std::ptrdiff_t stride = one.source.width * channels + one.padding;
    if (format == PixelFormat::nv12) {
        return ImageView::nv12(bytes, bytes + stride * one.source.height, one.source.height, one.source.width, stride,
                               stride, segexport::Yuv::bt709_limited);
    }
    return ImageView::packed(bytes, one.source.height, one.source.width, format, stride);
}

bool equal(const Case& one, PixelFormat format, PixelFormat order, int resample, cudaStream_t stream) {
    const std::size_t row = static_cast<std::size_t>(one.source.width) * 4 + one.padding;
    std::vector<unsigned char> image(row * one.source.height * 2);
    std::mt19937 bits(static_cast<unsigned>(resample));
    for (auto& byte : image) byte = static_cast<unsigned char>(bits());
    const std::size_t size = static_cast<std::size_t>(one.out.height) * one.out.width * 3;
    std::vector<unsigned char> want(size), found(size);

    const detail::ResizePlan plan(one.source, one.out, order, resample);
    std::vector<unsigned> between(plan.between());
    plan.run(view_of(one, format, image.data()), plan.tables().data(), between.data(), want.data(),
             [](unsigned threads, const auto& body) {
                 for (unsigned i = 0; i < threads; ++i) body(i / detail::kResizeThreads, i % detail::kResizeThreads);
             });

    const Memory device_image(image.size()), device_result(size);
    check(cudaMemcpy(device_image.get(), image.data(), image.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
    segexport::PreprocessCuda preprocess(one.source, one.out, order, resample);
    segexport::PreprocessCuda moved = std::move(preprocess);
    const ImageView view = view_of(one, format, device_image.get());
    const auto launch = [&] { check(moved.enqueue(view, device_result.get(), stream), "PreprocessCuda::enqueue"); };
    const auto is_equal = [&] {
        check(cudaMemcpyAsync(found.data(), device_result.get(), size, cudaMemcpyDeviceToHost, stream), "cudaMemcpy");
        check(cudaMemsetAsync(device_result.get(), 0, size, stream), "cudaMemsetAsync");
        check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
        return found == want;
    };

    launch();
    bool same = is_equal();
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    launch();
    check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    check(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
    same = is_equal() && same;
    check(cudaGraphExecDestroy(executable), "cudaGraphExecDestroy");
    check(cudaGraphDestroy(graph), "cudaGraphDestroy");
    return same;
}

}  // namespace

int main() {
    try {
        Memory probe(1);
    } catch (const segexport::EngineUnavailable& error) {
        std::cout << error.what() << "\n";
        return 77;
    }
    const Case cases[] = {{{1080, 1920}, {512, 512}, 0}, {{1920, 1080}, {512, 512}, 64}, {{360, 480}, {512, 512}, 0},
                          {{64, 96}, {64, 40}, 5},       {{64, 96}, {30, 96}, 0},        {{64, 96}, {64, 96}, 32},
                          {{2, 2}, {31, 17}, 0},         {{334, 2}, {1, 1}, 3}};
    int different = 0;
    try {
        cudaStream_t stream;
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
        for (const Case& one : cases) {
            for (int format = 0; format < 5; ++format) {
                for (int resample = 0; resample < detail::kFilters; ++resample) {
                    const PixelFormat order = resample % 2 == 0 ? PixelFormat::rgb : PixelFormat::bgr;
                    if (equal(one, static_cast<PixelFormat>(format), order, resample, stream)) continue;
                    std::cout << "differs: format " << format << ", filter " << resample << ", "
                              << segexport::to_string(one.source) << " to " << segexport::to_string(one.out) << "\n";
                    ++different;
                }
            }
        }
        check(cudaStreamDestroy(stream), "cudaStreamDestroy");
    } catch (const segexport::SegexportError& error) {
        std::cout << error.what() << "\n";
        return 1;
    }
    return different == 0 ? 0 : 1;
}
