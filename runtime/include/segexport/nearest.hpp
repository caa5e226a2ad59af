// Nearest-neighbour resize of one value a pixel: segexport.images.resize_nearest. nearest_cuda.hpp does the same on a
// GPU.

#ifndef SEGEXPORT_NEAREST_HPP
#define SEGEXPORT_NEAREST_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "segexport/errors.hpp"
#include "segexport/image.hpp"
#include "segexport/nearest_cuda.hpp"  // which compiles without CUDA: the arithmetic

namespace segexport {

// Resizes from one size to another; where each value comes from is computed once.
template <typename T>
class Nearest {
   public:
    // Throws ContractError: a side that is not 1 to 2^15.
    Nearest(Size in, Size out)
        : rows_(sources(in, out, in.height, out.height)),
          columns_(sources(in, out, in.width, out.width)),
          same_width_(in.width == out.width) {}

    // from: [in.height, in.width], to: [out.height, out.width], written, and not the same memory; strides are bytes
    // from row to row. No allocation.
    void operator()(const T* from, std::ptrdiff_t from_stride, T* to, std::ptrdiff_t to_stride) const {
        const std::size_t width = columns_.size();
        const T* before = nullptr;
        for (std::size_t y = 0; y < rows_.size(); ++y) {
            T* const line = at(to, static_cast<std::ptrdiff_t>(y) * to_stride);
            const T* const source = at(from, rows_[y] * from_stride);
            if (y > 0 && rows_[y] == rows_[y - 1]) {
                std::memcpy(line, before, width * sizeof(T));
            } else if (same_width_) {
                std::memcpy(line, source, width * sizeof(T));
            } else {
                for (std::size_t x = 0; x < width; ++x) line[x] = source[columns_[x]];
            }
            before = line;
        }
    }

   private:
    static T* at(T* data, std::ptrdiff_t offset) {
        return reinterpret_cast<T*>(reinterpret_cast<std::uint8_t*>(data) + offset);
    }
    static const T* at(const T* data, std::ptrdiff_t offset) {
        return reinterpret_cast<const T*>(reinterpret_cast<const std::uint8_t*>(data) + offset);
    }
    static std::vector<int> sources(Size in, Size out, int inner, int outer) {
        for (const int side : {inner, outer}) {
            if (side < 1 || side > nearest_detail::kLargest)
                throw ContractError("no resize from " + to_string(in) + " to " + to_string(out) +
                                    ": pass sides from 1 to " + std::to_string(nearest_detail::kLargest));
        }
        std::vector<int> found(outer);
        for (int i = 0; i < outer; ++i) found[i] = nearest_detail::nearest_source(i, inner, outer);
        return found;
    }

    std::vector<int> rows_, columns_;
    bool same_width_;
};

}  // namespace segexport

#endif  // SEGEXPORT_NEAREST_HPP
