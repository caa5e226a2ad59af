// The CUDA kernel's threads, run one after another on the CPU: as a library for ctypes, and as a program that is
// compiled with sanitizers (test_kernel.py).

#include <cstdio>
#include <vector>

#include "segexport/class_map_cuda.hpp"

namespace detail = segexport::class_map_detail;

namespace {

template <typename Logit>
void run(const Logit* logits, int images, int classes, int height, int width, unsigned char* map, int out_height,
         int out_width) {
    const unsigned blocks = static_cast<unsigned>(detail::blocks(height, width, out_height, out_width));
    for (int image = 0; image < images; ++image) {
        for (unsigned block = 0; block < blocks; ++block) {
            for (unsigned thread = 0; thread < detail::kThreads; ++thread) {
                detail::class_map_thread(logits, classes, height, width, map, out_height, out_width, block, thread,
                                         static_cast<unsigned>(image));
            }
        }
    }
}

}  // namespace

extern "C" {

void run_float32(const float* logits, int images, int classes, int height, int width, unsigned char* map,
                 int out_height, int out_width) {
    run(logits, images, classes, height, width, map, out_height, out_width);
}

void run_float16(const segexport::Half* logits, int images, int classes, int height, int width, unsigned char* map,
                 int out_height, int out_width) {
    run(logits, images, classes, height, width, map, out_height, out_width);
}

// One thread alone: where does it write?
void run_thread(const float* logits, int classes, int height, int width, unsigned char* map, int out_height,
                int out_width, unsigned block, unsigned thread) {
    detail::class_map_thread(logits, classes, height, width, map, out_height, out_width, block, thread, 0);
}

unsigned long long blocks(int height, int width, int out_height, int out_width) {
    return detail::blocks(height, width, out_height, out_width);
}

unsigned pieces(int in, int out) { return detail::Pieces(in, out).count; }
int piece_start(int in, int out, unsigned piece) { return detail::Pieces(in, out).start(piece); }
int source_low(int i, int in, int out) { return detail::source_of(i, in, detail::source_scale(in, out)).low; }
float source_weight(int i, int in, int out) { return detail::source_of(i, in, detail::source_scale(in, out)).weight; }
float widened(unsigned short bits) { return detail::widened(segexport::Half{bits}); }

}  // extern "C"

int main() {
    int sizes[6];  // images, classes, height, width, out_height, out_width
    if (std::fread(sizes, sizeof(int), 6, stdin) != 6) return 1;
    std::vector<float> logits(static_cast<std::size_t>(sizes[0]) * sizes[1] * sizes[2] * sizes[3]);
    if (std::fread(logits.data(), sizeof(float), logits.size(), stdin) != logits.size()) return 2;
    std::vector<unsigned char> map(static_cast<std::size_t>(sizes[0]) * sizes[4] * sizes[5]);
    run(logits.data(), sizes[0], sizes[1], sizes[2], sizes[3], map.data(), sizes[4], sizes[5]);
    return std::fwrite(map.data(), 1, map.size(), stdout) == map.size() ? 0 : 3;
}
