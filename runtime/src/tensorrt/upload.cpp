#include "tensorrt/upload.hpp"

#include <cstring>
#include <string>

namespace segexport::detail {
namespace {

cudaPointerAttributes attributes_of(const Cuda& cuda, const void* memory) {
    cudaPointerAttributes attributes{};
    cuda.require(cudaPointerGetAttributes(&attributes, memory), "cudaPointerGetAttributes");
    return attributes;
}

// A part of an image, whose rows are copied.
struct Rows {
    const std::uint8_t* data;
    std::size_t stride, row, count;

    std::size_t bytes() const { return row * count; }
};

Rows pixels_of(const ImageView& image) {
    const std::size_t channels = image.format == PixelFormat::nv12                                        ? 1
                                 : image.format == PixelFormat::rgba || image.format == PixelFormat::bgra ? 4
                                                                                                          : 3;
    return {image.data, static_cast<std::size_t>(image.stride), static_cast<std::size_t>(image.width) * channels,
            static_cast<std::size_t>(image.height)};
}

Rows chroma_of(const ImageView& image) {
    return {image.chroma, static_cast<std::size_t>(image.chroma_stride),
            (static_cast<std::size_t>(image.width) + 1) / 2 * 2, (static_cast<std::size_t>(image.height) + 1) / 2};
}

}  // namespace

void require_on_gpu(const Cuda& cuda, const void* memory, const char* what) {
    if (attributes_of(cuda, memory).devicePointer == nullptr) {
        throw ContractError(std::string(what) +
                            " is said to be on the GPU and is not: pass memory of cudaMalloc, or Memory::host");
    }
}

Upload::Upload(const Cuda& cuda, PixelFormat order, int resample, std::size_t capacity)
    : cuda_(cuda), order_(order), resample_(resample) {
    pinned_.reserve(cuda_, capacity);
}

void Upload::start(const ImageView& image, Size size, std::uint8_t* input, cudaStream_t stream) {
    if (image.memory == Memory::device) {
        require_on_gpu(cuda_, image.data, "the image");
        if (image.format == PixelFormat::nv12) require_on_gpu(cuda_, image.chroma, "the image's chroma");
    }
    if (image.size() == size && image.format == order_) {
        const Rows rows = pixels_of(image);
        if (image.memory == Memory::device) {
            cuda_.copy(input, rows.row, rows.data, rows.stride, rows.row, rows.count, cudaMemcpyDeviceToDevice, stream);
        } else {
            pinned_.reserve(cuda_, rows.bytes());
            to_gpu(rows.data, rows.stride, rows.row, rows.count, input, 0, stream);
        }
        return;
    }
    if (!preparation_ || prepared_ != size) {
        preparation_.emplace(size, order_, resample_);
        prepared_ = size;
    }
    const ImageView there = image.memory == Memory::device ? image : on_gpu(image, stream);
    cuda_.require(preparation_->launch(there, input, stream), "the kernel that prepares an image");
}

// The image without padding, on its way to the GPU.
ImageView Upload::on_gpu(const ImageView& image, cudaStream_t stream) {
    const Rows pixels = pixels_of(image);
    const bool nv12 = image.format == PixelFormat::nv12;
    const Rows chroma = nv12 ? chroma_of(image) : Rows{};
    constexpr std::size_t kAlignment = 256;  // of the chroma's start
    const std::size_t second = (pixels.bytes() + kAlignment - 1) / kAlignment * kAlignment;
    const std::size_t bytes = nv12 ? second + chroma.bytes() : pixels.bytes();
    pinned_.reserve(cuda_, bytes);
    source_.reserve(cuda_, bytes);
    ImageView there = image;
    there.memory = Memory::device;
    there.data = source_.data();
    there.stride = static_cast<std::ptrdiff_t>(pixels.row);
    to_gpu(pixels.data, pixels.stride, pixels.row, pixels.count, source_.data(), 0, stream);
    if (nv12) {
        there.chroma = source_.data() + second;
        there.chroma_stride = static_cast<std::ptrdiff_t>(chroma.row);
        to_gpu(chroma.data, chroma.stride, chroma.row, chroma.count, source_.data() + second, second, stream);
    }
    return there;
}

// Starts copying rows to the GPU, `at` that many bytes into the pinned buffer if they must go through it.
void Upload::to_gpu(const std::uint8_t* from, std::size_t stride, std::size_t row, std::size_t rows, std::uint8_t* to,
                    std::size_t at, cudaStream_t stream) {
    if (attributes_of(cuda_, from).type == cudaMemoryTypeHost) {
        cuda_.copy(to, row, from, stride, row, rows, cudaMemcpyHostToDevice, stream);
        return;
    }
    std::uint8_t* const staged = pinned_.data() + at;
    if (stride == row) {
        std::memcpy(staged, from, row * rows);
    } else {
        for (std::size_t y = 0; y < rows; ++y) std::memcpy(staged + y * row, from + y * stride, row);
    }
    cuda_.copy(to, row, staged, row, row, rows, cudaMemcpyHostToDevice, stream);
}

}  // namespace segexport::detail
