// Class maps and confidences: against the definition, against the GPU's threads, and without allocations.

#include "segexport/class_map.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"

namespace {

namespace detail = segexport::class_map_detail;
using segexport::ClassMap;
using segexport::Size;
using segexport::Workers;

struct Case {
    int height, width, classes;
    Size out;
};

const Case kCases[] = {
    {9, 13, 19, {36, 52}}, {5, 4, 3, {3, 17}},      {1, 1, 1, {7, 5}},    {6, 7, 255, {6, 7}}, {11, 9, 16, {50, 201}},
    {40, 33, 2, {40, 66}}, {3, 50, 150, {12, 200}}, {17, 16, 17, {5, 4}}, {2, 1, 33, {90, 1}},
};

// With a share of ties, and values of several magnitudes.
std::vector<float> logits_of(const Case& one, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> noise;
    std::vector<float> logits(static_cast<std::size_t>(one.height) * one.width * one.classes);
    for (float& logit : logits) {
        logit = noise(generator);
        if (seed % 2 == 1) logit = std::round(logit * 2.0F);
        if (seed % 3 == 2) logit *= 40.0F;
    }
    return logits;
}

std::vector<float> planar(const Case& one, const std::vector<float>& logits) {
    std::vector<float> planes(logits.size());
    const std::size_t points = static_cast<std::size_t>(one.height) * one.width;
    for (std::size_t point = 0; point < points; ++point) {
        for (int c = 0; c < one.classes; ++c) planes[c * points + point] = logits[point * one.classes + c];
    }
    return planes;
}

// The definition, pixel by pixel; `confidence` in float64.
void check_definition(const Case& one, const std::vector<float>& logits, const std::vector<std::uint8_t>& map,
                      const std::vector<float>& confidence) {
    const float scale_y = detail::source_scale(one.height, one.out.height);
    const float scale_x = detail::source_scale(one.width, one.out.width);
    std::vector<float> upsampled(one.classes);
    for (int y = 0; y < one.out.height; ++y) {
        for (int x = 0; x < one.out.width; ++x) {
            const auto sy = detail::source_of(y, one.height, scale_y), sx = detail::source_of(x, one.width, scale_x);
            const int y1 = std::min(sy.low + 1, one.height - 1), x1 = std::min(sx.low + 1, one.width - 1);
            const auto at = [&](int row, int column, int c) {
                return logits[(static_cast<std::size_t>(row) * one.width + column) * one.classes + c];
            };
            int best = 0;
            for (int c = 0; c < one.classes; ++c) {
                const float rest = 1.0F - sx.weight;
                const float top = detail::between(rest, at(sy.low, sx.low, c), sx.weight, at(sy.low, x1, c));
                const float bottom = detail::between(rest, at(y1, sx.low, c), sx.weight, at(y1, x1, c));
                upsampled[c] = detail::between(1.0F - sy.weight, top, sy.weight, bottom);
                if (upsampled[c] > upsampled[best]) best = c;
            }
            double sum = 0;
            for (const float logit : upsampled) sum += std::exp(static_cast<double>(logit) - upsampled[best]);
            const std::size_t pixel = static_cast<std::size_t>(y) * one.out.width + x;
            const float margin = upsampled[best] - upsampled[map[pixel]];
            CHECK(margin <= 1e-5F * std::fabs(upsampled[best]));
            CHECK(std::fabs(confidence[pixel] - 1 / sum) < 1e-6);
        }
    }
}

void as_defined_and_as_the_gpu() {
    Workers workers(3);
    for (const Case& one : kCases) {
        ClassMap class_map(one.height, one.width, one.classes, one.out);
        const std::size_t pixels = static_cast<std::size_t>(one.out.height) * one.out.width;
        for (unsigned seed = 0; seed < 6; ++seed) {
            const std::vector<float> logits = logits_of(one, seed), planes = planar(one, logits);
            std::vector<std::uint8_t> map(pixels, 255), there(pixels, 255), alone(pixels, 255);
            std::vector<float> confidence(pixels, -1), confidence_there(pixels, -1);
            const std::ptrdiff_t row = one.out.width * static_cast<std::ptrdiff_t>(sizeof(float));
            class_map(logits.data(), map.data(), one.out.width, confidence.data(), row, workers);
            check_definition(one, logits, map, confidence);
            class_map(logits.data(), alone.data(), one.out.width, nullptr, 0, workers);
            CHECK(alone == map);
            segexport::class_map(logits.data(), one.height, one.width, one.classes, alone.data(), one.out.height,
                                 one.out.width, 2);
            CHECK(alone == map);
            const auto blocks = detail::blocks(one.height, one.width, one.out.height, one.out.width);
            for (unsigned block = 0; block < blocks; ++block) {
                for (unsigned thread = 0; thread < detail::kThreads; ++thread) {
                    detail::class_map_thread(planes.data(), one.classes, one.height, one.width, there.data(),
                                             one.out.height, one.out.width, block, thread, 0);
                    detail::confidence_thread(planes.data(), one.classes, one.height, one.width,
                                              confidence_there.data(), one.out.height, one.out.width, block, thread, 0);
                }
            }
            CHECK(there == map);
            CHECK(confidence_there == confidence);  // to the last bit
        }
    }
}

void exponentials_are_close() {
    double worst = 0;
    for (float x = 0; x > -87; x -= 0.00037F) {
        const double exact = std::exp(static_cast<double>(x));
        worst = std::max(worst, std::fabs(detail::exponential(x) - exact) / exact);
    }
    CHECK(worst < 2e-7);
    CHECK(detail::exponential(0) == 1);
    CHECK(1 + detail::exponential(-HUGE_VALF) == 1);
    CHECK(detail::exponential(-3e38F) == detail::exponential(-87));
}

void rows_may_be_padded() {
    const Case one{5, 6, 20, {19, 23}};
    const std::vector<float> logits = logits_of(one, 0);
    Workers workers(2);
    ClassMap class_map(one.height, one.width, one.classes, one.out);
    std::vector<std::uint8_t> map(19 * 23), padded(19 * 32, 77);
    std::vector<float> confidence(19 * 23), padded_confidence(19 * 25, -7);
    class_map(logits.data(), map.data(), 23, confidence.data(), 23 * 4, workers);
    class_map(logits.data(), padded.data(), 32, padded_confidence.data(), 25 * 4, workers);
    for (int y = 0; y < 19; ++y) {
        for (int x = 0; x < 32; ++x) CHECK(padded[y * 32 + x] == (x < 23 ? map[y * 23 + x] : 77));
        for (int x = 0; x < 25; ++x) CHECK(padded_confidence[y * 25 + x] == (x < 23 ? confidence[y * 23 + x] : -7.0F));
    }
}

void what_is_certain_is_one() {
    std::vector<float> logits(4 * 4 * 19);
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = i % 19 == 7 ? 1e30F : -1e30F;
    std::vector<std::uint8_t> map(13 * 15);
    std::vector<float> confidence(13 * 15);
    Workers workers(1);
    ClassMap class_map(4, 4, 19, {13, 15});
    class_map(logits.data(), map.data(), 15, confidence.data(), 60, workers);
    for (const auto id : map) CHECK(id == 7);
    for (const float value : confidence) CHECK(value == 1.0F);
}

void nothing_is_allocated_after_the_first_call() {
    Workers workers(4), fewer(2);
    for (const Case& one : kCases) {
        const std::vector<float> logits = logits_of(one, 0);
        std::vector<std::uint8_t> map(static_cast<std::size_t>(one.out.height) * one.out.width);
        std::vector<float> confidence(map.size());
        ClassMap class_map(one.height, one.width, one.classes, one.out);
        const auto call = [&](Workers& by) {
            class_map(logits.data(), map.data(), one.out.width, confidence.data(), one.out.width * 4, by);
        };
        CHECK(allocations::during([&] { call(workers); }) > 0);
        CHECK(allocations::during([&] {
                  for (int i = 0; i < 50; ++i) {
                      call(workers);
                      call(fewer);
                  }
              }) == 0);
    }
}

void what_cannot_be_served_is_refused() {
    using segexport::ContractError;
    CHECK_THROWS(ClassMap(4, 4, 256, {8, 8}), ContractError, "no class map of 8x8 from logits [4, 4, 256]: pass");
    CHECK_THROWS(ClassMap(4, 4, 0, {8, 8}), ContractError, "at most 255 classes");
    CHECK_THROWS(ClassMap(0, 4, 3, {8, 8}), ContractError, "[0, 4, 3]");
    CHECK_THROWS(ClassMap(4, 4, 3, {8, -1}), ContractError, "8x-1");
    CHECK_THROWS(ClassMap(4, 4, 3, {(1 << 24) + 1, 8}), ContractError, "1 to 16777216");
}

}  // namespace

int main() {
    as_defined_and_as_the_gpu();
    exponentials_are_close();
    rows_may_be_padded();
    what_is_certain_is_one();
    nothing_is_allocated_after_the_first_call();
    what_cannot_be_served_is_refused();
    return check::result();
}
