#include "tensorrt/profiles.hpp"

#include <algorithm>

#include "tensorrt/messages.hpp"

namespace segexport::detail {
namespace {

Profile::Shape shape_of(const nvinfer1::Dims& dims) {
    if (dims.nbDims != 4 || dims.d[3] != 3) {
        throw tensorrt_failed("reading the plan's input image", "build the bundle again with this version");
    }
    return {dims.d[0], dims.d[1], dims.d[2]};
}

std::int64_t volume(const Profile::Shape& shape) { return shape[0] * shape[1] * shape[2]; }

std::string written(const Profile::Shape& shape) {
    return std::to_string(shape[0]) + "x" + std::to_string(shape[1]) + "x" + std::to_string(shape[2]);
}

}  // namespace

bool Profile::serves(Size image) const {
    const Shape shape = {1, image.height, image.width};
    for (std::size_t i = 0; i < shape.size(); ++i) {
        if (shape[i] < least[i] || shape[i] > most[i]) return false;
    }
    return true;
}

std::string Profile::text() const {
    if (least == best && best == most) return written(least);
    return written(least) + ":" + written(best) + ":" + written(most);
}

Profiles::Profiles(const nvinfer1::ICudaEngine& engine) {
    const Profile::Shape fixed = shape_of(engine.getTensorShape(kImage));
    if (std::find(fixed.begin(), fixed.end(), -1) == fixed.end()) {
        profiles_.push_back({fixed, fixed, fixed});
        return;
    }
    using Selector = nvinfer1::OptProfileSelector;
    for (int i = 0; i < engine.getNbOptimizationProfiles(); ++i) {
        profiles_.push_back({shape_of(engine.getProfileShape(kImage, i, Selector::kMIN)),
                             shape_of(engine.getProfileShape(kImage, i, Selector::kOPT)),
                             shape_of(engine.getProfileShape(kImage, i, Selector::kMAX))});
    }
}

int Profiles::serving(Size image) const {
    int found = -1;
    for (std::size_t i = 0; i < profiles_.size(); ++i) {
        if (!profiles_[i].serves(image)) continue;
        if (found < 0 || volume(profiles_[i].most) < volume(profiles_[found].most)) found = static_cast<int>(i);
    }
    return found;
}

Size Profiles::largest(const Profile& profile) {
    return {static_cast<int>(profile.most[1]), static_cast<int>(profile.most[2])};
}

std::string Profiles::text() const {
    std::string text;
    for (const Profile& profile : profiles_) text += (text.empty() ? "" : " or ") + profile.text();
    return text;
}

}  // namespace segexport::detail
