// An engine, opened: what Segmenter drives. One file (or folder) each.

#ifndef SEGEXPORT_SRC_BACKEND_HPP
#define SEGEXPORT_SRC_BACKEND_HPP

#include <memory>

#include "bundle.hpp"
#include "segexport/segexport.hpp"

namespace segexport::detail {

// One image and where its results go. The views are checked, and the planes have the image's size.
struct Frame {
    ImageView image;
    Mask* mask = nullptr;
    Confidence* confidence = nullptr;  // null where none is wanted
};

class Backend {
   public:
    Backend() = default;
    Backend(const Backend&) = delete;
    Backend& operator=(const Backend&) = delete;
    virtual ~Backend() = default;

    // Starts a frame, none being under way; what it points to stays valid until `wait` returns.
    virtual void submit(const Frame& frame) = 0;

    // Returns when the frame's results are there; at once if none is under way. After an error none is.
    virtual void wait() = 0;

    virtual bool has_confidence() const = 0;
    virtual Timings timings() const = 0;  // total_ms is Segmenter's
};

// Each throws EngineUnavailable where this build of the runtime lacks the engine or the machine the device, and
// EngineMismatch for a plan built for something else.
std::unique_ptr<Backend> open_openvino(const Bundle& bundle, const Options& options);
std::unique_ptr<Backend> open_tensorrt(const Bundle& bundle, const Options& options);

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_BACKEND_HPP
