// Images going in and planes (class maps, confidences) coming out. Sizes are always height before width; strides are
// bytes from the start of a row to the start of the next.

#ifndef SEGEXPORT_IMAGE_HPP
#define SEGEXPORT_IMAGE_HPP

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "segexport/errors.hpp"

namespace segexport {

constexpr int kLargestSide = 1 << 15;  // of an image, in pixels

struct Size {
    int height = 0;
    int width = 0;
};

inline bool operator==(Size a, Size b) { return a.height == b.height && a.width == b.width; }
inline bool operator!=(Size a, Size b) { return !(a == b); }
inline std::string to_string(Size size) { return std::to_string(size.height) + "x" + std::to_string(size.width); }

enum class PixelFormat { rgb, bgr, rgba, bgra, nv12 };  // four channels: the fourth is not looked at
enum class Memory { host, device };                     // device: of the GPU that the engine runs on

// How the luma and chroma of NV12 become RGB: ITU-R BT.601 or BT.709, each in limited range (luma 16 to 235, what
// cameras and decoders give unless they say otherwise) or full range (JPEG).
enum class Yuv { bt601_limited, bt601_full, bt709_limited, bt709_full };

// An image that somebody else owns. Make one with the functions below; a stride of 0 means rows without padding.
struct ImageView {
    const std::uint8_t* data = nullptr;  // of nv12 the luma
    int height = 0;
    int width = 0;
    std::ptrdiff_t stride = 0;
    PixelFormat format = PixelFormat::rgb;
    Memory memory = Memory::host;
    const std::uint8_t* chroma = nullptr;  // nv12 alone: U and V in turn, [height / 2, width / 2, 2]
    std::ptrdiff_t chroma_stride = 0;
    Yuv yuv = Yuv::bt601_limited;

    Size size() const { return {height, width}; }

    static ImageView packed(const std::uint8_t* data, int height, int width, PixelFormat format,
                            std::ptrdiff_t stride = 0, Memory memory = Memory::host) {
        ImageView view;
        view.data = data;
        view.height = height;
        view.width = width;
        view.format = format;
        view.memory = memory;
        const int channels = format == PixelFormat::rgba || format == PixelFormat::bgra ? 4 : 3;
        view.stride = stride != 0 ? stride : static_cast<std::ptrdiff_t>(width) * channels;
        return view;
    }
    static ImageView rgb(const std::uint8_t* data, int height, int width, std::ptrdiff_t stride = 0) {
        return packed(data, height, width, PixelFormat::rgb, stride);
    }
    static ImageView bgr(const std::uint8_t* data, int height, int width, std::ptrdiff_t stride = 0) {
        return packed(data, height, width, PixelFormat::bgr, stride);
    }
    static ImageView nv12(const std::uint8_t* luma, const std::uint8_t* chroma, int height, int width,
                          std::ptrdiff_t luma_stride = 0, std::ptrdiff_t chroma_stride = 0,
                          Yuv yuv = Yuv::bt601_limited, Memory memory = Memory::host) {
        ImageView view;
        view.data = luma;
        view.chroma = chroma;
        view.height = height;
        view.width = width;
        view.format = PixelFormat::nv12;
        view.memory = memory;
        view.stride = luma_stride != 0 ? luma_stride : width;
        view.chroma_stride = chroma_stride != 0 ? chroma_stride : width;
        view.yuv = yuv;
        return view;
    }
};

// Refuses a view that does not describe an image: null, empty, absurdly large, or rows that overlap.
//
// Throws ContractError.
void check(const ImageView& image);

// One value a pixel, in its own memory or in the caller's. Its own memory is kept from frame to frame, and grows when
// an image is larger than those before. Move-only.
template <typename T>
class Plane {
   public:
    // Owns its memory; empty until something is written to it.
    Plane() = default;

    // Writes into the caller's memory, which must stay valid and have the size of the images that are run.
    static Plane over(T* data, int height, int width, std::ptrdiff_t stride = 0, Memory memory = Memory::host) {
        Plane plane;
        plane.data_ = data;
        plane.size_ = {height, width};
        plane.stride_ = stride != 0 ? stride : static_cast<std::ptrdiff_t>(width) * static_cast<int>(sizeof(T));
        plane.memory_ = memory;
        plane.owns_ = false;
        return plane;
    }

    Plane(Plane&& other) noexcept { swap(other); }
    Plane& operator=(Plane&& other) noexcept {
        Plane moved(std::move(other));
        swap(moved);
        return *this;
    }
    Plane(const Plane&) = delete;
    Plane& operator=(const Plane&) = delete;
    ~Plane() = default;

    int height() const { return size_.height; }
    int width() const { return size_.width; }
    Size size() const { return size_; }
    std::ptrdiff_t stride() const { return stride_; }  // bytes
    Memory memory() const { return memory_; }
    bool owns() const { return owns_; }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T* row(int y) { return reinterpret_cast<T*>(reinterpret_cast<std::uint8_t*>(data_) + y * stride_); }
    const T* row(int y) const {
        return reinterpret_cast<const T*>(reinterpret_cast<const std::uint8_t*>(data_) + y * stride_);
    }
    const T& at(int y, int x) const { return row(y)[x]; }

    // Makes room for a size: an owned plane takes it, one over the caller's memory must have it already.
    //
    // Throws ContractError: the caller's memory is null, misaligned, of another size, or its rows overlap.
    void fit(Size size);

   private:
    void swap(Plane& other) noexcept {
        own_.swap(other.own_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(stride_, other.stride_);
        std::swap(memory_, other.memory_);
        std::swap(owns_, other.owns_);
    }

    std::vector<T> own_;
    T* data_ = nullptr;
    Size size_;
    std::ptrdiff_t stride_ = 0;
    Memory memory_ = Memory::host;
    bool owns_ = true;
};

using Mask = Plane<std::uint8_t>;  // class ids
using Confidence = Plane<float>;   // softmax of the winning class, 0 to 1

extern template class Plane<std::uint8_t>;
extern template class Plane<float>;

}  // namespace segexport

#endif  // SEGEXPORT_IMAGE_HPP
