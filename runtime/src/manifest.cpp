#include "manifest.hpp"

#include <array>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "bounded_json.hpp"
#include "in_quotes.hpp"

namespace segexport::detail {

namespace {

using nlohmann::json;

// segexport.spec
constexpr int kMinSide = 32, kMaxSide = 16384;
constexpr int kMaxClasses = 255;
constexpr int kAnyBatch = -1;
constexpr int kLargestPatch = 64;  // and stride: more than any SegFormer has

constexpr int kHighestResample = 5;  // Pillow's filters are 0 to 5
constexpr int kDlaCores = 16;        // more than any Jetson has
constexpr int kLargest = std::numeric_limits<int>::max();

// What is wrong with an entry, in the words that go into "does not follow its schema (...)".
class Unexpected : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A value in the manifest, and its name for messages, such as contract.size. Every access checks.
class Entry {
   public:
    explicit Entry(const json& value, std::string name = {}) : value_(&value), name_(std::move(name)) {}

    Entry at(const char* key) const {
        if (!has(key)) throw Unexpected(named(key) + " is missing");
        return Entry(value_->at(key), named(key));
    }
    bool has(const char* key) const {
        if (!value_->is_object()) throw wrong("an object");
        return value_->contains(key);
    }
    bool has_value(const char* key) const { return has(key) && !value_->at(key).is_null(); }
    bool is_null() const { return value_->is_null(); }

    std::size_t count() const {
        if (!value_->is_array()) throw wrong("a list");
        return value_->size();
    }
    Entry operator[](std::size_t index) const {
        return Entry(value_->at(index), name_ + "[" + std::to_string(index) + "]");
    }

    bool boolean() const {
        if (!value_->is_boolean()) throw wrong("true or false");
        return value_->get<bool>();
    }
    int integer(int least, int most) const {
        // What is too large for 64 bits is no integer to the parser either.
        const bool fits = value_->is_number_unsigned() ? value_->get<std::uint64_t>() <= std::uint64_t{kLargest}
                                                       : value_->is_number_integer();
        const std::int64_t number = fits ? value_->get<std::int64_t>() : 0;
        if (!fits || number < least || number > most) {
            throw wrong("a whole number from " + std::to_string(least) + " to " + std::to_string(most));
        }
        return static_cast<int>(number);
    }
    const std::string& text() const {
        if (!value_->is_string()) throw wrong("a string");
        const auto& text = value_->get_ref<const std::string&>();
        if (text.find('\0') != std::string::npos) throw wrong("a string without a zero byte");
        return text;
    }
    // A string that may stand in a message of one line, or be handed to an engine.
    const std::string& line() const {
        for (const char c : text()) {
            if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) throw wrong("a string without control characters");
        }
        return text();
    }
    // The value that stands beside the string.
    template <typename T, std::size_t n>
    T one_of(const std::array<std::pair<const char*, T>, n>& known) const {
        const std::string& chosen = line();
        std::string names;
        for (const auto& [name, value] : known) {
            if (chosen == name) return value;
            names += (names.empty() ? "" : ", ") + std::string(name);
        }
        throw Unexpected(name_ + " is " + in_quotes(chosen) + ", which is none of " + names);
    }
    Size size(int least, int most) const {
        if (count() != 2) throw wrong("a height and a width");
        return {(*this)[0].integer(least, most), (*this)[1].integer(least, most)};
    }

    Unexpected wrong(const std::string& expected) const {
        return Unexpected((name_.empty() ? "the whole" : name_) + " is not " + expected);
    }

   private:
    std::string named(const char* key) const { return name_.empty() ? key : name_ + "." + key; }

