#include "results.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "segexport/class_map.hpp"

namespace segexport::detail {

namespace {

class ClassMapOf final : public Results {
   public:
    ClassMapOf(const float* logits, Size logits_size, int classes, Size size)
        : Results(size), logits_(logits), class_map_(logits_size.height, logits_size.width, classes, size) {}

    bool has_confidence() const override { return true; }

   private:
    void make(Mask& mask, Confidence* confidence, Workers& workers) override {
        class_map_(logits_, mask.data(), mask.stride(), confidence == nullptr ? nullptr : confidence->data(),
                   confidence == nullptr ? 0 : confidence->stride(), workers);
    }

    const float* logits_;
    ClassMap class_map_;
};

class BestOf final : public Results {
   public:
    BestOf(const float* logits, int classes, Size size)
        : Results(size),
          logits_(logits),
          classes_(classes),
          best_(static_cast<std::size_t>(size.height) * size.width) {}

    bool has_confidence() const override { return false; }

   private:
    void make(Mask& mask, Confidence*, Workers& workers) override {
        const std::ptrdiff_t width = size().width, plane = size().height * width;
        workers.each([&](int share, int shares) {
            const int last = size().height * (share + 1) / shares;
            for (int y = size().height * share / shares; y < last; ++y) {
                const float* logits = logits_ + y * width;
                float* const best = best_.data() + y * width;
                std::uint8_t* const ids = mask.row(y);
                std::copy_n(logits, width, best);
                std::memset(ids, 0, static_cast<std::size_t>(width));
                for (int c = 1; c < classes_; ++c) {
                    logits += plane;
                    for (std::ptrdiff_t x = 0; x < width; ++x) {
                        const bool more = logits[x] > best[x];
                        best[x] = more ? logits[x] : best[x];
                        ids[x] = more ? static_cast<std::uint8_t>(c) : ids[x];
                    }
                }
            }
        });
    }

    const float* logits_;
    int classes_;
    std::vector<float> best_;
};

class CopyOf final : public Results {
   public:
    CopyOf(const std::uint8_t* mask, const float* confidence, Size size)
        : Results(size), mask_(mask), confidence_(confidence) {}

    bool has_confidence() const override { return confidence_ != nullptr; }

   private:
    void make(Mask& mask, Confidence* confidence, Workers&) override {
        const std::ptrdiff_t width = size().width;
        for (int y = 0; y < size().height; ++y) std::copy_n(mask_ + y * width, width, mask.row(y));
        for (int y = 0; confidence != nullptr && y < size().height; ++y) {
            std::copy_n(confidence_ + y * width, width, confidence->row(y));
        }
    }

    const std::uint8_t* mask_;
    const float* confidence_;
};

}  // namespace

void Results::write(const Frame& frame, Workers& workers) {
    if (frame.mask->size() == size_) {
        make(*frame.mask, frame.confidence, workers);
        return;
    }
    if (image_ != frame.mask->size()) {
        image_ = frame.mask->size();
        mask_to_image_.emplace(size_, image_);
        confidence_to_image_.emplace(size_, image_);
    }
    mask_.fit(size_);
    if (frame.confidence != nullptr) confidence_.fit(size_);
    make(mask_, frame.confidence == nullptr ? nullptr : &confidence_, workers);
    (*mask_to_image_)(mask_.data(), mask_.stride(), frame.mask->data(), frame.mask->stride());
    if (frame.confidence != nullptr) {
        (*confidence_to_image_)(confidence_.data(), confidence_.stride(), frame.confidence->data(),
                                frame.confidence->stride());
    }
}

std::unique_ptr<Results> class_map_of(const float* logits, Size logits_size, int classes, Size size) {
    return std::make_unique<ClassMapOf>(logits, logits_size, classes, size);
}

std::unique_ptr<Results> best_of(const float* logits, int classes, Size size) {
    return std::make_unique<BestOf>(logits, classes, size);
}

std::unique_ptr<Results> copy_of(const std::uint8_t* mask, const float* confidence, Size size) {
    return std::make_unique<CopyOf>(mask, confidence, size);
}

}  // namespace segexport::detail
