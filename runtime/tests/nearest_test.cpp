// Nearest-neighbour resize: NumPy's float64 arithmetic in whole numbers, padded rows, and the GPU's threads.

#include "segexport/nearest.hpp"

#include <random>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"

namespace {

namespace detail = segexport::nearest_detail;
using segexport::Nearest;
using segexport::Size;

int by_numpy(int i, int in, int out) { return static_cast<int>((i + 0.5) * in / out); }

void whole_numbers_are_enough() {
    long long wrong = 0;
    for (int in = 1; in <= 200; ++in) {
        for (int out = 1; out <= 200; ++out) {
            for (int i = 0; i < out; ++i) wrong += detail::nearest_source(i, in, out) != by_numpy(i, in, out);
        }
    }
    std::mt19937 generator(0);
    std::uniform_int_distribution<int> side(1, detail::kLargest);
    const int largest = detail::kLargest;
    for (int pair = 0; pair < 200; ++pair) {
        const int in = pair < 3 ? largest - pair % 2 : side(generator);
        const int out = pair < 3 ? largest - pair / 2 : side(generator);
        for (int i = 0; i < out; ++i) wrong += detail::nearest_source(i, in, out) != by_numpy(i, in, out);
        CHECK(detail::nearest_source(out - 1, in, out) < in);
    }
    CHECK(wrong == 0);
}

// Rows padded by 3 values; what lies between them stays.
template <typename T>
void resizes(Size in, Size out) {
    const int stride = in.width + 3, out_stride = out.width + 3;
    std::vector<T> from(static_cast<std::size_t>(in.height) * stride);
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<T>(i * 31 % 251);
    std::vector<T> to(static_cast<std::size_t>(out.height) * out_stride, T(7)), there = to;
    const Nearest<T> nearest(in, out);
    const auto bytes = static_cast<std::ptrdiff_t>(sizeof(T));
    CHECK(allocations::during([&] { nearest(from.data(), stride * bytes, to.data(), out_stride * bytes); }) == 0);
    for (int y = 0; y < out.height; ++y) {
        for (int x = 0; x < out_stride + 130; ++x) {
            detail::nearest_thread(from.data(), stride * bytes, in.height, in.width, there.data(), out_stride * bytes,
                                   out.height, out.width, x, y);
        }
        const T* const line = from.data() + static_cast<std::ptrdiff_t>(by_numpy(y, in.height, out.height)) * stride;
        for (int x = 0; x < out_stride; ++x) {
            const T want = x < out.width ? line[by_numpy(x, in.width, out.width)] : T(7);
            CHECK(to[static_cast<std::size_t>(y) * out_stride + x] == want);
        }
    }
    CHECK(to == there);
}

void what_is_no_size_is_refused() {
    using segexport::ContractError;
    CHECK_THROWS(Nearest<float>({0, 4}, {4, 4}), ContractError,
                 "no resize from 0x4 to 4x4: pass sides from 1 to 32768");
    CHECK_THROWS(Nearest<float>({4, 4}, {4, 1 << 16}), ContractError, "4x65536");
}

}  // namespace

int main() {
    whole_numbers_are_enough();
    for (const Size in : {Size{1, 1}, Size{7, 13}, Size{64, 31}}) {
        for (const Size out : {Size{1, 1}, Size{7, 13}, Size{100, 13}, Size{3, 200}}) {
            resizes<std::uint8_t>(in, out);
            resizes<float>(in, out);
        }
    }
    what_is_no_size_is_refused();
    return check::result();
}
