// Views that describe no image are refused, each with its reason; planes take the size that is asked for.

#include "segexport/image.hpp"

#include <cstdint>
#include <limits>
#include <vector>

#include "check.hpp"

using namespace segexport;

#define REFUSED(view, text) CHECK_THROWS(segexport::check(view), ContractError, text)

namespace {

constexpr auto kFarthest = std::numeric_limits<std::ptrdiff_t>::max();
const std::vector<std::uint8_t> pixels(4 * 64 * 64);

ImageView image(int height, int width, std::ptrdiff_t stride = 0, PixelFormat format = PixelFormat::rgb) {
    return ImageView::packed(pixels.data(), height, width, format, stride);
}

ImageView nv12(int height, int width, std::ptrdiff_t stride = 0, std::ptrdiff_t chroma_stride = 0) {
    return ImageView::nv12(pixels.data(), pixels.data(), height, width, stride, chroma_stride);
}

void packed() {
    segexport::check(image(1, 1));
    segexport::check(image(64, 64));
    segexport::check(image(64, 40, 120));
    segexport::check(image(64, 40, 121));  // pixels are bytes: any stride will do
    segexport::check(image(64, 40, 160, PixelFormat::bgra));
    segexport::check(image(kLargestSide, kLargestSide));  // nothing is read
    segexport::check(image(1, 40, kFarthest));            // of one row, the stride is never gone

    REFUSED(ImageView(), "image is null: pass a pointer");
    REFUSED(ImageView::rgb(nullptr, 64, 64), "image is null");
    REFUSED(image(0, 64), "image of 0x64 is empty: its sides (height x width) must be");
    REFUSED(image(64, 0), "image of 64x0 is empty");
    REFUSED(image(-1, 64), "image of -1x64 is empty");
    REFUSED(image(64, std::numeric_limits<int>::min()), "is empty");
    REFUSED(image(kLargestSide + 1, 64), "image of 32769x64 is too large");
    REFUSED(image(64, std::numeric_limits<int>::max()), "is too large: its sides");
    REFUSED(image(64, 40, 119), "image has rows of 120 bytes and a stride of 119 bytes: pass");
    REFUSED(image(64, 40, 159, PixelFormat::rgba), "image has rows of 160 bytes");
    REFUSED(image(1, 40, 119), "image has rows of 120 bytes");
    REFUSED(image(64, 40, -120), "a stride of -120 bytes");
    REFUSED(image(64, 40, std::numeric_limits<std::ptrdiff_t>::min()), "has rows of 120");
    REFUSED(image(64, 40, kFarthest), "whose last row would lie beyond all memory");
    REFUSED(image(64, 40, kFarthest / 63), "whose last row would lie beyond all memory");

    ImageView by_hand;
    by_hand.data = pixels.data();
    by_hand.height = by_hand.width = 64;
    REFUSED(by_hand, "a stride of 0 bytes");
    by_hand = image(64, 64);
    by_hand.format = static_cast<PixelFormat>(17);
    REFUSED(by_hand, "a pixel format that does not exist (17): pass rgb");
    by_hand = image(64, 64);
    by_hand.data = reinterpret_cast<const std::uint8_t*>(std::numeric_limits<std::uintptr_t>::max() - 64 * 64 * 3 + 1);
    REFUSED(by_hand, "beyond all memory");
}

void two_planes() {
    segexport::check(nv12(64, 64));
    segexport::check(nv12(2, 2));
    segexport::check(nv12(64, 64, 65, 70));

    REFUSED(nv12(63, 64), "image of 63x64 cannot be nv12");
    REFUSED(nv12(64, 63), "pass even sides");
    REFUSED(nv12(64, 64, 63), "image has rows of 64 bytes and a stride of 63");
    REFUSED(nv12(64, 64, 64, 63), "chroma has rows of 64 bytes and a stride of 63");
    REFUSED(nv12(64, 64, 64, kFarthest), "chroma has a stride of");
    REFUSED(nv12(64, 64, 64, -64), "chroma has rows of 64 bytes");
    ImageView view = nv12(64, 64);
    view.chroma = nullptr;
    REFUSED(view, "chroma of an nv12 image is null: pass a pointer");
    view = nv12(64, 64);
    view.data = nullptr;
    REFUSED(view, "image is null");
}

template <typename T>
void owned() {
    Plane<T> plane;
    CHECK(plane.owns() && plane.data() == nullptr && plane.size() == Size{});
    plane.fit({30, 40});
    CHECK(plane.size() == (Size{30, 40}) && plane.stride() == 40 * static_cast<int>(sizeof(T)));
    plane.row(29)[39] = 7;
    CHECK(plane.at(29, 39) == 7);

    const T* const before = plane.data();
    for (const Size size : {Size{1, 1}, Size{40, 30}, Size{3, 400}, Size{30, 40}}) {
        plane.fit(size);
        CHECK(plane.data() == before);  // kept
        CHECK(plane.size() == size && plane.stride() == size.width * static_cast<int>(sizeof(T)));
    }
    plane.fit({31, 40});
    plane.row(30)[39] = 7;

    Plane<T> moved(std::move(plane));
    CHECK(moved.at(30, 39) == 7 && moved.size() == (Size{31, 40}));
    CHECK(plane.owns() && plane.data() == nullptr);  // NOLINT(bugprone-use-after-move): as good as new
    plane.fit({2, 2});
    plane.row(1)[1] = 1;
    CHECK(moved.at(30, 39) == 7);

    CHECK_THROWS(plane.fit({0, 2}), ContractError, " of 0x2 is empty");
    CHECK_THROWS(plane.fit({2, kLargestSide + 1}), ContractError, " of 2x32769 is too large");
    CHECK(plane.size() == (Size{2, 2}) && plane.at(1, 1) == 1);  // as it was
}

void over_memory() {
    std::vector<std::uint8_t> bytes(100 * 64);
    Mask mask = Mask::over(bytes.data(), 64, 90, 100);
    mask.fit({64, 90});
    CHECK(!mask.owns() && mask.data() == bytes.data() && mask.stride() == 100);
    mask.row(63)[89] = 5;
    CHECK(bytes[63 * 100 + 89] == 5);
    Mask::over(bytes.data() + 1, 63, 99, 101).fit({63, 99});

    CHECK_THROWS(mask.fit({64, 91}), ContractError, "mask is 64x90 and the image 64x91: pass one of the image's size");
    CHECK_THROWS(mask.fit({63, 90}), ContractError, "mask is 64x90 and the image 63x90");
    CHECK_THROWS(mask.fit({0, 0}), ContractError, "mask of 0x0 is empty");
    CHECK_THROWS(Mask::over(nullptr, 64, 90).fit({64, 90}), ContractError, "mask is null: pass a pointer");
    CHECK_THROWS(Mask::over(bytes.data(), 64, 90, 89).fit({64, 90}), ContractError, "mask has rows of 90 bytes");
    CHECK_THROWS(Mask::over(bytes.data(), 64, 90, -90).fit({64, 90}), ContractError, "a stride of -90 bytes");
    CHECK_THROWS(Mask::over(bytes.data(), 64, 90, kFarthest).fit({64, 90}), ContractError, "beyond all memory");

    std::vector<float> floats(64 * 100);
    Confidence confidence = Confidence::over(floats.data(), 64, 100);
    confidence.fit({64, 100});
    CHECK(confidence.stride() == 400);
    CHECK_THROWS(Confidence::over(floats.data(), 64, 90, 399).fit({64, 90}), ContractError,
                 "confidence is not aligned: its address and its stride must be multiples of 4");
    CHECK_THROWS(Confidence::over(floats.data(), 64, 90, 90).fit({64, 90}), ContractError, "has rows of 360");
    auto* const between = reinterpret_cast<float*>(reinterpret_cast<std::uint8_t*>(floats.data()) + 2);
    CHECK_THROWS(Confidence::over(between, 63, 100).fit({63, 100}), ContractError, "confidence is not aligned");
}

}  // namespace

int main() {
    packed();
    two_planes();
    owned<std::uint8_t>();
    owned<float>();
    over_memory();
    return check::result();
}
