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

constexpr double kRequired = 0.999;  // of the golden image's pixels: segexport.golden.ELSEWHERE
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

// The golden image again, on this machine: what `segexport selftest` does.
void selftest(const Command& command) {
    const std::filesystem::path folder = command.arguments()[0];
    Segmenter net = open(command);
    Picture picture, golden;
    examples::read_image(folder / "golden" / "image.png", picture);
    examples::read_mask(folder / "golden" / "engine.png", golden);
    const Mask mask = net.run(picture.view());
    long long equal = 0;
    for (int y = 0; y < mask.height(); ++y) {
        // The golden mask has the contract's mask size, and ours the image's: compared at the middles of pixels.
        const int golden_y = (2 * y + 1) * golden.size.height / (2 * mask.height());
        const auto* const row = golden.pixels.data() + static_cast<std::size_t>(golden_y) * golden.size.width;
        for (int x = 0; x < mask.width(); ++x) {
            const int golden_x = (2 * x + 1) * golden.size.width / (2 * mask.width());
            if (mask.at(y, x) == row[golden_x]) ++equal;
        }
    }
    const double share = static_cast<double>(equal) / (static_cast<double>(mask.height()) * mask.width());
    char text[64];
    std::snprintf(text, sizeof text, "%.4f %% of the golden image's pixels", 100 * share);
    if (share < kRequired) {
        throw segexport::SegexportError(folder.string() + ": " + text +
                                        " are as built, 99.9 % required: this engine does not compute what was "
                                        "verified; build the bundle on this machine");
    }
    std::printf("%s: %s are as built (99.9 %% required)\n", folder.c_str(), text);
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
