// Workers: every share once, nothing lost over many rounds, and what they write is seen by the caller. Worth most under
// ThreadSanitizer.

#include "segexport/workers.hpp"

#include <cstdint>
#include <numeric>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "segexport/class_map.hpp"

namespace {

using segexport::Workers;

void every_share_once() {
    for (const int threads : {-1, 0, 1, 2, 3, 8}) {
        Workers workers(threads);
        CHECK(workers.count() == (threads < 1 ? 1 : threads));
        for (int round = 0; round < 200; ++round) {
            std::vector<int> calls(workers.count()), told(workers.count());
            workers.each([&](int share, int shares) {
                ++calls[share];  // not atomic: shares are each on their own
                told[share] = shares;
            });
            for (const int times : calls) CHECK(times == 1);
            for (const int shares : told) CHECK(shares == workers.count());
        }
    }
}

void rounds_follow_each_other() {
    Workers workers(4);
    std::vector<long long> values(1003);
    long long want = 0;
    for (int round = 1; round <= 2000; ++round) {
        workers.each([&](int share, int shares) {
            const std::size_t end = values.size() * (share + 1) / shares;
            for (std::size_t i = values.size() * share / shares; i < end; ++i) values[i] += round;
        });
        want += round;
        CHECK(std::accumulate(values.begin(), values.end(), 0LL) == want * static_cast<long long>(values.size()));
    }
}

void work_in_turn_is_no_allocation() {
    Workers workers(3);
    std::vector<int> sums(3);
    const auto work = [&](int share, int) { sums[share] += share; };
    CHECK(allocations::during([&] {
              for (int i = 0; i < 500; ++i) workers.each(work);
          }) == 0);
    CHECK((sums == std::vector<int>{0, 500, 1000}));
}

void they_come_and_go() {
    for (int i = 0; i < 100; ++i) {
        Workers idle(3);
        if (i % 2 == 0) continue;  // gone before they were given anything
        int told[3] = {};
        idle.each([&](int share, int) { told[share] = 1; });
        CHECK(told[0] + told[1] + told[2] == 3);
    }
}

void class_maps_of_several_threads_are_those_of_one() {
    std::vector<float> logits(12 * 10 * 21);
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 1013);
    segexport::ClassMap class_map(12, 10, 21, {47, 39});
    Workers one(1), many(5);
    std::vector<std::uint8_t> want(47 * 39), found(47 * 39);
    std::vector<float> confident(47 * 39), confident_too(47 * 39);
    class_map(logits.data(), want.data(), 39, confident.data(), 39 * 4, one);
    for (int i = 0; i < 20; ++i) {
        class_map(logits.data(), found.data(), 39, confident_too.data(), 39 * 4, many);
        CHECK(found == want);
        CHECK(confident_too == confident);
    }
}

}  // namespace

int main() {
    every_share_once();
    rounds_follow_each_other();
    work_in_turn_is_no_allocation();
    they_come_and_go();
    class_maps_of_several_threads_are_those_of_one();
    return check::result();
}
