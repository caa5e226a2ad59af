// Overlays: every value over every other, every format, and the GPU's threads. That they are segexport.images.overlay's
// is tested from Python.

#include "segexport/overlay.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"

namespace {

using segexport::ContractError;
using segexport::ImageView;
using segexport::Mask;
using segexport::Overlay;
using segexport::PixelFormat;

const Overlay::Palette kPalette = {{255, 0, 3}, {1, 2, 250}, {128, 64, 32}};
constexpr int kHeight = 5, kWidth = 7;

// Pixels that show where a channel comes from; ids 0 to 2 have a colour, 3 and 255 have none.
struct Picture {
    std::vector<std::uint8_t> rgba, ids;

    Picture() : rgba(kHeight * kWidth * 4), ids(kHeight * kWidth) {
        for (std::size_t i = 0; i < rgba.size(); ++i) rgba[i] = static_cast<std::uint8_t>(i * 37);
        for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = i % 5 == 4 ? 255 : static_cast<std::uint8_t>(i % 5);
    }

    // The same picture in a format, rows padded by 5 bytes.
    std::vector<std::uint8_t> in(PixelFormat format) const {
        const auto layout = segexport::layout_of(format);
        std::vector<std::uint8_t> made(kHeight * (kWidth * layout.channels + 5), 99);
        for (int i = 0; i < kHeight * kWidth; ++i) {
            std::uint8_t* const to = &made[i / kWidth * (kWidth * layout.channels + 5) + i % kWidth * layout.channels];
            to[layout.red] = rgba[i * 4];
            to[1] = rgba[i * 4 + 1];
            to[2 - layout.red] = rgba[i * 4 + 2];
            if (layout.channels == 4) to[3] = rgba[i * 4 + 3];
        }
        return made;
    }
};

int row(PixelFormat format) { return kWidth * segexport::layout_of(format).channels + 5; }

void every_value_over_every_other() {
    for (const double opacity : {0.0, 0.25, 0.3, 0.5, 0.7, 1.0}) {
        const Overlay overlay(kPalette, opacity);
        for (int colour = 0; colour < 256; ++colour) {
            for (int value = 0; value < 256; ++value) {
                const double exact = value * (1 - opacity) + colour * opacity;
                CHECK(std::fabs(overlay.table().blended[colour][value] - exact) <= 0.50001);
            }
        }
    }
    const Overlay half(kPalette);
    CHECK(half.table().blended[0][1] == 0);  // halves to the even number
    CHECK(half.table().blended[0][3] == 2);
    CHECK(half.table().blended[255][255] == 255);
}

void every_format_to_every_other() {
    Picture picture;
    const Overlay overlay(kPalette, 0.3);
    Mask mask = Mask::over(picture.ids.data(), kHeight, kWidth);
    const PixelFormat formats[] = {PixelFormat::rgb, PixelFormat::bgr, PixelFormat::rgba, PixelFormat::bgra};
    for (const PixelFormat from : formats) {
        std::vector<std::uint8_t> image = picture.in(from);
        const ImageView view = ImageView::packed(image.data(), kHeight, kWidth, from, row(from));
        for (const PixelFormat to : formats) {
            const auto in = segexport::layout_of(from), out = segexport::layout_of(to);
            std::vector<std::uint8_t> found(kHeight * row(to), 88), there = found;
            CHECK(allocations::during([&] { overlay(view, mask, found.data(), row(to), to); }) == 0);
            for (int y = 0; y < kHeight; ++y) {
                for (int x = 0; x < kWidth + 200; ++x) {
                    segexport::overlay_detail::overlay_thread(&overlay.table(), image.data(), row(from), in,
                                                              picture.ids.data(), kWidth, there.data(), row(to), out,
                                                              kWidth, x, y);
                }
                for (int x = 0; x < kWidth; ++x) {
                    const std::uint8_t* const pixel = &found[y * row(to) + x * out.channels];
                    const std::uint8_t* const was = &picture.rgba[(y * kWidth + x) * 4];
                    const int id = picture.ids[y * kWidth + x];
                    for (int c = 0; c < 3; ++c) {
                        const int colour = id < 3 ? kPalette[id][c] : 0;
                        CHECK(pixel[out.red == 0 ? c : 2 - c] == overlay.table().blended[colour][was[c]]);
                    }
                    if (out.channels == 4) CHECK(pixel[3] == (in.channels == 4 ? was[3] : 255));
                }
                for (int x = kWidth * out.channels; x < row(to); ++x) CHECK(found[y * row(to) + x] == 88);
            }
            CHECK(there == found);
            if (from == to) {  // in place
                overlay(view, mask, image.data(), row(from), from);
                for (int y = 0; y < kHeight; ++y) {
                    for (int x = 0; x < kWidth * in.channels; ++x) {
                        CHECK(image[y * row(from) + x] == found[y * row(to) + x]);
                    }
                }
                const std::vector<std::uint8_t> again = picture.in(from);
                std::copy(again.begin(), again.end(), image.begin());  // where the view looks
            }
        }
    }
}

void what_cannot_be_laid_over_is_refused() {
    Picture picture;
    std::vector<std::uint8_t> out(1000);
    const Overlay overlay(kPalette);
    Mask mask = Mask::over(picture.ids.data(), kHeight, kWidth);
    const ImageView view = ImageView::packed(picture.rgba.data(), kHeight, kWidth, PixelFormat::rgba);
    const auto call = [&](const ImageView& image, const Mask& over, std::uint8_t* to, std::ptrdiff_t stride,
                          PixelFormat format) { overlay(image, over, to, stride, format); };
    const std::vector<std::uint8_t> bytes(4 * 6 * 2);
    const ImageView nv12 = ImageView::nv12(bytes.data(), bytes.data() + 24, 4, 6);
    CHECK_THROWS(call(nv12, mask, out.data(), 0, PixelFormat::rgb), ContractError, "pass rgb, bgr, rgba or bgra");
    CHECK_THROWS(call(view, mask, out.data(), 0, PixelFormat::nv12), ContractError, "NV12");
    CHECK_THROWS(call(ImageView{}, mask, out.data(), 0, PixelFormat::rgb), ContractError, "null");
    CHECK_THROWS(call(view, Mask{}, out.data(), 0, PixelFormat::rgb), ContractError,
                 "mask is 0x0 but its image is 5x7");
    CHECK_THROWS(call(view, mask, nullptr, 0, PixelFormat::rgb), ContractError, "memory is null");
    CHECK_THROWS(call(view, mask, out.data(), 20, PixelFormat::rgb), ContractError, "20 bytes but a row has 21");
    ImageView device = view;
    device.memory = segexport::Memory::device;
    CHECK_THROWS(call(device, mask, out.data(), 0, PixelFormat::rgb), ContractError, "overlay_cuda");
    CHECK_THROWS(Overlay(kPalette, 1.5), ContractError, "opacity is 1.5");
    CHECK_THROWS(Overlay(kPalette, std::nan("")), ContractError, "from 0 to 1");
    CHECK_THROWS(Overlay(Overlay::Palette(257)), ContractError, "257 colours: pass at most 256");
}

}  // namespace

int main() {
    every_value_over_every_other();
    every_format_to_every_other();
    what_cannot_be_laid_over_is_refused();
    return check::result();
}
