// Pictures in files: JPEG and PNG in, PNG out, as segexport/images.py has them.

#ifndef SEGEXPORT_EXAMPLES_IMAGE_FILE_HPP
#define SEGEXPORT_EXAMPLES_IMAGE_FILE_HPP

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "segexport/image.hpp"

namespace examples {

// Pixels of a file, rows without padding. Read into the same one again and again: its memory is kept.
struct Picture {
    segexport::Size size;
    std::vector<std::uint8_t> pixels;  // RGB, or one value a pixel
    bool converted = false;            // the file was not RGB

    segexport::ImageView view() const { return segexport::ImageView::rgb(pixels.data(), size.height, size.width); }
};

// Reads a JPEG or PNG file as uint8 [height, width, 3] RGB, upright: the orientation that EXIF notes is applied.
// Grayscale and palette files become RGB, an alpha channel is left out.
//
// Throws segexport::DataError: missing, no JPEG or PNG, truncated, CMYK, 16 bits a channel, or absurdly large.
void read_image(const std::filesystem::path& path, Picture& picture);

// Reads a PNG file's class ids as uint8 [height, width]; of a palette file its indices, not its colours.
//
// Throws segexport::DataError: as above, or the file is coloured.
void read_mask(const std::filesystem::path& path, Picture& picture);

// Writes uint8 [height, width, 3] RGB, rows without padding. The file appears whole or not at all.
//
// Throws segexport::SegexportError: it cannot be written.
void write_image(const std::filesystem::path& path, const Picture& picture);

// Writes class ids as a palette PNG, as segexport.images.encode_png does.
void write_mask(const std::filesystem::path& path, const segexport::Mask& mask,
                const std::vector<std::array<std::uint8_t, 3>>& palette);

}  // namespace examples

#endif  // SEGEXPORT_EXAMPLES_IMAGE_FILE_HPP
