#include "image_file.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>

#include "formats.hpp"

namespace examples {

namespace fs = std::filesystem;
using segexport::DataError;

namespace {

struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
};

Bytes read_bytes(const fs::path& path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) throw DataError(path.string() + " does not exist");
    if (fs::is_directory(status)) throw DataError(path.string() + " is a folder: pass an image file");
    const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
    if (!file) throw DataError(path.string() + " cannot be read (" + std::strerror(errno) + ")");
    Bytes bytes;
    std::uint8_t part[1 << 16];
    for (std::size_t size; (size = std::fread(part, 1, sizeof part, file.get())) > 0;) {
        bytes.insert(bytes.end(), part, part + size);
    }
    if (std::ferror(file.get()) != 0) throw DataError(path.string() + " cannot be read (" + std::strerror(errno) + ")");
    return bytes;
}

bool begins_with(const Bytes& file, const char* magic, std::size_t size) {
    return file.size() >= size && std::memcmp(file.data(), magic, size) == 0;
}

bool is_jpeg(const Bytes& file) { return begins_with(file, "\xff\xd8\xff", 3); }
bool is_png(const Bytes& file) { return begins_with(file, "\x89PNG\r\n\x1a\n", 8); }

// Beside, and then renamed: a full disk leaves what stood there.
void write_bytes(const fs::path& path, const Bytes& bytes) {
    const fs::path beside = path.string() + ".part";
    std::unique_ptr<std::FILE, Close> file(std::fopen(beside.c_str(), "wb"));
    bool written = file && std::fwrite(bytes.data(), 1, bytes.size(), file.get()) == bytes.size();
    written = file && std::fclose(file.release()) == 0 && written;
    if (written && std::rename(beside.c_str(), path.c_str()) == 0) return;
    const std::string why = std::strerror(errno);
    std::remove(beside.c_str());
    throw segexport::SegexportError(path.string() + " cannot be written (" + why + ")");
}

}  // namespace

void check_size(std::uint64_t height, std::uint64_t width, const std::string& name) {
    constexpr std::uint64_t kLargestImage = 178956970;  // pixels: what Pillow refuses to open
    const auto side = static_cast<std::uint64_t>(segexport::kLargestSide);
    if (height > 0 && width > 0 && height <= side && width <= side && height * width <= kLargestImage) return;
    throw DataError(name + " says it is " + std::to_string(height) + "x" + std::to_string(width) + ": sides go to " +
                    std::to_string(side) + " pixels, and images to " + std::to_string(kLargestImage) +
                    ": cut it into smaller ones");
}

void read_image(const fs::path& path, Picture& picture) {
    const Bytes file = read_bytes(path);
    const std::string name = path.string();
    if (is_jpeg(file)) {
        turn(picture, decode_jpeg(file, name, picture));
    } else if (is_png(file)) {
        turn(picture, decode_png(file, name, picture));
    } else {
        throw DataError(name + " is not a JPEG or PNG file: convert it first");
    }
}

void read_mask(const fs::path& path, Picture& picture) {
    const Bytes file = read_bytes(path);
    if (!is_png(file)) throw DataError(path.string() + " is not a PNG file: masks hold one class id a pixel");
    decode_png_mask(file, path.string(), picture);
}

void write_image(const fs::path& path, const Picture& picture) {
    std::vector<const std::uint8_t*> rows;
    for (int y = 0; y < picture.size.height; ++y) {
        rows.push_back(picture.pixels.data() + static_cast<std::size_t>(y) * picture.size.width * 3);
    }
    write_bytes(path, encode_png(rows, picture.size, nullptr));
}

void write_mask(const fs::path& path, const segexport::Mask& mask, const Palette& palette) {
    std::vector<const std::uint8_t*> rows;
    for (int y = 0; y < mask.height(); ++y) rows.push_back(mask.row(y));
    write_bytes(path, encode_png(rows, mask.size(), &palette));
}

}  // namespace examples
