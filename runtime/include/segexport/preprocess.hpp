// An image as a camera gives it, made into what a network takes, on the CPU: uint8 [height, width, 3] in the network's
// channel order, resized as Pillow's Image.resize does it (resize_taps.hpp) and with NV12 turned into RGB before
// (yuv.hpp). preprocess_cuda.hpp does the same on a GPU, with the same bits.
//
// There is no copy of the whole image in between: an output row needs a few input rows, which are kept as long as one
// after it needs them too.

#ifndef SEGEXPORT_PREPROCESS_HPP
#define SEGEXPORT_PREPROCESS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "segexport/image.hpp"
#include "segexport/pixels.hpp"
#include "segexport/resize_lines.hpp"
#include "segexport/resize_taps.hpp"
#include "segexport/workers.hpp"

namespace segexport {

class Preprocess {
   public:
    // out: size of the results. order: of their channels, rgb or bgr. resample: Pillow's number of a filter, 0 to 5.
    //
    // Throws ContractError: no such size, order or filter.
    Preprocess(Size out, PixelFormat order, int resample) : out_(out), order_(order), resample_(resample) {
        preprocess_detail::check_resize(out, order, resample);
    }
    Preprocess(Preprocess&&) = default;
    Preprocess& operator=(Preprocess&&) = default;

    // image: a view that passes check(), in the host's memory. dst: uint8 [out.height, out.width, 3], contiguous, apart
    // from the image. Allocates when the image's size or the number of workers is another than the last time.
    void operator()(const ImageView& image, std::uint8_t* dst, Workers& workers) {
        prepare(image.size(), workers.count());
        workers.each([&](int share, int shares) {
            const auto rows = static_cast<long long>(out_.height);
            const int first = static_cast<int>(rows * share / shares);
            const int end = static_cast<int>(rows * (share + 1) / shares);
            if (resample_ == preprocess_detail::kNearest && source_ != out_) {
                nearest_rows(image, first, end, dst);
            } else if (source_ == out_ && image.format == order_) {
                const std::size_t bytes = static_cast<std::size_t>(out_.width) * 3;
                for (int y = first; y < end; ++y) std::memcpy(row_of(dst, y), image.data + y * image.stride, bytes);
            } else {
                rows_of(image, first, end, dst, shares_[share]);
            }
        });
    }

   private:
    // What one of the threads works on.
    struct Share {
        std::vector<std::uint8_t> raw, resampled;  // a line each: as it comes, and after one of the passes
        std::vector<std::uint8_t> kept;            // lines that the current output row, and those after it, need
        std::vector<const std::uint8_t*> lines;    // of these, from the top of an output row's window on
    };

    void prepare(Size source, int shares) {
        namespace detail = preprocess_detail;
        if (source == source_ && shares == static_cast<int>(shares_.size())) return;
        source_ = {};  // until all is there
        columns_ = {};
        rows_ = {};
        if (resample_ == detail::kNearest) {
            nearest_rows_ = detail::nearest_inputs(source.height, out_.height);
            nearest_columns_ = detail::nearest_inputs(source.width, out_.width);
        } else {
            if (source.width != out_.width) {
                columns_ = detail::WideTaps(detail::make_taps(source.width, out_.width, resample_));
            }
            if (source.height != out_.height) {
                rows_ = detail::make_taps(source.height, out_.height, resample_);
                row_weights_.clear();
                row_weights_.reserve(rows_.weights.size() * detail::kLanes);
                for (const int weight : rows_.weights) row_weights_.insert(row_weights_.end(), detail::kLanes, weight);
            }
        }
        rows_first_ = detail::rows_before_columns(source, out_);
        const auto line = static_cast<std::size_t>(std::max(source.width, out_.width)) * 4 + detail::kSlack +
                          static_cast<std::size_t>(columns_.slack());
        pitch_ = static_cast<std::ptrdiff_t>((line + 63) / 64 * 64);
        shares_.resize(shares);
        for (Share& share : shares_) {
            share.raw.assign(pitch_, 0);
            share.resampled.assign(pitch_, 0);
            share.kept.assign(pitch_ * rows_.most, 0);
            share.lines.assign(rows_.most, nullptr);
        }
        source_ = source;
    }

