// A user's program: consumer BUNDLE HEIGHT WIDTH < pixels > mask, raw RGB in, raw class ids out.

#include <segexport/segexport.hpp>

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int, char** arguments) {
    try {
        auto net = segexport::Segmenter::open(arguments[1]);
        const int height = std::atoi(arguments[2]), width = std::atoi(arguments[3]);
        std::vector<std::uint8_t> pixels(static_cast<std::size_t>(height) * width * 3);
        if (std::fread(pixels.data(), 1, pixels.size(), stdin) != pixels.size()) return 1;
        const segexport::Mask mask = net.run(segexport::ImageView::rgb(pixels.data(), height, width));
        std::fwrite(mask.data(), 1, static_cast<std::size_t>(height) * width, stdout);
    } catch (const segexport::SegexportError& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 2;
    }
}
