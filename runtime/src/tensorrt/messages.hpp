// What TensorRT logs, errors and worse: the reasons in our own errors.

#ifndef SEGEXPORT_SRC_TENSORRT_MESSAGES_HPP
#define SEGEXPORT_SRC_TENSORRT_MESSAGES_HPP

#include <NvInferRuntime.h>

#include <mutex>
#include <string>
#include <vector>

#include "segexport/errors.hpp"

namespace segexport::detail {

class Messages : public nvinfer1::ILogger {
   public:
    // The process's one logger, since TensorRT uses only the first.
    static Messages& all();

    void log(Severity severity, const char* message) noexcept override;

    // Takes what was logged since the last time, oldest first.
    std::vector<std::string> drain();

   private:
    std::mutex mutex_;
    std::vector<std::string> lines_;
};

// The error for a call of TensorRT's that failed, with the reason that it logged.
EngineUnavailable tensorrt_failed(const std::string& call, const std::string& remedy);

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_TENSORRT_MESSAGES_HPP
