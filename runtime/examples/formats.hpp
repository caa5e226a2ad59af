// JPEG by libjpeg, PNG by libpng, and the orientation that both may note. Both libraries leave on an error by longjmp:
// what jumps and what is jumped over is kept to jpeg.cpp and png.cpp, in functions that own nothing.

#ifndef SEGEXPORT_EXAMPLES_FORMATS_HPP
#define SEGEXPORT_EXAMPLES_FORMATS_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "image_file.hpp"

namespace examples {

using Bytes = std::vector<std::uint8_t>;
using Palette = std::vector<std::array<std::uint8_t, 3>>;

// Each fills in a picture (rows without padding) from a file's bytes, and returns the EXIF orientation, 1 to 8; `name`
// is for messages.
int decode_jpeg(const Bytes& file, const std::string& name, Picture& picture);
int decode_png(const Bytes& file, const std::string& name, Picture& picture);

void decode_png_mask(const Bytes& file, const std::string& name, Picture& picture);

// channels: 3, or 1 with a palette. rows: `height` pointers.
Bytes encode_png(const std::vector<const std::uint8_t*>& rows, segexport::Size size, const Palette* palette);

// The orientation in an EXIF block (a TIFF header and its first directory), or 1. EXIF 2.32, 4.6.4; TIFF 6.0, 2.
int exif_orientation(const std::uint8_t* exif, std::size_t size);

// Turns a picture of RGB upright.
void turn(Picture& picture, int orientation);

// Refuses what would not fit: a small file can name a size of many gigabytes.
void check_size(std::uint64_t height, std::uint64_t width, const std::string& name);

}  // namespace examples

#endif  // SEGEXPORT_EXAMPLES_FORMATS_HPP
