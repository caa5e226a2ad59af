// Colours of a class map laid over an image: segexport.images.overlay, bit for bit. overlay_cuda.hpp does the same on a
// GPU.
//
//     rint(value * (1 - opacity) + colour * opacity)      products in float64 and float32, the sum in float64, as NumPy
//                                                         does; halves to the even number
//
// There are 256 values of either kind: all results are in a table, which is made once.

#ifndef SEGEXPORT_OVERLAY_HPP
#define SEGEXPORT_OVERLAY_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "segexport/errors.hpp"
#include "segexport/image.hpp"
#include "segexport/overlay_cuda.hpp"  // which compiles without CUDA: what is done to a pixel
#include "segexport/segexport.hpp"

namespace segexport {

// Channels of a format without planes.
//
// Throws ContractError: NV12.
inline PixelLayout layout_of(PixelFormat format) {
    switch (format) {
        case PixelFormat::rgb: return {3, 0};
        case PixelFormat::bgr: return {3, 2};
        case PixelFormat::rgba: return {4, 0};
        case PixelFormat::bgra: return {4, 2};
        case PixelFormat::nv12: break;
    }
    throw ContractError("no overlay on NV12: pass rgb, bgr, rgba or bgra");
}

class Overlay {
   public:
    using Palette = std::vector<std::array<std::uint8_t, 3>>;

    // palette: RGB by class id; ids beyond it are black. opacity: of the colours, 0 to 1.
    //
    // Throws ContractError: another opacity, or more than 256 colours.
    explicit Overlay(const Palette& palette, double opacity = 0.5) : table_(std::make_unique<OverlayTable>()) {
        if (!(opacity >= 0 && opacity <= 1))
            throw ContractError("the overlay's opacity is " + std::to_string(opacity) + ": pass a number from 0 to 1");
        if (palette.size() > 256)
            throw ContractError("the palette has " + std::to_string(palette.size()) + " colours: pass at most 256");
        for (std::size_t id = 0; id < palette.size(); ++id) {
            std::copy(palette[id].begin(), palette[id].end(), table_->colour[id]);
        }
        for (int colour = 0; colour < 256; ++colour) {
            for (int value = 0; value < 256; ++value) table_->blended[colour][value] = blended(value, colour, opacity);
        }
    }
    explicit Overlay(const Labels& labels, double opacity = 0.5) : Overlay(labels.palette, opacity) {}

    // Lays a mask over an image of its size. No allocation.
    //
    // out: uint8 [height, width, 3 or 4 as out_format has], rows of `stride` bytes (0: without padding); it may be the
    // image itself where both have the same format and stride. Alpha is the image's, or 255 where that has none.
    //
    // Throws ContractError: a view that is no image, NV12, a mask of another size, memory of a GPU, or `out` null or
    // with rows that overlap.
    void operator()(const ImageView& image, const Mask& mask, std::uint8_t* out, std::ptrdiff_t stride,
                    PixelFormat out_format) const {
        check(image);
        const PixelLayout from = layout_of(image.format), to = layout_of(out_format);
        if (image.memory != Memory::host || mask.memory() != Memory::host)
            throw ContractError("the overlay's image or mask is on a GPU: copy it to the host, or call overlay_cuda");
        if (mask.size() != image.size() || mask.data() == nullptr)
            throw ContractError("the mask is " + to_string(mask.size()) + " but its image is " +
                                to_string(image.size()) + ": pass the mask of that image");
        const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(image.width) * to.channels;
        if (stride == 0) stride = row;
        if (out == nullptr || stride < row)
            throw ContractError(out == nullptr
                                    ? "the overlay's memory is null: pass where to write it"
                                    : "the overlay's stride is " + std::to_string(stride) + " bytes but a row has " +
                                          std::to_string(row) + ": pass bytes from row to row");
        for (int y = 0; y < image.height; ++y) {
            const std::uint8_t *pixel = image.data + y * image.stride, *id = mask.row(y);
            std::uint8_t* to_pixel = out + y * stride;
            for (int x = 0; x < image.width; ++x, pixel += from.channels, to_pixel += to.channels) {
                overlay_detail::overlay_pixel(*table_, id[x], pixel, from, to_pixel, to);
            }
        }
    }

    // What overlay_cuda wants a copy of on the GPU.
    const OverlayTable& table() const { return *table_; }

   private:
    static std::uint8_t blended(int value, int colour, double opacity) {
        // Volatile: two products rounded each, never one multiply-add, whatever the compiler's flags.
        const volatile double faded = value * (1 - opacity);
        const volatile float laid = static_cast<float>(colour) * static_cast<float>(opacity);
        return static_cast<std::uint8_t>(std::nearbyint(faded + static_cast<double>(laid)));
    }

    std::unique_ptr<OverlayTable> table_;
};

}  // namespace segexport

#endif  // SEGEXPORT_OVERLAY_HPP