    std::uint8_t* row_of(std::uint8_t* dst, int y) const {
        return dst + static_cast<std::ptrdiff_t>(y) * out_.width * 3;
    }

    void nearest_rows(const ImageView& image, int first, int end, std::uint8_t* dst) const {
        preprocess_detail::with_pixels(image, order_, [&](const auto& pixels) {
            for (int y = first; y < end; ++y) {
                std::uint8_t* to = row_of(dst, y);
                for (int x = 0; x < out_.width; ++x, to += 3) {
                    int rgb[3];
                    pixels.read(nearest_rows_[y], nearest_columns_[x], rgb);
                    for (int c = 0; c < 3; ++c) to[c] = static_cast<std::uint8_t>(rgb[c]);
                }
            }
        });
    }

    // Both passes, or one, or none.
    void rows_of(const ImageView& image, int first, int end, std::uint8_t* dst, Share& share) const {
        const bool columns_before = columns_.out != 0 && !rows_first_, columns_after = columns_.out != 0 && rows_first_;
        const int width = columns_before ? out_.width : source_.width;  // of what is kept
        int made = 0;                                                   // rows before this one are, if they were needed
        for (int y = first; y < end; ++y) {
            const int top = rows_.out != 0 ? rows_.first[y] : y, count = rows_.out != 0 ? rows_.count[y] : 1;
            for (made = std::max(made, top); made < top + count; ++made) {
                std::uint8_t* const to = kept(share, made);
                line_of(image, made, columns_before ? share.raw.data() : to);
                if (columns_before) preprocess_detail::across_line(share.raw.data(), columns_, to);
            }
            const std::uint8_t* line = kept(share, top);
            if (rows_.out != 0) {
                for (int t = 0; t < count; ++t) share.lines[t] = kept(share, top + t);
                const std::ptrdiff_t weights = static_cast<std::ptrdiff_t>(y) * rows_.most * preprocess_detail::kLanes;
                preprocess_detail::down_lines(share.lines.data(), row_weights_.data() + weights, count, width,
                                              share.resampled.data());
                line = share.resampled.data();
            }
            if (columns_after) {
                preprocess_detail::across_line(line, columns_, share.raw.data());
                line = share.raw.data();
            }
            preprocess_detail::pack_line(line, out_.width, row_of(dst, y));
        }
    }

    // Where row y is kept: in the place of one that no output needs any more.
    std::uint8_t* kept(Share& share, int y) const { return share.kept.data() + y % rows_.most * pitch_; }

    // Row y of the image as a line.
    void line_of(const ImageView& image, int y, std::uint8_t* to) const {
        namespace detail = preprocess_detail;
        const std::uint8_t* const row = image.data + y * image.stride;
        const bool swap = detail::red_at(image.format) != detail::red_at(order_);
        switch (image.format) {
            case PixelFormat::rgb:
            case PixelFormat::bgr: detail::widen_line(row, image.width, swap, to); return;
            case PixelFormat::rgba:
            case PixelFormat::bgra:
                if (swap) {
                    detail::swap_line(row, image.width, to);
                } else {
                    std::memcpy(to, row, static_cast<std::size_t>(image.width) * 4);
                }
                return;
            case PixelFormat::nv12:
                detail::nv12_line(row, image.chroma + y / 2 * image.chroma_stride, image.width,
                                  detail::yuv_weights(image.yuv), detail::red_at(order_), to);
                return;
        }
    }

    Size out_;
    PixelFormat order_;
    int resample_;
    Size source_;  // that the rest is for
    std::vector<int> nearest_rows_, nearest_columns_;
    preprocess_detail::WideTaps columns_;    // empty: the width stays
    preprocess_detail::Taps rows_;           // empty: the height stays
    std::vector<std::int32_t> row_weights_;  // of `rows_`, in every lane: [out.height, most, kLanes]
    bool rows_first_ = false;
    std::ptrdiff_t pitch_ = 0;  // from a line to the next
    std::vector<Share> shares_;
};

}  // namespace segexport

#endif  // SEGEXPORT_PREPROCESS_HPP
