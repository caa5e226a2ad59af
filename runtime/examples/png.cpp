#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "formats.hpp"

namespace examples {

namespace {

constexpr std::size_t kMessage = 200;

[[noreturn]] void leave(png_structp png, png_const_charp text) {
    std::snprintf(static_cast<char*>(png_get_error_ptr(png)), kMessage, "%s", text);
    png_longjmp(png, 1);
}

void pass(png_structp, png_const_charp) {}  // warnings

// One file being read. Each step returns false where libpng gave up, and `why` then says why.
class Reader {
   public:
    explicit Reader(const Bytes& file) : file_(file) {
        png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, why_, leave, pass);
        if (png_ != nullptr) info_ = png_create_info_struct(png_);
    }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }

    bool header() {
        if (info_ == nullptr) return false;
        if (setjmp(png_jmpbuf(png_)) != 0) return false;
        png_set_read_fn(png_, this, [](png_structp png, png_bytep to, std::size_t size) {
            Reader& reader = *static_cast<Reader*>(png_get_io_ptr(png));
            if (size > reader.file_.size() - reader.at_) png_error(png, "it is truncated");
            std::memcpy(to, reader.file_.data() + reader.at_, size);
            reader.at_ += size;
        });
        png_read_info(png_, info_);
        return true;
    }

    // To RGB, whatever the file holds; an alpha channel is left out, as Pillow does.
    bool rgb(png_bytepp rows) {
        if (setjmp(png_jmpbuf(png_)) != 0) return false;
        png_set_expand_gray_1_2_4_to_8(png_);
        if (colour() == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
        png_set_gray_to_rgb(png_);
        png_set_strip_alpha(png_);
        return read(rows, 3);
    }

    // To one value a pixel: palette indices and gray values as they stand.
    bool values(png_bytepp rows) {
        if (setjmp(png_jmpbuf(png_)) != 0) return false;
        png_set_packing(png_);
        return read(rows, 1);
    }

    int orientation() {
        png_bytep exif = nullptr;
        png_uint_32 size = 0;
#if defined(PNG_eXIf_SUPPORTED)
        if (png_get_eXIf_1(png_, info_, &size, &exif) == 0) return 1;
#endif
        return exif == nullptr ? 1 : exif_orientation(exif, size);
    }

    unsigned height() const { return png_get_image_height(png_, info_); }
    unsigned width() const { return png_get_image_width(png_, info_); }
    int depth() const { return png_get_bit_depth(png_, info_); }
    int colour() const { return png_get_color_type(png_, info_); }
    const char* why() const { return why_[0] != '\0' ? why_ : "out of memory"; }

   private:
    bool read(png_bytepp rows, unsigned channels) {
        png_set_interlace_handling(png_);
        png_read_update_info(png_, info_);
        if (png_get_rowbytes(png_, info_) != std::size_t{width()} * channels) png_error(png_, "rows of another size");
        png_read_image(png_, rows);
        return true;
    }

    const Bytes& file_;
    std::size_t at_ = 0;
    char why_[kMessage] = "";
    png_structp png_ = nullptr;
    png_infop info_ = nullptr;
};

// One file being made.
class Writer {
   public:
    Writer() {
        png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, why_, leave, pass);
        if (png_ != nullptr) info_ = png_create_info_struct(png_);
    }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    ~Writer() { png_destroy_write_struct(&png_, &info_); }

    bool write(png_bytepp rows, unsigned height, unsigned width, const png_color* palette, int colours) {
        if (info_ == nullptr) return false;
        if (setjmp(png_jmpbuf(png_)) != 0) return false;
        png_set_write_fn(
            png_, this,
            [](png_structp png, png_bytep from, std::size_t size) {
                if (!static_cast<Writer*>(png_get_io_ptr(png))->append(from, size)) png_error(png, "out of memory");
            },
            nullptr);
        png_set_IHDR(png_, info_, width, height, 8, palette != nullptr ? PNG_COLOR_TYPE_PALETTE : PNG_COLOR_TYPE_RGB,
                     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        if (palette != nullptr) png_set_PLTE(png_, info_, palette, colours);
        png_write_info(png_, info_);
        png_write_image(png_, rows);
        png_write_end(png_, nullptr);
        return true;
    }

    Bytes file;

    const char* why() const { return why_[0] != '\0' ? why_ : "out of memory"; }

   private:
    bool append(const std::uint8_t* from, std::size_t size) noexcept {
        try {
            file.insert(file.end(), from, from + size);
            return true;
        } catch (const std::bad_alloc&) {
            return false;
        }
    }

    char why_[kMessage] = "";
    png_structp png_ = nullptr;
    png_infop info_ = nullptr;
};

void open(Reader& reader, const std::string& name) {
    if (!reader.header()) {
        throw segexport::DataError(name + " cannot be decoded (" + reader.why() + "): replace the file");
    }
    check_size(reader.height(), reader.width(), name);
    if (reader.depth() > 8) {
        throw segexport::DataError(name + " has 16 bits or more a channel: convert it to 8 bits first");
    }
}

std::vector<png_bytep> rows_of(const Reader& reader, unsigned channels, Picture& picture) {
    const std::size_t stride = std::size_t{reader.width()} * channels;
    picture.size = {static_cast<int>(reader.height()), static_cast<int>(reader.width())};
    picture.pixels.resize(stride * reader.height());
    std::vector<png_bytep> rows(reader.height());
    for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = picture.pixels.data() + y * stride;
    return rows;
}

void finish(bool read, const Reader& reader, const std::string& name) {
    if (read) return;
    throw segexport::DataError(name + " cannot be decoded (" + reader.why() + "): replace the file");
}

}  // namespace

int decode_png(const Bytes& file, const std::string& name, Picture& picture) {
    Reader reader(file);
    open(reader, name);
    const int orientation = reader.orientation();
    picture.converted = reader.colour() != PNG_COLOR_TYPE_RGB;
    auto rows = rows_of(reader, 3, picture);
    finish(reader.rgb(rows.data()), reader, name);
    return orientation;
}

void decode_png_mask(const Bytes& file, const std::string& name, Picture& picture) {
    Reader reader(file);
    open(reader, name);
    if (reader.colour() != PNG_COLOR_TYPE_PALETTE && reader.colour() != PNG_COLOR_TYPE_GRAY) {
        throw segexport::DataError(name + " is a colour image: masks hold one class id a pixel (PNG mode L or P)");
    }
    auto rows = rows_of(reader, 1, picture);
    finish(reader.values(rows.data()), reader, name);
}

Bytes encode_png(const std::vector<const std::uint8_t*>& rows, segexport::Size size, const Palette* palette) {
    std::vector<png_bytep> writable;  // as libpng wants them; it only reads
    for (const std::uint8_t* row : rows) writable.push_back(const_cast<png_bytep>(row));
    std::vector<png_color> colours;
    if (palette != nullptr) {
        for (const auto& colour : *palette) colours.push_back({colour[0], colour[1], colour[2]});
    }
    Writer writer;
    if (!writer.write(writable.data(), static_cast<unsigned>(size.height), static_cast<unsigned>(size.width),
                      palette != nullptr ? colours.data() : nullptr, static_cast<int>(colours.size()))) {
        throw segexport::SegexportError(std::string("a PNG cannot be made (") + writer.why() + ")");
    }
    return std::move(writer.file);
}

}  // namespace examples
