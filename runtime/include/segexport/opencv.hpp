// OpenCV's images as segexport's, and back; nothing is copied.
//
//     cv::Mat mask;                                                          // kept: no allocation per frame
//     segexport::Mask over = segexport::mask_over(mask, frame);
//     net.run(segexport::view(frame), over);

#ifndef SEGEXPORT_OPENCV_HPP
#define SEGEXPORT_OPENCV_HPP

#include <cstddef>
#include <opencv2/core/mat.hpp>

#include "segexport/image.hpp"

namespace segexport {

// An image as OpenCV reads it: CV_8UC3 is BGR, CV_8UC4 is BGRA. It must stay where it is while it is run.
//
// Throws ContractError: another type.
inline ImageView view(const cv::Mat& image) {
    const bool four = image.type() == CV_8UC4;
    if (image.dims != 2 || (!four && image.type() != CV_8UC3)) {
        throw ContractError("a cv::Mat that is not CV_8UC3 (BGR) or CV_8UC4 (BGRA): convert it with cv::cvtColor");
    }
    const PixelFormat format = four ? PixelFormat::bgra : PixelFormat::bgr;
    return ImageView::packed(image.data, image.rows, image.cols, format, static_cast<std::ptrdiff_t>(image.step[0]));
}

// Class ids into a cv::Mat, which becomes CV_8UC1 of the image's size; one that is already keeps its memory.
inline Mask mask_over(cv::Mat& mask, const cv::Mat& image) {
    mask.create(image.rows, image.cols, CV_8UC1);
    return Mask::over(mask.data, mask.rows, mask.cols, static_cast<std::ptrdiff_t>(mask.step[0]));
}

}  // namespace segexport

#endif  // SEGEXPORT_OPENCV_HPP
