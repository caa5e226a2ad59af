// The stand-in's TensorRT: stand_in.hpp. Where no test leads, it aborts.

#include <NvInferRuntime.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <vector>

#include "stand_in.hpp"

using nvinfer1::DataType;
using nvinfer1::Dims;
using stand_in::counts;
using stand_in::Inside;

namespace stand_in {

float logit(const std::uint8_t* pixel, int id) {
    return static_cast<float>((pixel[0] * (id + 1) * 7 + pixel[1] * (id + 2) * 5 + pixel[2] * 3 + id * 11) % 64) / 4;
}
std::uint8_t mask(const std::uint8_t* pixel) {
    return static_cast<std::uint8_t>((pixel[0] + 2 * pixel[1] + 3 * pixel[2]) % 5);
}
float confidence(const std::uint8_t* pixel) { return static_cast<float>(pixel[0] + 1) / 256; }

}  // namespace stand_in

namespace {

nvinfer1::ILogger* logger = nullptr;

bool fails(const char* name) {
    if (!stand_in::fails(name)) return false;
    logger->log(nvinfer1::ILogger::Severity::kERROR, "the stand-in was told so");
    return true;
}

// Of a value that has it exactly: 0 to 16 in quarters.
std::uint16_t to_half(float value) {
    if (value == 0) return 0;
    int exponent;
    const float fraction = std::frexp(value, &exponent);  // 0.5 to 1
    return static_cast<std::uint16_t>((exponent + 14) << 10 | (static_cast<int>(fraction * 2048) & 0x3ff));
}

Dims shape(std::initializer_list<int> sides) {
    Dims dims{};
    for (const int side : sides) dims.d[dims.nbDims++] = side;
    return dims;
}

struct Plan {
    std::string outputs;
    std::vector<std::vector<int>> profiles;

    bool fixed() const { return profiles.size() == 1 && std::equal(&profiles[0][0], &profiles[0][6], &profiles[0][3]); }
    std::vector<std::string> names() const {
        if (outputs == "mask") return {"mask", "image"};
        if (outputs == "scores") return {"image", "mask", "confidence"};
        return {"image", "logits"};
    }
};

struct Context final : nvinfer1::IExecutionContext {
    explicit Context(const Plan& plan_) : plan(plan_) { ++counts.alive; }
    ~Context() noexcept override { --counts.alive; }

    bool setOptimizationProfileAsync(int32_t index, cudaStream_t) noexcept override {
        const Inside guard;
        if (fails("setOptimizationProfileAsync")) return false;
        profile = index;
        image = {};
        addresses.clear();
        ++counts.profiles;
        return true;
    }
    bool setInputShape(char const* name, Dims const& dims) noexcept override {
        const Inside guard;
        if (fails("setInputShape") || std::strcmp(name, "image") != 0 || dims.nbDims != 4) return false;
        const auto& sides = plan.profiles[profile];
        for (int i = 0; i < 3; ++i) {
            if (dims.d[i] < sides[i] || dims.d[i] > sides[6 + i]) return false;
        }
        image = dims;
        return true;
    }
    int32_t inferShapes(int32_t, char const**) noexcept override {
        const Inside guard;
        return fails("inferShapes") || image.nbDims == 0 ? 1 : 0;
    }
    Dims getTensorShape(char const* name) const noexcept override {
        const int height = static_cast<int>(image.d[1]), width = static_cast<int>(image.d[2]);
        if (std::strcmp(name, "image") == 0) return image;
        if (std::strcmp(name, "logits") != 0) return shape({1, height, width});
        return shape({1, stand_in::kClasses, (height + 3) / 4, (width + 3) / 4});
    }
    bool setTensorAddress(char const* name, void* data) noexcept override {
        const Inside guard;
        if (fails("setTensorAddress") || reinterpret_cast<std::uintptr_t>(data) % 256 != 0) return false;
        addresses[name] = data;
        return true;
    }

    bool enqueueV3(cudaStream_t stream) noexcept override {
        const Inside guard;
        ++counts.enqueues;
        if (fails("enqueueV3") || addresses.size() != plan.names().size()) return false;
        std::size_t pixels = 1;
        for (int i = 1; i < 3; ++i) pixels *= static_cast<std::size_t>(image.d[i]);
        const auto* const from = static_cast<const std::uint8_t*>(addresses["image"]);
        if (stand_in::room(from) < pixels * 3) std::abort();
        if (plan.outputs == "mask" || plan.outputs == "scores") {
            auto* const to = static_cast<std::uint8_t*>(addresses["mask"]);
            const auto second = addresses.find("confidence");
            auto* const sure = second != addresses.end() ? static_cast<float*>(second->second) : nullptr;
            if (stand_in::room(to) < pixels || (sure != nullptr && stand_in::room(sure) < pixels * 4)) std::abort();
            stand_in::add(stream, [=] {
                for (std::size_t i = 0; i < pixels; ++i) to[i] = stand_in::mask(from + i * 3);
                if (sure == nullptr) return;
                for (std::size_t i = 0; i < pixels; ++i) sure[i] = stand_in::confidence(from + i * 3);
            });
            return true;
        }
        void* const to = addresses["logits"];
        const int height = static_cast<int>(image.d[1]), width = static_cast<int>(image.d[2]);
        const int rows = (height + 3) / 4, columns = (width + 3) / 4;
        const bool half = plan.outputs == "logits16";
        const int bytes = rows * columns * stand_in::kClasses * (half ? 2 : 4);
        if (stand_in::room(to) < static_cast<std::size_t>(bytes)) std::abort();
        stand_in::add(stream, [=] {
            int i = 0;
            for (int id = 0; id < stand_in::kClasses; ++id) {
                for (int y = 0; y < rows; ++y) {
                    for (int x = 0; x < columns; ++x, ++i) {
                        const float value = stand_in::logit(from + (y * 4 * width + x * 4) * 3, id);
                        if (half) {
                            static_cast<std::uint16_t*>(to)[i] = to_half(value);
                        } else {
                            static_cast<float*>(to)[i] = value;
                        }
                    }
                }
            }
        });
        return true;
    }