    const json* value_;
    std::string name_;
};

constexpr std::array<std::pair<const char*, PixelFormat>, 2> kOrders{
    {{"rgb", PixelFormat::rgb}, {"bgr", PixelFormat::bgr}}};
constexpr std::array<std::pair<const char*, Output>, 4> kOutputs{
    {{"mask", Output::mask}, {"scores", Output::scores}, {"logits", Output::logits}, {"topk", Output::topk}}};
constexpr std::array<std::pair<const char*, ClassMapBy>, 3> kClassMaps{
    {{"graph", ClassMapBy::graph}, {"host", ClassMapBy::host}, {"device", ClassMapBy::device}}};
constexpr std::array<std::pair<const char*, const char*>, 4> kPrecisions{
    {{"fp32", "fp32"}, {"bf16", "bf16"}, {"fp16", "fp16"}, {"int8", "int8"}}};

Grid grid_of(const Entry& entry) {
    Grid grid;
    if (entry.has("patch")) grid.patch = entry.at("patch").integer(1, kLargestPatch);
    if (entry.has("stride")) grid.stride = entry.at("stride").integer(1, kLargestPatch);
    return grid;
}

// Entries that segexport.spec has defaults for may be missing.
Contract contract_of(const Entry& entry) {
    Contract contract;
    contract.size = entry.at("size").size(kMinSide, kMaxSide);
    if (entry.has("batch")) {
        contract.batch = entry.at("batch").integer(kAnyBatch, kLargest);
        if (contract.batch == 0) throw entry.at("batch").wrong("1 or more, or -1 for any");
    }
    if (entry.has("channel_order")) contract.channel_order = entry.at("channel_order").one_of(kOrders);
    if (entry.has("output")) contract.output = entry.at("output").one_of(kOutputs);
    if (entry.has_value("mask_size")) contract.mask_size = entry.at("mask_size").size(1, kLargestSide);
    const bool resizes = entry.has_value("source_size");
    contract.image_size = resizes ? entry.at("source_size").size(kMinSide, kMaxSide) : contract.size;
    if (entry.has("grid")) contract.grid = grid_of(entry.at("grid"));
    return contract;
}

// most: classes.
Labels labels_of(const Entry& entry, std::size_t most) {
    const Entry names = entry.at("names"), palette = entry.at("palette");
    const std::size_t classes = names.count();
    if (classes < 1 || classes > most) throw names.wrong("a list of 1 to " + std::to_string(most) + " classes");
    if (palette.count() != classes) throw palette.wrong("a list of one colour for each of labels.names");
    Labels labels;
    for (std::size_t i = 0; i < classes; ++i) {
        labels.names.push_back(names[i].text());
        const Entry colour = palette[i];
        if (colour.count() != 3) throw colour.wrong("red, green and blue");
        auto& channels = labels.palette.emplace_back();
        for (std::size_t c = 0; c < 3; ++c) channels[c] = static_cast<std::uint8_t>(colour[c].integer(0, 255));
    }
    labels.reduce = entry.has("reduce") && entry.at("reduce").boolean();
    return labels;
}

// Schemas 1 and 2 do not say whether there is an engine.onnx: there is one if a pass found something for it.
bool derived_of(const Entry& engine) {
    if (engine.has("derived")) return engine.at("derived").boolean();
    if (!engine.has("rewrites")) return false;
    const Entry passes = engine.at("rewrites");
    bool derived = false;
    for (std::size_t i = 0; i < passes.count(); ++i) derived |= passes[i].at("rewritten").count() > 0;
    return derived;
}

std::optional<std::string> line_or_null(const Entry& entry) {
    if (entry.is_null()) return std::nullopt;
    return entry.line();
}

PlanFacts plan_of(const Entry& entry) {
    PlanFacts plan;
    const Entry targets = entry.at("targets"), options = entry.at("options");
    for (std::size_t i = 0; i < targets.count(); ++i) plan.targets.push_back(targets[i].line());
    plan.compute_capability = line_or_null(entry.at("compute_capability"));
    plan.gpu = line_or_null(entry.at("gpu"));
    plan.system = entry.at("system").line();
    plan.version_compatible = options.has("version_compatible") && options.at("version_compatible").boolean();
    if (options.has("hardware_compatibility")) {
        plan.ampere_plus = options.at("hardware_compatibility").line() == "ampere-plus";
    }
    if (options.has_value("dla")) plan.dla = options.at("dla").integer(0, kDlaCores - 1);
    return plan;
}

Manifest manifest_of(const Entry& entry) {
    Manifest manifest;
    manifest.precision = entry.at("precision").one_of(kPrecisions);
    manifest.contract = contract_of(entry.at("contract"));
    const Entry preprocessing = entry.at("preprocessing");
    if (preprocessing.has("resample")) manifest.resample = preprocessing.at("resample").integer(0, kHighestResample);

    // A classifier may have more classes than fit into a byte; it is refused for what it is, later.
    const bool has_masks = manifest.contract.mask_size != Size{};
    manifest.labels = labels_of(entry.at("labels"), has_masks ? kMaxClasses : kMostJsonValues);
    const bool needs_masks = manifest.contract.output == Output::mask || manifest.contract.output == Output::scores;
    if (needs_masks && !has_masks) throw Unexpected("contract.mask_size is missing, though the output has a mask");

    const Entry engine = entry.at("engine");
    manifest.engine = engine.at("name").line();
    manifest.engine_version = engine.at("version").line();
    manifest.engine_device = engine.at("device").line();
    if (engine.has("class_map")) manifest.class_map = engine.at("class_map").one_of(kClassMaps);
    manifest.derived = derived_of(engine);
    if (engine.has_value("plan")) manifest.plan = plan_of(engine.at("plan"));
    return manifest;
}

// The text's tree and its schema, which this runtime reads.
std::pair<json, int> read(std::string_view text, const std::string& path) {
    try {
        json tree = read_json(text, kLongestManifest);
        const Entry schema = Entry(tree).at("schema");
        const int number = schema.integer(1, kLargest);
        if (number > kSchema) {
            throw BundleCorrupt(path + " has schema " + std::to_string(number) + ", this segexport reads up to " +
                                std::to_string(kSchema) + ": upgrade segexport, or build it again");
        }
        return {std::move(tree), number};
    } catch (const JsonRefused& error) {
        throw BundleCorrupt(path + " cannot be read (" + error.what() + "): build the bundle again");
    } catch (const Unexpected& error) {
        throw BundleCorrupt(path + " cannot be read (" + error.what() + "): build the bundle again");
    }
}

}  // namespace

int read_schema(std::string_view text, const std::string& path) { return read(text, path).second; }

Manifest parse_manifest(std::string_view text, const std::string& path) {
    const auto [tree, schema] = read(text, path);
    try {
        Manifest manifest = manifest_of(Entry(tree));
        manifest.schema = schema;
        return manifest;
    } catch (const Unexpected& error) {
        throw BundleCorrupt(path + " does not follow its schema (" + error.what() + "): build the bundle again");
    }
}

}  // namespace segexport::detail
