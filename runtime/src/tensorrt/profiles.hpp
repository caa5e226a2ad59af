// The images that an engine serves.

#ifndef SEGEXPORT_SRC_TENSORRT_PROFILES_HPP
#define SEGEXPORT_SRC_TENSORRT_PROFILES_HPP

#include <NvInferRuntime.h>

#include <array>
#include <string>
#include <vector>

#include "segexport/image.hpp"

namespace segexport::detail {

constexpr const char* kImage = "image";  // the engine's input, uint8 [batch, height, width, 3]

// Least, best and most images of a call, each (batch, height, width): segexport.tensorrt.options.Profile.
struct Profile {
    using Shape = std::array<std::int64_t, 3>;

    Shape least{}, best{}, most{};

    bool serves(Size image) const;  // one at a time
    std::string text() const;
};

class Profiles {
   public:
    explicit Profiles(const nvinfer1::ICudaEngine& engine);

    const std::vector<Profile>& all() const { return profiles_; }

    // Which profile serves images of a size, one at a time: of several, the narrowest. -1: none.
    int serving(Size image) const;

    // The largest image of a profile.
    static Size largest(const Profile& profile);

    std::string text() const;  // for messages

   private:
    std::vector<Profile> profiles_;
};

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_PROFILES_HPP
