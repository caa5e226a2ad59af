// Frame after frame: our own code allocates nothing, OpenVINO no more than by itself, and no memory is lost.
//
//     steady_state_test [BUNDLE]      SEGEXPORT_TEST_BUNDLE names the bundle otherwise; small models are quick
//
// An allocation is ours if operator new was called from this program, which the runtime is linked into.

#include <openvino/openvino.hpp>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <new>
#include <vector>

#include "bundle.hpp"
#include "check.hpp"
#include "segexport/segexport.hpp"

namespace {

std::atomic<bool> counting{false};
std::atomic<long> all{0}, ours{0};

// This program's code, which the linker puts between the two.
extern "C" const char __executable_start, etext;

void* counted(std::size_t size, const void* caller) {
    if (counting.load(std::memory_order_relaxed)) {
        ++all;
        if (caller >= &__executable_start && caller < &etext) ++ours;
    }
    void* const memory = std::malloc(size == 0 ? 1 : size);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

void* operator new(std::size_t size) { return counted(size, __builtin_return_address(0)); }
void* operator new[](std::size_t size) { return counted(size, __builtin_return_address(0)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size == 0 ? 1 : size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size == 0 ? 1 : size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

struct Count {
    long all, ours;
};

template <typename Work>
Count allocations(const Work& work) {
    all = ours = 0;
    counting = true;
    work();
    counting = false;
    return {all, ours};
}

long resident_bytes() {
    std::ifstream file("/proc/self/statm");
    long whole = 0, resident = 0;
    file >> whole >> resident;
    return resident * sysconf(_SC_PAGESIZE);
}

struct Picture {
    int height, width;
    std::vector<std::uint8_t> pixels;
    segexport::Mask mask;

    Picture(int tall, int wide) : height(tall), width(wide), pixels(static_cast<std::size_t>(tall) * wide * 3) {
        for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * 2654435761U >> 24);
    }
    segexport::ImageView view() const { return segexport::ImageView::rgb(pixels.data(), height, width); }
};

// What OpenVINO allocates for a frame of the same graph, nobody else being there.
long raw_allocations(const std::string& folder, int frames) {
    const auto bundle = segexport::detail::open_bundle(folder);
    ov::Core core;
    auto compiled = core.compile_model(bundle.engine_graph().string(), "CPU",
                                       ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                                       ov::hint::inference_precision(ov::element::f32));
    auto request = compiled.create_infer_request();
    const auto size = bundle.manifest.contract.image_size;
    const auto height = static_cast<std::size_t>(size.height), width = static_cast<std::size_t>(size.width);
    request.set_input_tensor(ov::Tensor(ov::element::u8, {1, height, width, 3}));
    for (int i = 0; i < 3; ++i) request.infer();
    return allocations([&] {
               for (int i = 0; i < frames; ++i) {
                   request.start_async();
                   request.wait();
               }
           })
        .all;
}

}  // namespace

int main(int count, char** arguments) {
    const char* const named = count > 1 ? arguments[1] : std::getenv("SEGEXPORT_TEST_BUNDLE");
    if (named == nullptr) {
        std::cerr << "no bundle: name one by SEGEXPORT_TEST_BUNDLE\n";
        return 77;
    }
    auto net = segexport::Segmenter::open(named);
    const auto size = net.contract().image_size;
    Picture same(size.height, size.width), larger(size.height * 2 + 6, size.width + 10);
    segexport::Confidence confidence;
    const int kFrames = 100;
    for (Picture* picture : {&same, &larger}) {
        const bool scored = net.has_confidence();
        const auto frame = [&] {
            net.run(picture->view(), picture->mask);
            if (scored) net.run(picture->view(), picture->mask, confidence);
        };
        for (int i = 0; i < 3; ++i) frame();
        const Count found = allocations([&] {
            for (int i = 0; i < kFrames; ++i) frame();
        });
        const long raw = raw_allocations(named, kFrames) * (scored ? 2 : 1);
        std::cout << picture->height << "x" << picture->width << ": " << found.ours << " allocations of ours, "
                  << found.all << " in all, " << raw << " by OpenVINO alone, in " << kFrames << " frames\n";
        CHECK(found.ours == 0);
        CHECK(found.all <= raw + kFrames / 10);  // a thread pool's own now and then
    }

    const int kMany = 10000;
    const auto many = [&](int frames) {
        for (int i = 0; i < frames; ++i) net.run(same.view(), same.mask);
    };
    many(kMany / 10);
    const long before = resident_bytes();
    many(kMany);
    const long grown = resident_bytes() - before;
    std::cout << "resident memory grew by " << grown / 1024 << " KiB in " << kMany << " frames\n";
#if !defined(__SANITIZE_ADDRESS__)  // which keeps what was freed
    CHECK(grown < 4L << 20);        // 420 bytes a frame would be more
#endif
    return check::result();
}
