// A bundle in a C++ program: images in, class maps out.
//
//     auto net = segexport::Segmenter::open("bundle");
//     segexport::Mask mask;                                                  // kept: no allocation per frame
//     net.run(segexport::ImageView::bgr(pixels, height, width, stride), mask);
//
// C++17. Every class is move-only and frees what it holds; errors are exceptions (segexport/errors.hpp). A Segmenter is
// used by one thread at a time; opening several is fine.

#ifndef SEGEXPORT_SEGEXPORT_HPP
#define SEGEXPORT_SEGEXPORT_HPP

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "segexport/errors.hpp"
#include "segexport/image.hpp"

namespace segexport {

// Class names by id, and their colours (RGB).
struct Labels {
    std::vector<std::string> names;
    std::vector<std::array<std::uint8_t, 3>> palette;
    bool reduce = false;  // data sets count from 1: 0 is unlabelled (ADE20K)
};

enum class Output { mask, scores, logits, topk };

// What goes into the engine and what comes out of it: segexport.spec.Contract.
// Where the logits are in the network's input: one every `stride` pixels, of the `patch` pixels around it. Of the
// network's first patch embedding, a convolution that is padded by half its kernel.
struct Grid {
    int patch = 7;
    int stride = 4;
};

struct Contract {
    Size size;                                     // of the network's input
    int batch = 1;                                 // -1: any
    PixelFormat channel_order = PixelFormat::rgb;  // rgb or bgr
    Output output = Output::mask;
    Size mask_size;   // 0x0 for a classifier
    Size image_size;  // of the images the engine takes; others are resized, as Pillow would
    Grid grid;
};

struct Options {
    int threads = 0;         // CPU threads; 0: the engine's own default, all cores
    std::string device;      // an OpenVINO device, or a GPU such as cuda:0; empty: the one the bundle was built for
    bool own_sizes = false;  // TensorRT: an image whose size a profile of the plan serves is not resized
    void* stream = nullptr;  // TensorRT: a cudaStream_t of the caller's to work on; null: one of its own
};

// Time of the last frame by stage, in milliseconds. On a GPU, infer_ms is by the GPU's own clock.
struct Timings {
    double preprocess_ms = 0;  // colour, resize, and the copy to a GPU
    double infer_ms = 0;
    double postprocess_ms = 0;  // class map, resize, and the copy from a GPU
    double total_ms = 0;        // of the call, or from submit to the end of wait
};

class Segmenter {
   public:
    // Opens the folder that `segexport build` wrote, on the engine it was built for, after checking every file.
    //
    // Throws BundleCorrupt: a file is missing or changed. EngineUnavailable: this build of the runtime has no such
    // engine, or its device is missing. EngineMismatch: a plan for another GPU, TensorRT or system. ContractError: a
    // classifier, or a fixed batch of several images.
    static Segmenter open(const std::filesystem::path& bundle, const Options& options = {});

    Segmenter(Segmenter&&) noexcept;
    Segmenter& operator=(Segmenter&&) noexcept;
    ~Segmenter();

    // Class ids of an image, in the image's own size. An image of another size than the contract's image_size is
    // resized as Pillow does, and its class map brought back by nearest neighbour, as segexport.Segmenter does.
    //
    // Throws ContractError: a view that is no image, or memory that this engine cannot reach.
    Mask run(const ImageView& image);

    // The same into memory that is used again and again.
    void run(const ImageView& image, Mask& mask);

    // And the softmax of each pixel's class, where has_confidence().
    void run(const ImageView& image, Mask& mask, Confidence& confidence);

    // Starts a frame and returns; `wait` ends it. Image, mask and confidence stay where they are in between, and
    // outlive the Segmenter if it is not waited for. One frame is under way at a time: a second submit waits for the first.
    void submit(const ImageView& image, Mask& mask);
    void submit(const ImageView& image, Mask& mask, Confidence& confidence);
    void wait();

    const Labels& labels() const;
    const Contract& contract() const;
    const std::string& engine() const;     // openvino, tensorrt or tensorrt-rtx
    const std::string& precision() const;  // fp32, bf16, fp16 or int8
    bool has_confidence() const;
    Timings timings() const;

   private:
    struct State;
    explicit Segmenter(std::unique_ptr<State> state);

    std::unique_ptr<State> state_;
};

// Engines that this build of the runtime has: openvino, and tensorrt or tensorrt-rtx.
std::vector<std::string> engines();

}  // namespace segexport

#endif  // SEGEXPORT_SEGEXPORT_HPP
