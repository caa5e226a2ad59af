// An engine's outputs, in the host's memory, as class maps and confidences in the image's size.

#ifndef SEGEXPORT_SRC_RESULTS_HPP
#define SEGEXPORT_SRC_RESULTS_HPP

#include <memory>
#include <optional>

#include "backend.hpp"
#include "segexport/nearest.hpp"
#include "segexport/workers.hpp"

namespace segexport::detail {

// Makes a class map of the contract's mask size, and brings it to the image's where that is another: by nearest
// neighbour, as segexport.Segmenter does.
class Results {
   public:
    explicit Results(Size size) : size_(size) {}
    Results(const Results&) = delete;
    Results& operator=(const Results&) = delete;
    virtual ~Results() = default;

    virtual bool has_confidence() const = 0;

    void write(const Frame& frame, Workers& workers);

   protected:
    Size size() const { return size_; }

   private:
    // Writes both planes, which have the size; the second may be null.
    virtual void make(Mask& mask, Confidence* confidence, Workers& workers) = 0;

    Size size_;
    Mask mask_;
    Confidence confidence_;
    Size image_;
    std::optional<Nearest<std::uint8_t>> mask_to_image_;
    std::optional<Nearest<float>> confidence_to_image_;
};

// The outputs stay where they are, and are read whenever a frame is written.

// Of logits float32 [size, classes]: upsampled, and the largest.
std::unique_ptr<Results> class_map_of(const float* logits, Size logits_size, int classes, Size size);

// Of logits float32 [classes, size]: the largest, ties to the lowest id.
std::unique_ptr<Results> best_of(const float* logits, int classes, Size size);

// Of a class map uint8 [size], and a confidence float32 [size], or null.
std::unique_ptr<Results> copy_of(const std::uint8_t* mask, const float* confidence, Size size);

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_RESULTS_HPP
