#include "frames.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace examples {

namespace fs = std::filesystem;
using segexport::ContractError;
using segexport::DataError;
using segexport::ImageView;
using segexport::PixelFormat;

namespace {

bool is_picture(const fs::path& path) {
    std::string suffix = path.extension().string();
    for (char& letter : suffix) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    return suffix == ".png" || suffix == ".jpg" || suffix == ".jpeg";
}

}  // namespace

PictureFrames::PictureFrames(const fs::path& folder) {
    std::error_code error;
    for (fs::directory_iterator each(folder, error), end; !error && each != end; each.increment(error)) {
        if (is_picture(each->path())) paths_.push_back(each->path());
    }
    if (error) throw DataError(folder.string() + " cannot be read (" + error.message() + ")");
    if (paths_.empty()) throw DataError(folder.string() + " holds no JPEG or PNG file: pass a folder of pictures");
    std::sort(paths_.begin(), paths_.end());
}

bool PictureFrames::next(Frame& frame) {
    read_image(paths_[at_], frame.picture);
    frame.view = frame.picture.view();
    at_ = (at_ + 1) % paths_.size();
    return true;
}

RawFrames::RawFrames(const fs::path& path, segexport::Size size, PixelFormat format)
    : name_(path == "-" ? "standard input" : path.string()),
      size_(size),
      format_(format),
      bytes_(static_cast<std::size_t>(size.height) * size.width * (format == PixelFormat::nv12 ? 1 : 3)) {
    if (format == PixelFormat::nv12) {
        if (size.height % 2 != 0 || size.width % 2 != 0) {
            throw ContractError("frames of " + to_string(size) + " in nv12: its sides are even");
        }
        bytes_ += bytes_ / 2;
    }
    file_.reset(path == "-" ? stdin : std::fopen(path.c_str(), "rb"));
    if (!file_ && errno == ENOENT) throw DataError(name_ + " does not exist");
    if (!file_) throw DataError(name_ + " cannot be read (" + std::strerror(errno) + ")");
}

bool RawFrames::next(Frame& frame) {
    auto& pixels = frame.picture.pixels;
    pixels.resize(bytes_);
    const std::size_t read = std::fread(pixels.data(), 1, bytes_, file_.get());
    if (std::ferror(file_.get()) != 0) throw DataError(name_ + " cannot be read (" + std::strerror(errno) + ")");
    if (read == 0 && any_) return false;
    if (read != bytes_) {
        throw DataError(name_ + " ends after " + std::to_string(read) + " of a frame's " + std::to_string(bytes_) +
                        " bytes: check --size and --format");
    }
    any_ = true;
    const std::uint8_t* const chroma = pixels.data() + static_cast<std::size_t>(size_.height) * size_.width;
    frame.view = format_ == PixelFormat::nv12 ? ImageView::nv12(pixels.data(), chroma, size_.height, size_.width)
                                              : ImageView::packed(pixels.data(), size_.height, size_.width, format_);
    return true;
}

}  // namespace examples
