// A GPU that is not there: CUDA's runtime and TensorRT in the host's memory, for what runs engines.
//
// It shows what the backend does with them, not what they do: it cannot prove that a kernel is right on a GPU, that
// real TensorRT can capture its launches, that a plan is taken, or how long anything takes. It is as strict as they are
// where a mistake would be seen late on a GPU: work waits in its stream until somebody waits for the stream, what is
// captured is noted and not done, memory is freed once, shapes must be within the profile, addresses must be bound and
// large enough, and under AddressSanitizer memory "on the GPU" may be touched by a stream's work alone.
//
// A plan is a few words: `stand-in`, the outputs (mask, scores, logits32 or logits16), and 9 numbers for each profile.

#ifndef SEGEXPORT_TESTS_TENSORRT_STAND_IN_HPP
#define SEGEXPORT_TESTS_TENSORRT_STAND_IN_HPP

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "segexport/image.hpp"

namespace stand_in {

constexpr int kClasses = 7;

// What happened so far.
struct Counts {
    int calls = 0;        // those that can fail
    int alive = 0;        // handles and allocations
    int copies = 0;       // from or to the host
    int enqueues = 0;     // of the engine, captured ones included
    int captures = 0;     // that came to a graph
    int launches = 0;     // of graphs
    int profiles = 0;     // switches
    int allocations = 0;  // of device and pinned memory
};
extern Counts counts;

// The call that fails, counted from 0 on; -1: none. Afterwards `failed` is its name.
extern int failing;
extern std::string failed;
extern bool refuses_capture;  // the engine cannot be captured

// Whether this call is the one to fail.
bool fails(const char* name);

// While one is alive, allocations of the heap are the stand-in's.
class Inside {
   public:
    Inside() { ++depth; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside() { --depth; }
    static thread_local int depth;
};

// Gives a stream work to do, once somebody waits.
void add(cudaStream_t stream, std::function<void()> work);

// Bytes from `pointer` on in the allocation that it points into; 0 where it is none of the GPU's.
std::size_t room(const void* pointer);

// What tests do with memory on the GPU.
void write(void* device, const void* host, std::size_t size);
void read(void* host, const void* device, std::size_t size);

// The engine's arithmetic, for one pixel uint8 [3].
float logit(const std::uint8_t* pixel, int id);  // exact in float16
std::uint8_t mask(const std::uint8_t* pixel);
float confidence(const std::uint8_t* pixel);

// What stands for the preparation of an image: its nearest pixels, in an order of channels; of NV12 the luma.
void prepare(const segexport::ImageView& image, segexport::Size out, segexport::PixelFormat order, std::uint8_t* to);

}  // namespace stand_in

#endif  // SEGEXPORT_TESTS_TENSORRT_STAND_IN_HPP
