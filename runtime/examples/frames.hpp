// Where a video loop gets its frames from: a folder of pictures, or raw frames after each other in a file or a pipe.

#ifndef SEGEXPORT_EXAMPLES_FRAMES_HPP
#define SEGEXPORT_EXAMPLES_FRAMES_HPP

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "image_file.hpp"
#include "segexport/image.hpp"

namespace examples {

// A frame and its memory, which is kept for the next one.
struct Frame {
    Picture picture;
    segexport::ImageView view;
};

class Frames {
   public:
    virtual ~Frames() = default;

    // Reads the next frame; false at the end.
    //
    // Throws segexport::DataError: it cannot be read, or ends in the middle.
    virtual bool next(Frame& frame) = 0;
};

// The JPEG and PNG files of a folder, by name, again and again.
class PictureFrames : public Frames {
   public:
    // Throws segexport::DataError: no such folder, or no picture in it.
    explicit PictureFrames(const std::filesystem::path& folder);
    bool next(Frame& frame) override;

   private:
    std::vector<std::filesystem::path> paths_;
    std::size_t at_ = 0;
};

// Raw frames of one size, such as `ffmpeg -f rawvideo -pix_fmt nv12` writes.
class RawFrames : public Frames {
   public:
    // path: a file, or - for standard input. format: rgb, bgr or nv12, of which sides are even.
    //
    // Throws segexport::DataError: no such file. segexport::ContractError: a size that no frame has.
    RawFrames(const std::filesystem::path& path, segexport::Size size, segexport::PixelFormat format);
    bool next(Frame& frame) override;

   private:
    struct Close {
        void operator()(std::FILE* file) const {
            if (file != stdin) std::fclose(file);
        }
    };

    std::string name_;
    std::unique_ptr<std::FILE, Close> file_;
    segexport::Size size_;
    segexport::PixelFormat format_;
    std::size_t bytes_;  // a frame
    bool any_ = false;
};

}  // namespace examples

#endif  // SEGEXPORT_EXAMPLES_FRAMES_HPP
