// What the runtime does behind an engine, as C functions for ctypes (test_post.py).

#include <array>
#include <cstdint>
#include <vector>

#include "segexport/class_map.hpp"
#include "segexport/nearest.hpp"
#include "segexport/overlay.hpp"

namespace {

template <typename T>
void resize(const T* from, int height, int width, T* to, int out_height, int out_width) {
    const segexport::Nearest<T> nearest({height, width}, {out_height, out_width});
    const auto bytes = static_cast<std::ptrdiff_t>(sizeof(T));
    nearest(from, width * bytes, to, out_width * bytes);
}

}  // namespace

extern "C" {

void class_map(const float* logits, int height, int width, int classes, std::uint8_t* map, float* confidence,
               int out_height, int out_width, int threads) {
    segexport::Workers workers(threads);
    segexport::ClassMap made(height, width, classes, {out_height, out_width});
    made(logits, map, out_width, confidence, out_width * static_cast<std::ptrdiff_t>(sizeof(float)), workers);
}

void overlay(const std::uint8_t* image, const std::uint8_t* mask, std::uint8_t* out, int height, int width,
             const std::uint8_t* palette, int colours, double opacity) {
    std::vector<std::array<std::uint8_t, 3>> colour(colours);
    for (int i = 0; i < colours * 3; ++i) colour[i / 3][i % 3] = palette[i];
    auto ids = segexport::Mask::over(const_cast<std::uint8_t*>(mask), height, width);
    segexport::Overlay(colour, opacity)(segexport::ImageView::rgb(image, height, width), ids, out, 0,
                                        segexport::PixelFormat::rgb);
}

void nearest_uint8(const std::uint8_t* from, int height, int width, std::uint8_t* to, int out_height, int out_width) {
    resize(from, height, width, to, out_height, out_width);
}

void nearest_float32(const float* from, int height, int width, float* to, int out_height, int out_width) {
    resize(from, height, width, to, out_height, out_width);
}

}  // extern "C"
