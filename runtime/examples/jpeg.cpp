#include <csetjmp>
#include <cstdio>
#include <cstring>

extern "C" {
#include <jerror.h>
#include <jpeglib.h>
}

#include "formats.hpp"

namespace examples {

namespace {

constexpr char kExif[] = {'E', 'x', 'i', 'f', 0, 0};  // how an APP1 marker with EXIF begins

// One decompression. Each step returns false where libjpeg gave up, and `why` then says why.
class Jpeg {
   public:
    Jpeg() {
        info_.err = jpeg_std_error(&errors_.base);
        errors_.base.error_exit = [](j_common_ptr info) {
            Errors* const errors = reinterpret_cast<Errors*>(info->err);
            errors->base.format_message(info, errors->text);
            std::longjmp(errors->jump, 1);
        };
        errors_.base.emit_message = [](j_common_ptr info, int level) {
            // What is missing at a file's end would become gray; other damage is let pass, as Pillow does.
            if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) info->err->error_exit(info);
        };
    }
    Jpeg(const Jpeg&) = delete;
    Jpeg& operator=(const Jpeg&) = delete;
    ~Jpeg() { jpeg_destroy_decompress(&info_); }  // which is at home with one that was never created

    bool header(const Bytes& file) {
        if (setjmp(errors_.jump) != 0) return false;
        jpeg_create_decompress(&info_);
        jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xffff);
        jpeg_mem_src(&info_, file.data(), static_cast<unsigned long>(file.size()));
        jpeg_read_header(&info_, TRUE);
        return true;
    }

    bool rows(std::uint8_t* rgb) {
        if (setjmp(errors_.jump) != 0) return false;
        info_.out_color_space = JCS_RGB;
        jpeg_start_decompress(&info_);
        while (info_.output_scanline < info_.output_height) {
            JSAMPROW row = rgb + std::size_t{info_.output_scanline} * info_.output_width * 3;
            jpeg_read_scanlines(&info_, &row, 1);
        }
        jpeg_finish_decompress(&info_);
        return true;
    }

    int orientation() const {
        for (jpeg_saved_marker_ptr marker = info_.marker_list; marker != nullptr; marker = marker->next) {
            if (marker->data_length <= sizeof kExif || std::memcmp(marker->data, kExif, sizeof kExif) != 0) continue;
            return exif_orientation(marker->data + sizeof kExif, marker->data_length - sizeof kExif);
        }
        return 1;
    }

    unsigned height() const { return info_.image_height; }
    unsigned width() const { return info_.image_width; }
    bool cmyk() const { return info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK; }
    bool gray() const { return info_.jpeg_color_space == JCS_GRAYSCALE; }
    const char* why() const { return errors_.text; }

   private:
    struct Errors {
        jpeg_error_mgr base;  // first: libjpeg hands this back
        std::jmp_buf jump;
        char text[JMSG_LENGTH_MAX];
    };

    jpeg_decompress_struct info_{};
    Errors errors_{};
};

[[noreturn]] void undecodable(const std::string& name, const char* why) {
    throw segexport::DataError(name + " cannot be decoded (" + why + "): replace the file");
}

}  // namespace

int decode_jpeg(const Bytes& file, const std::string& name, Picture& picture) {
    Jpeg jpeg;
    if (!jpeg.header(file)) undecodable(name, jpeg.why());
    check_size(jpeg.height(), jpeg.width(), name);
    if (jpeg.cmyk()) throw segexport::DataError(name + " is CMYK: convert it to RGB first");
    const int orientation = jpeg.orientation();
    picture.converted = jpeg.gray();
    picture.size = {static_cast<int>(jpeg.height()), static_cast<int>(jpeg.width())};
    picture.pixels.resize(std::size_t{jpeg.height()} * jpeg.width() * 3);
    if (!jpeg.rows(picture.pixels.data())) undecodable(name, jpeg.why());
    return orientation;
}

}  // namespace examples
