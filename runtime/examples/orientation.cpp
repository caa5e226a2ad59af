#include <utility>

#include "formats.hpp"

namespace examples {

namespace {

// Numbers of a TIFF, in its byte order; 0 beyond its end.
class Tiff {
   public:
    Tiff(const std::uint8_t* data, std::size_t size) : data_(data), size_(size), little_(size > 0 && data[0] == 'I') {}

    std::uint32_t number(std::size_t at, std::size_t bytes) const {
        if (at > size_ || bytes > size_ - at) return 0;
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | data_[at + (little_ ? bytes - 1 - i : i)];
        return value;
    }

   private:
    const std::uint8_t* data_;
    std::size_t size_;
    bool little_;
};

}  // namespace

int exif_orientation(const std::uint8_t* exif, std::size_t size) {
    constexpr std::uint32_t kOrientation = 0x0112, kShort = 3;
    constexpr std::size_t kEntry = 12;
    if (size < 8 || exif[0] != exif[1] || (exif[0] != 'I' && exif[0] != 'M')) return 1;
    const Tiff tiff(exif, size);
    const std::size_t directory = tiff.number(4, 4), entries = tiff.number(directory, 2);
    for (std::size_t i = 0; i < entries; ++i) {
        const std::size_t entry = directory + 2 + i * kEntry;
        if (tiff.number(entry, 2) != kOrientation || tiff.number(entry + 2, 2) != kShort) continue;
        const int value = static_cast<int>(tiff.number(entry + 8, 2));
        return value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

void turn(Picture& picture, int orientation) {
    if (orientation <= 1 || orientation > 8) return;
    const bool swaps = orientation >= 5;
    const bool flip_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    const bool flip_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    const segexport::Size from = picture.size;
    const segexport::Size to = swaps ? segexport::Size{from.width, from.height} : from;
    Bytes turned(picture.pixels.size());
    std::size_t at = 0;
    for (int y = 0; y < to.height; ++y) {
        for (int x = 0; x < to.width; ++x) {
            // The pixel of the upright picture is flipped first, and then has its axes swapped.
            const int from_y = swaps ? (flip_x ? to.width - 1 - x : x) : (flip_y ? to.height - 1 - y : y);
            const int from_x = swaps ? (flip_y ? to.height - 1 - y : y) : (flip_x ? to.width - 1 - x : x);
            const std::size_t source = (static_cast<std::size_t>(from_y) * from.width + from_x) * 3;
            for (std::size_t c = 0; c < 3; ++c) turned[at++] = picture.pixels[source + c];
        }
    }
    picture.pixels = std::move(turned);
    picture.size = to;
}

}  // namespace examples
