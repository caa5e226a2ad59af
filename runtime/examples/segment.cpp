// Segments one image file, or checks a bundle against its golden image.
//
//     segment BUNDLE IMAGE OUT.png [--opacity 0.5] [--mask MASK.png] [--threads N] [--device D]
//     segment BUNDLE --selftest [--threads N] [--device D]

#include "segexport/segexport.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <string>
#include <system_error>
#include <vector>

#include "command.hpp"
#include "image_file.hpp"
#include "segexport/overlay.hpp"

namespace {

using examples::Command;
using examples::Picture;
using segexport::Mask;
using segexport::Segmenter;

// Of the golden image's pixels, in fp32 and in another precision, and how many fewer may be as the reference's:
// segexport.golden.ELSEWHERE, ELSEWHERE_ROUNDED and WORSE.
constexpr double kRequired = 0.999, kRequiredRounded = 0.98, kWorse = 0.005;
constexpr char kUsage[] =
    "segment BUNDLE IMAGE OUT.png [--opacity 0.5] [--mask MASK.png] [--threads N] [--device D], or "
    "segment BUNDLE --selftest [--threads N] [--device D]";

Segmenter open(const Command& command) {
    segexport::Options options;
    options.threads = command.whole("--threads", 0, 0, 1024);
    options.device = command.text("--device");
    return Segmenter::open(command.arguments()[0], options);
}

void print_shares(const Mask& mask, const std::vector<std::string>& names) {
    std::vector<long long> counts(256, 0);
    for (int y = 0; y < mask.height(); ++y) {
        for (int x = 0; x < mask.width(); ++x) ++counts[mask.at(y, x)];
    }
    std::vector<std::size_t> ids(names.size());
    std::iota(ids.begin(), ids.end(), std::size_t{0});
    std::stable_sort(ids.begin(), ids.end(), [&](std::size_t a, std::size_t b) { return counts[a] > counts[b]; });
    const double pixels = static_cast<double>(mask.height()) * mask.width();
    for (const std::size_t id : ids) {
        if (counts[id] == 0) break;
        std::printf("%7.2f %%  %s\n", 100.0 * static_cast<double>(counts[id]) / pixels, names[id].c_str());
    }
}

void require_another_file(const std::string& image, const std::string& out) {
    std::error_code error;  // of a file that does not exist yet: then they differ
    if (std::filesystem::equivalent(image, out, error)) {
        throw segexport::SegexportError(out + " is the image itself: write somewhere else");
    }
}

void segment(const Command& command) {
    const std::string& path = command.arguments()[1];
    const std::string& out = command.arguments()[2];
    const std::string mask_out = command.text("--mask");
    const double opacity = command.number("--opacity", 0.5, 0, 1);
    require_another_file(path, out);
    if (!mask_out.empty()) require_another_file(path, mask_out);

    Picture picture;
    examples::read_image(path, picture);
    if (picture.converted) std::fprintf(stderr, "warning: %s is not RGB: converted\n", path.c_str());
    Segmenter net = open(command);
    Mask mask;
    net.run(picture.view(), mask);  // the first run makes buffers; timed is the second
    net.run(picture.view(), mask);
    const segexport::Timings timings = net.timings();

    if (!mask_out.empty()) examples::write_mask(mask_out, mask, net.labels().palette);
    Picture laid_over;
    laid_over.size = picture.size;
    laid_over.pixels.resize(picture.pixels.size());
    const segexport::Overlay overlay(net.labels(), opacity);
    overlay(picture.view(), mask, laid_over.pixels.data(), static_cast<std::ptrdiff_t>(picture.size.width) * 3,
            segexport::PixelFormat::rgb);
    examples::write_image(out, laid_over);

    std::printf("%s: %s\n", path.c_str(), to_string(picture.size).c_str());
    print_shares(mask, net.labels().names);
    std::printf("%s %s: preprocessing %.2f ms, network %.2f ms, class map %.2f ms, together %.2f ms\n",
                net.engine().c_str(), net.precision().c_str(), timings.preprocess_ms, timings.infer_ms,
                timings.postprocess_ms, timings.total_ms);
}

// The share of equal pixels of a class map, whose rows `row` gives, and a golden one, which may be smaller: they are
// compared at the middles of pixels.
template <typename Row>
double agreement(segexport::Size size, Row row, const Picture& golden) {
    long long equal = 0;
    for (int y = 0; y < size.height; ++y) {
        const int golden_y = (2 * y + 1) * golden.size.height / (2 * size.height);
        const auto* const wanted = golden.pixels.data() + static_cast<std::size_t>(golden_y) * golden.size.width;
        for (int x = 0; x < size.width; ++x) {
            if (row(y)[x] == wanted[(2 * x + 1) * golden.size.width / (2 * size.width)]) ++equal;
        }
    }
    return static_cast<double>(equal) / (static_cast<double>(size.height) * size.width);
}

// The golden image again: what `segexport selftest` does on another machine than the bundle was built on.
void selftest(const Command& command) {
    const std::filesystem::path folder = command.arguments()[0];
    Segmenter net = open(command);
    Picture picture, engine, reference;
    examples::read_image(folder / "golden" / "image.png", picture);
    examples::read_mask(folder / "golden" / "engine.png", engine);
    examples::read_mask(folder / "golden" / "reference.png", reference);
    const Mask mask = net.run(picture.view());
    const auto row = [&](int y) { return mask.row(y); };
    const auto engine_row = [&](int y) { return &engine.pixels[static_cast<std::size_t>(y) * engine.size.width]; };
    const double found = agreement(mask.size(), row, engine);
    const double required = net.precision() == "fp32" ? kRequired : kRequiredRounded;
    char text[160];
    std::snprintf(text, sizeof text, ": %.4f %% of the golden image's pixels are as built", 100 * found);
    const std::string said = folder.string() + text;
    std::snprintf(text, sizeof text, "%.1f %% required", 100 * required);
    if (found < required) {
        throw segexport::SegexportError(said + ", " + text +
                                        ": this engine does not compute what was verified; build the bundle on this "
                                        "machine");
    }
    const double found_of_reference = agreement(mask.size(), row, reference);
    const double built = agreement(engine.size, engine_row, reference);
    if (found_of_reference < built - kWorse) {
        std::snprintf(text, sizeof text,
                      ": %.4f %% of the golden image is as the reference, %.4f %% were when it was built",
                      100 * found_of_reference, 100 * built);
        throw segexport::SegexportError(folder.string() + text +
                                        ": this engine computes worse here; build the bundle on this machine");
    }
    std::printf("%s (%s)\n", said.c_str(), text);
}

}  // namespace

int main(int argc, char** argv) {
    return examples::exit_code([&] {
        const Command command(argc, argv, kUsage, {"--opacity", "--mask", "--threads", "--device"}, {"--selftest"});
        const std::size_t expected = command.has("--selftest") ? 1 : 3;
        if (command.arguments().size() != expected) {
            command.fail(std::to_string(command.arguments().size()) + " arguments rather than " +
                         std::to_string(expected));
        }
        if (command.has("--selftest")) {
            selftest(command);
        } else {
            segment(command);
        }
    });
}