    const Plan plan;
    int profile = 0;
    Dims image{};
    std::map<std::string, void*> addresses;
};

struct Engine final : nvinfer1::ICudaEngine {
    explicit Engine(Plan plan_) : plan(std::move(plan_)), names(plan.names()) { ++counts.alive; }
    ~Engine() noexcept override { --counts.alive; }

    int32_t getNbIOTensors() const noexcept override { return static_cast<int32_t>(names.size()); }
    char const* getIOTensorName(int32_t index) const noexcept override { return names[index].c_str(); }
    Dims getTensorShape(char const* name) const noexcept override {
        if (std::strcmp(name, "image") != 0) return {};
        if (!plan.fixed()) return shape({-1, -1, -1, 3});
        return shape({plan.profiles[0][0], plan.profiles[0][1], plan.profiles[0][2], 3});
    }
    DataType getTensorDataType(char const* name) const noexcept override {
        if (std::strcmp(name, "confidence") == 0) return DataType::kFLOAT;
        if (std::strcmp(name, "logits") != 0) return DataType::kUINT8;
        return plan.outputs == "logits16" ? DataType::kHALF : DataType::kFLOAT;
    }
    int32_t getNbOptimizationProfiles() const noexcept override { return static_cast<int32_t>(plan.profiles.size()); }
    Dims getProfileShape(char const*, int32_t index, nvinfer1::OptProfileSelector select) const noexcept override {
        const auto& all = plan.profiles[index];
        const int at = 3 * static_cast<int>(select);
        return shape({all[at], all[at + 1], all[at + 2], 3});
    }
    int64_t getStreamableWeightsSize() const noexcept override { return 0; }
    int64_t getWeightStreamingAutomaticBudget() const noexcept override { std::abort(); }
    bool setWeightStreamingBudgetV2(int64_t) noexcept override { std::abort(); }
    nvinfer1::IExecutionContext* createExecutionContext(
        nvinfer1::ExecutionContextAllocationStrategy) noexcept override {
        const Inside guard;
        return fails("createExecutionContext") ? nullptr : new Context(plan);
    }

    const Plan plan;
    const std::vector<std::string> names;
};

struct Runtime final : nvinfer1::IRuntime {
    Runtime() { ++counts.alive; }
    ~Runtime() noexcept override { --counts.alive; }

    void setEngineHostCodeAllowed(bool) noexcept override { std::abort(); }
    void setDLACore(int32_t) noexcept override { std::abort(); }
    nvinfer1::ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override {
        const Inside guard;
        if (fails("deserializeCudaEngine")) return nullptr;
        std::istringstream text(std::string(static_cast<const char*>(blob), size));
        std::string word;
        Plan plan;
        text >> word >> plan.outputs;
        std::vector<int> sides(9);
        while (text >> sides[0]) {
            for (int i = 1; i < 9; ++i) text >> sides[i];
            if (text) plan.profiles.push_back(sides);
        }
        if (word == "stand-in" && !plan.profiles.empty()) return new Engine(plan);
        const char* const said = word == "large"   ? "Error 2: OutOfMemory"
                                 : word == "other" ? "another\n  builder"
                                                   : "Serialization: magicTag does not match";
        logger->log(nvinfer1::ILogger::Severity::kERROR, said);
        return nullptr;
    }
};

}  // namespace

extern "C" {
void* createInferRuntime_INTERNAL(void* log, int32_t) noexcept {
    const Inside guard;
    logger = static_cast<nvinfer1::ILogger*>(log);
    return fails("createInferRuntime") ? nullptr : static_cast<nvinfer1::IRuntime*>(new Runtime);
}
int32_t getInferLibMajorVersion() noexcept { return NV_TENSORRT_MAJOR; }
int32_t getInferLibMinorVersion() noexcept { return NV_TENSORRT_MINOR; }
int32_t getInferLibPatchVersion() noexcept { return NV_TENSORRT_PATCH; }
int32_t getInferLibBuildVersion() noexcept { return NV_TENSORRT_BUILD; }
}
