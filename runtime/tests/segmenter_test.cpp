// A bundle opened and run: its own size and others, memory of ours and of the caller's, and what is refused.
//
//     SEGEXPORT_TEST_BUNDLE=... segmenter_test

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <utility>
#include <vector>

#include "check.hpp"
#include "segexport/segexport.hpp"

using namespace segexport;

namespace {

std::vector<std::uint8_t> picture(int height, int width) {
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(height) * width * 3);
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width * 3; ++x) {
            pixels[static_cast<std::size_t>(y) * width * 3 + x] = static_cast<std::uint8_t>(y * 7 + x * x / 5);
        }
    }
    return pixels;
}

bool equal(const Mask& one, const Mask& other) {
    if (one.size() != other.size()) return false;
    for (int y = 0; y < one.height(); ++y) {
        for (int x = 0; x < one.width(); ++x) {
            if (one.at(y, x) != other.at(y, x)) return false;
        }
    }
    return true;
}

void runs(Segmenter& net, int height, int width) {
    const auto pixels = picture(height, width);
    const auto image = ImageView::rgb(pixels.data(), height, width);
    const Mask mask = net.run(image);
    CHECK((mask.size() == Size{height, width}));
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) CHECK(mask.at(y, x) < net.labels().names.size());
    }
    CHECK(net.timings().total_ms >= net.timings().infer_ms);
    CHECK(net.timings().infer_ms > 0);

    // The same pixels with padded rows, the other channel order and four channels, into memory of the caller's.
    const std::ptrdiff_t stride = width * 4 + 12, mask_stride = width + 5;
    std::vector<std::uint8_t> padded(static_cast<std::size_t>(stride) * height, 7);
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            for (int c = 0; c < 3; ++c) padded[y * stride + x * 4 + 2 - c] = pixels[(y * width + x) * 3 + c];
        }
    }
    std::vector<std::uint8_t> memory(static_cast<std::size_t>(mask_stride) * height, 99);
    Mask over = Mask::over(memory.data(), height, width, mask_stride);
    net.run(ImageView::packed(padded.data(), height, width, PixelFormat::bgra, stride), over);
    CHECK(equal(mask, over));
    for (int y = 0; y + 1 < height; ++y) {
        for (std::ptrdiff_t x = width; x < mask_stride; ++x) CHECK(memory[y * mask_stride + x] == 99);
    }

    // In two steps, by a segmenter that has been moved.
    Segmenter moved = std::move(net);
    Mask later;
    moved.submit(image, later);
    moved.wait();
    moved.wait();
    CHECK(equal(mask, later));
    net = std::move(moved);
    if (net.has_confidence()) {
        Confidence confidence;
        net.run(image, later, confidence);
        CHECK(equal(mask, later));
        for (int y = 0; y < height; ++y) {
            for (int x = 0; x < width; ++x) CHECK(confidence.at(y, x) > 0 && confidence.at(y, x) <= 1);
        }
    }
}

void refuses(Segmenter& net, int height, int width) {
    const auto pixels = picture(height, width);
    const auto good = ImageView::rgb(pixels.data(), height, width);
    Mask mask;
    const auto with = [&](auto change) {
        ImageView view = good;
        change(view);
        return view;
    };
    CHECK_THROWS(net.run(ImageView{}, mask), ContractError, ":");
    CHECK_THROWS(net.run(with([](ImageView& view) { view.data = nullptr; }), mask), ContractError, ":");
    CHECK_THROWS(net.run(with([](ImageView& view) { view.width = 0; }), mask), ContractError, ":");
    CHECK_THROWS(net.run(with([](ImageView& view) { view.height = -3; }), mask), ContractError, ":");
    CHECK_THROWS(net.run(with([](ImageView& view) { view.width = 2000000000; }), mask), ContractError, ":");
    CHECK_THROWS(net.run(with([](ImageView& view) { view.stride -= 1; }), mask), ContractError, ":");
    CHECK_THROWS(net.run(with([](ImageView& view) { view.stride = -view.stride; }), mask), ContractError, ":");
    CHECK_THROWS(net.run(with([](ImageView& view) { view.memory = Memory::device; }), mask), ContractError, ":");
    CHECK_THROWS(net.run(ImageView::nv12(pixels.data(), nullptr, height, width), mask), ContractError, ":");
    CHECK_THROWS(net.run(ImageView::nv12(pixels.data(), pixels.data(), height - 1, width), mask), ContractError, ":");
    std::vector<std::uint8_t> memory(static_cast<std::size_t>(height) * width);
    Mask small = Mask::over(memory.data(), height - 1, width);
    CHECK_THROWS(net.run(good, small), ContractError, ":");
    Mask none = Mask::over(nullptr, height, width);
    CHECK_THROWS(net.run(good, none), ContractError, ":");
    std::vector<float> scores(static_cast<std::size_t>(height) * width + 1);
    auto* const odd = reinterpret_cast<float*>(reinterpret_cast<char*>(scores.data()) + 1);
    Confidence misaligned = Confidence::over(odd, height, width);
    CHECK_THROWS(net.run(good, mask, misaligned), ContractError, ":");
    runs(net, height, width);  // as well as before
}

}  // namespace

int main() {
    const char* const named = std::getenv("SEGEXPORT_TEST_BUNDLE");
    if (named == nullptr) {
        std::cerr << "no bundle: name one by SEGEXPORT_TEST_BUNDLE\n";
        return 77;
    }
    Options one;
    one.threads = 1;
    auto net = Segmenter::open(named, one);
    CHECK(net.engine() == "openvino");
    CHECK(!net.precision().empty());
    const Size size = net.contract().image_size;
    runs(net, size.height, size.width);
    runs(net, size.height * 2, size.width + 31);
    runs(net, 1, 1);
    runs(net, size.height, size.width);
    refuses(net, size.height, size.width);
    auto second = Segmenter::open(named);  // several may be open, and closed in any order
    runs(second, size.height, size.width);
    net = std::move(second);
    runs(net, size.height, size.width);

    CHECK_THROWS(Segmenter::open("/nonexistent/bundle"), BundleCorrupt, "is not a bundle");
    Options options;
    options.device = "TPU";
    CHECK_THROWS(Segmenter::open(named, options), EngineUnavailable, "no device TPU");
    options = {};
    options.threads = -1;
    CHECK_THROWS(Segmenter::open(named, options), ContractError, "threads");
    return check::result();
}
