#include "segexport/image.hpp"

#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

namespace segexport {

namespace {

constexpr auto kFarthest = std::numeric_limits<std::ptrdiff_t>::max();

void require_sides(const std::string& what, Size size) {
    for (const int side : {size.height, size.width}) {
        if (side >= 1 && side <= kLargestSide) continue;
        const std::string limit = std::to_string(kLargestSide);
        throw ContractError(what + " of " + to_string(size) + (side < 1 ? " is empty" : " is too large") +
                            ": its sides (height x width) must be 1 to " + limit + " pixels");
    }
}

// Rows of `row` bytes, `stride` from one to the next, that do not overlap and lie within the address space.
void require_rows(const std::string& what, const void* data, int rows, std::ptrdiff_t row, std::ptrdiff_t stride) {
    const std::string bytes = std::to_string(stride) + " bytes";
    if (stride < row) {
        throw ContractError(what + " has rows of " + std::to_string(row) + " bytes and a stride of " + bytes +
                            ": pass the bytes from one row to the next, " + std::to_string(row) + " or more");
    }
    const auto start = reinterpret_cast<std::uintptr_t>(data);
    const bool fits = rows == 1 || stride <= (kFarthest - row) / (rows - 1);
    if (!fits || start > std::numeric_limits<std::uintptr_t>::max() - (stride * (rows - 1) + row)) {
        throw ContractError(what + " has a stride of " + bytes +
                            ", whose last row would lie beyond all memory: pass "
                            "the bytes from one row to the next");
    }
}

int bytes_per_pixel(PixelFormat format) {
    switch (format) {
        case PixelFormat::rgb:
        case PixelFormat::bgr: return 3;
        case PixelFormat::rgba:
        case PixelFormat::bgra: return 4;
        case PixelFormat::nv12: return 1;
    }
    throw ContractError("image has a pixel format that does not exist (" + std::to_string(static_cast<int>(format)) +
                        "): pass rgb, bgr, rgba, bgra or nv12");
}

}  // namespace

void check(const ImageView& image) {
    if (image.data == nullptr) throw ContractError("image is null: pass a pointer to its first pixel");
    require_sides("image", image.size());
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(image.width) * bytes_per_pixel(image.format);
    require_rows("image", image.data, image.height, row, image.stride);
    if (image.format != PixelFormat::nv12) return;

    if (image.height % 2 != 0 || image.width % 2 != 0) {
        throw ContractError("image of " + to_string(image.size()) +
                            " cannot be nv12, which has one colour for 2x2 pixels: pass even sides");
    }
    if (image.chroma == nullptr) throw ContractError("chroma of an nv12 image is null: pass a pointer to U and V");
    require_rows("chroma", image.chroma, image.height / 2, image.width, image.chroma_stride);
}

template <typename T>
void Plane<T>::fit(Size size) {
    const std::string what = std::is_same_v<T, float> ? "confidence" : "mask";
    require_sides(what, size);
    const std::ptrdiff_t row = size.width * static_cast<std::ptrdiff_t>(sizeof(T));
    if (owns_) {
        // Never made smaller, so that coming back to a larger image costs nothing.
        const auto pixels = static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width);
        if (own_.size() < pixels) own_.resize(pixels);
        data_ = own_.data();
        size_ = size;
        stride_ = row;
        return;
    }
    if (data_ == nullptr) throw ContractError(what + " is null: pass a pointer to memory for " + to_string(size));
    if (size_ != size) {
        throw ContractError(what + " is " + to_string(size_) + " and the image " + to_string(size) +
                            ": pass one of the image's size");
    }
    require_rows(what, data_, size.height, row, stride_);
    if (reinterpret_cast<std::uintptr_t>(data_) % alignof(T) != 0 || stride_ % static_cast<int>(alignof(T)) != 0) {
        const std::string multiple = std::to_string(alignof(T));
        throw ContractError(what + " is not aligned: its address and its stride must be multiples of " + multiple);
    }
}

template class Plane<std::uint8_t>;
template class Plane<float>;

}  // namespace segexport
