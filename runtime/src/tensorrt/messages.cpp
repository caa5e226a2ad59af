#include "tensorrt/messages.hpp"

#include <new>

#include "tensorrt/fitness.hpp"

namespace segexport::detail {

Messages& Messages::all() {
    static Messages messages;
    return messages;
}

void Messages::log(Severity severity, const char* message) noexcept {
    if (severity != Severity::kINTERNAL_ERROR && severity != Severity::kERROR) return;
    try {
        const std::lock_guard<std::mutex> lock(mutex_);
        lines_.emplace_back(message);
    } catch (const std::bad_alloc&) {  // the call still fails, and then gives no reason
    }
}

std::vector<std::string> Messages::drain() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::string> taken;
    taken.swap(lines_);
    return taken;
}

EngineUnavailable tensorrt_failed(const std::string& call, const std::string& remedy) {
    const std::vector<std::string> said = Messages::all().drain();
    const std::string reason = said.empty() ? "it gives no reason" : one_line(said.front());
    return EngineUnavailable(std::string(kFlavour.title) + ": " + call + " failed (" + reason + "): " + remedy);
}

}  // namespace segexport::detail
