// What a manifest's text becomes, and what is said of one that is wrong.

#include "manifest.hpp"

#include <string>

#include "check.hpp"
#include "fuzz/manifest_text.hpp"

using namespace segexport;
using detail::parse_manifest;

namespace {

// The manifest with `from`, which is in it, replaced.
std::string with(const std::string& from, const std::string& to, std::string text = kManifestText) {
    const auto at = text.find(from);
    CHECK(at != std::string::npos);
    if (at != std::string::npos) text.replace(at, from.size(), to);
    return text;
}

detail::Manifest parse(const std::string& text) { return parse_manifest(text, "a/segexport.json"); }

#define WRONG(from, to, reason)                        \
    CHECK_THROWS(parse(with(from, to)), BundleCorrupt, \
                 "a/segexport.json does not follow its schema (" reason "): build the bundle again")

#define UNREADABLE(text, reason) \
    CHECK_THROWS(parse(text), BundleCorrupt, "a/segexport.json cannot be read (" reason "): build the bundle again")

void newest() {
    const detail::Manifest manifest = parse(kManifestText);
    CHECK(manifest.schema == 4 && manifest.precision == "fp16" && manifest.resample == 3);
    const Contract& contract = manifest.contract;
    CHECK(contract.size == (Size{512, 1024}) && contract.image_size == (Size{1080, 1920}));
    CHECK(contract.mask_size == (Size{1080, 1920}) && contract.batch == 1);
    CHECK(contract.channel_order == PixelFormat::rgb && contract.output == Output::mask);
    CHECK(contract.grid.patch == 3 && contract.grid.stride == 2);
    const Labels& labels = manifest.labels;
    CHECK(labels.names.size() == 3 &&
          labels.names[1] ==
              "Stra\xc3\x9f"
              "e" &&
          labels.reduce);
    CHECK((labels.palette[1] == std::array<std::uint8_t, 3>{0, 255, 7}));
    CHECK(manifest.engine == "tensorrt" && manifest.engine_version == "10.13.3.9");
    CHECK(manifest.engine_device == "cuda:0" && manifest.class_map == detail::ClassMapBy::device && manifest.derived);
    CHECK(manifest.plan.has_value());
    if (!manifest.plan) return;
    CHECK(manifest.plan->targets == std::vector<std::string>{"sm87"} && manifest.plan->compute_capability == "8.7");
    CHECK(manifest.plan->gpu == "Orin (nvgpu)" && manifest.plan->system == "Linux aarch64");
    CHECK(manifest.plan->version_compatible && manifest.plan->ampere_plus && manifest.plan->dla == 1);
}

// Entries that newer fields of the schema, or segexport.spec, have defaults for.
void missing_ones() {
    std::string text = with(R"("derived": true,)", "");
    text = with(R"("class_map": "device",)", "", text);
    text = with(R"("batch": 1, "channel_order": "rgb", "output": "mask",)", "", text);
    text = with(R"(, "resample": 3)", "", text);
    text = with(",\n             \"reduce\": true", "", text);
    text = with(R"("source_size": [1080, 1920], )", "", text);
    text = with(",\n               \"grid\": {\"patch\": 3, \"stride\": 2}", "", text);
    text = with(R"("version_compatible": true, "hardware_compatibility": "ampere-plus", "dla": 1)", "", text);
    detail::Manifest manifest = parse(text);
    CHECK(manifest.derived);  // a pass rewrote something
    CHECK(manifest.class_map == detail::ClassMapBy::graph && manifest.resample == 2 && !manifest.labels.reduce);
    CHECK(manifest.contract.batch == 1 && manifest.contract.output == Output::mask);
    CHECK(manifest.contract.image_size == (Size{512, 1024}));
    CHECK(manifest.contract.grid.patch == 7 && manifest.contract.grid.stride == 4);
    CHECK(manifest.plan && !manifest.plan->version_compatible && !manifest.plan->ampere_plus && !manifest.plan->dla);

    manifest = parse(with(R"(["a/MatMul"])", "[]", text));
    CHECK(!manifest.derived);  // none did
    manifest = parse(with(R"("rewrites": [{)", R"("passes": [{)", text));
    CHECK(!manifest.derived);
    CHECK(!parse(with(R"("derived": true)", R"("derived": false)")).derived);  // said so, whatever the passes did
    manifest = parse(
        with(R"x("compute_capability": "8.7", "gpu": "Orin (nvgpu)")x", R"("compute_capability": null, "gpu": null)"));
    CHECK(manifest.plan && !manifest.plan->compute_capability && !manifest.plan->gpu);
    CHECK(!parse(with(R"("plan": {)", R"("plan": null, "once": {)")).plan);
}

void other_values() {
    CHECK(parse(with(R"("batch": 1)", R"("batch": -1)")).contract.batch == -1);
    CHECK(parse(with(R"("rgb")", R"("bgr")")).contract.channel_order == PixelFormat::bgr);
    CHECK(parse(with(R"("mask", "mask_size")", R"("scores", "mask_size")")).contract.output == Output::scores);
    CHECK(parse(with(R"("schema": 4,)", R"("schema": 4, "surprise": [1, {"a": null}],)")).schema == 4);

    const std::string classifier =
        with(R"("output": "mask", "mask_size": [1080, 1920])", R"("output": "topk", "mask_size": null)");
    std::string names = R"("0")", colours = "[0, 0, 0]";
    for (int i = 1; i < 300; ++i) {
        names += ", \"" + std::to_string(i) + "\"";
        colours += ", [0, 0, 0]";
    }
    const auto relabelled = [&](const std::string& text) {
        const std::string recoloured = with("[128, 64, 128], [0, 255, 7], [70, 130, 180]", colours, text);
        return with(R"("road", "Stra\u00dfe", "sky")", names, recoloured);
    };
    CHECK(parse(relabelled(classifier)).labels.names.size() == 300);
    CHECK(parse(classifier).contract.mask_size == Size{});
    CHECK_THROWS(parse(relabelled(kManifestText)), BundleCorrupt, "(labels.names is not a list of 1 to 255 classes)");
}

void wrong_ones() {
    WRONG("[512, 1024]", "[512]", "contract.size is not a height and a width");
    WRONG("[512, 1024]", "512", "contract.size is not a list");
    WRONG("[512, 1024]", "[31, 1024]", "contract.size[0] is not a whole number from 32 to 16384");
    WRONG("[512, 1024]", "[512, 16385]", "contract.size[1] is not a whole number from 32 to 16384");
    WRONG("[512, 1024]", "[512.0, 1024]", "contract.size[0] is not a whole number from 32 to 16384");
    WRONG("[512, 1024]", "[512, \"1024\"]", "contract.size[1] is not a whole number from 32 to 16384");
    WRONG("[512, 1024]", "[512, true]", "contract.size[1] is not a whole number from 32 to 16384");
    WRONG("[512, 1024]", "[512, 18446744073709551615]", "contract.size[1] is not a whole number from 32 to 16384");
    WRONG("[512, 1024]", "[512, 18446744073709552128]", "contract.size[1] is not a whole number from 32 to 16384");
    WRONG("[512, 1024]", "[512, 4294967808]", "contract.size[1] is not a whole number from 32 to 16384");
    WRONG("[512, 1024]", "[512, -9223372036854775808]", "contract.size[1] is not a whole number from 32 to 16384");
    WRONG("\"size\": [512, 1024]", "\"sizes\": 1", "contract.size is missing");
    WRONG("\"batch\": 1", "\"batch\": 0", "contract.batch is not 1 or more, or -1 for any");
    WRONG("\"batch\": 1", "\"batch\": -2", "contract.batch is not a whole number from -1 to 2147483647");
    WRONG("\"rgb\"", "\"gbr\"", "contract.channel_order is 'gbr', which is none of rgb, bgr");
    WRONG("\"rgb\"", "\"\\u00e9\\u001b\"", "contract.channel_order is not a string without control characters");
    WRONG("\"mask\",", "\"masks\",", "contract.output is 'masks', which is none of mask, scores, logits, topk");
    WRONG("\"mask_size\": [1080, 1920]", "\"mask_size\": null",
          "contract.mask_size is missing, though the output has a mask");
    WRONG("\"patch\": 3", "\"patch\": 0", "contract.grid.patch is not a whole number from 1 to 64");
    WRONG("\"stride\": 2", "\"stride\": 65", "contract.grid.stride is not a whole number from 1 to 64");
    WRONG("{\"patch\": 3, \"stride\": 2}", "[3, 2]", "contract.grid is not an object");
    WRONG("\"resample\": 3", "\"resample\": 6", "preprocessing.resample is not a whole number from 0 to 5");
    WRONG("\"fp16\"", "\"fp8\"", "precision is 'fp8', which is none of fp32, bf16, fp16, int8");
    WRONG("\"fp16\"", "null", "precision is not a string");
    WRONG("[0, 255, 7]", "[0, 256, 7]", "labels.palette[1][1] is not a whole number from 0 to 255");
    WRONG("[0, 255, 7]", "[0, 255]", "labels.palette[1] is not red, green and blue");
    WRONG("[0, 255, 7], ", "", "labels.palette is not a list of one colour for each of labels.names");
    WRONG("\"sky\"", "7", "labels.names[2] is not a string");
    WRONG("\"sky\"", "\"s\\u0000y\"", "labels.names[2] is not a string without a zero byte");
    WRONG("\"reduce\": true", "\"reduce\": 1", "labels.reduce is not true or false");
    WRONG("\"engine\": {", "\"engine\": [], \"once\": {", "engine is not an object");
    WRONG("\"engine\": {", "\"once\": {", "engine is missing");
    WRONG("\"cuda:0\"", "\"cuda:0\\u0000\"", "engine.device is not a string without a zero byte");
    WRONG("\"cuda:0\"", "\"cuda\\n0\"", "engine.device is not a string without control characters");
    WRONG("\"class_map\": \"device\"", "\"class_map\": \"cloud\"",
          "engine.class_map is 'cloud', which is none of graph, host, device");
    WRONG("\"derived\": true", "\"derived\": \"yes\"", "engine.derived is not true or false");
    WRONG("\"plan\": {", "\"plan\": [], \"once\": {", "engine.plan is not an object");
    WRONG("[\"sm87\"]", "[87]", "engine.plan.targets[0] is not a string");
    WRONG("\"8.7\"", "8.7", "engine.plan.compute_capability is not a string");
    WRONG("\"dla\": 1", "\"dla\": -1", "engine.plan.options.dla is not a whole number from 0 to 15");
    WRONG("\"labels\": {", "\"labels\": \"x\", \"once\": {", "labels is not an object");
}

void unreadable_ones() {
    UNREADABLE("", "it is not JSON from byte 1 on");
    UNREADABLE("{\"schema\": 4", "it is not JSON from byte 13 on");
    UNREADABLE(std::string(kManifestText).substr(0, 700), "it is not JSON from byte 701 on");
    UNREADABLE("[]", "the whole is not an object");
    UNREADABLE("4", "the whole is not an object");
    UNREADABLE("{}", "schema is missing");
    UNREADABLE("{\"schema\": \"4\"}", "schema is not a whole number from 1 to 2147483647");
    UNREADABLE("{\"schema\": 0}", "schema is not a whole number from 1 to 2147483647");
    UNREADABLE("{\"schema\": 4, \"a\": NaN}", "it is not JSON from byte 20 on");
    UNREADABLE("{\"schema\": 4, \"a\": 1e999}", "it is not JSON from byte 24 on");
    UNREADABLE("{\"schema\": 4, \"a\": \"\xff\"}", "it is not JSON from byte 21 on");
    UNREADABLE("{\"schema\": 4, \"a\": \"\\ud800\"}", "it is not JSON from byte 27 on");
    UNREADABLE(std::string("{\"schema\": 4}\0{", 15), "it is not JSON from byte 14 on");
    UNREADABLE("{\"schema\": 4} {", "it is not JSON from byte 15 on");
    UNREADABLE("{\"schema\": 4, \"schema\": 3}", "one object has 'schema' twice");
    UNREADABLE(with("\"dla\": 1", "\"dla\": 1, \"dla\": 0"), "one object has 'dla' twice");
    UNREADABLE("{\"a\\n\\u00ff\": 4, \"a\\n\\u00ff\": 3}", "one object has 'a\\x0a\\xc3\\xbf' twice");
    const std::string newest = std::to_string(detail::kSchema), newer = std::to_string(detail::kSchema + 1);
    CHECK_THROWS(parse("{\"schema\": " + newer + "}"), BundleCorrupt,
                 "a/segexport.json has schema " + newer + ", this segexport reads up to " + newest +
                     ": upgrade segexport, or build it again");
    CHECK(detail::read_schema("{\"schema\": 2, \"rest\": \"unread\"}", "a") == 2);
}

void bounds() {
    const auto nested = [](std::size_t depth, const char* open, const char* close) {
        std::string text = "{\"schema\": 4, \"deep\": ";
        for (std::size_t i = 0; i < depth; ++i) text += open;
        text += "1";
        for (std::size_t i = 0; i < depth; ++i) text += close;
        return text + "}";
    };
    CHECK(detail::read_schema(nested(63, "[", "]"), "a") == 4);
    CHECK(detail::read_schema(nested(63, "{\"a\":", "}"), "a") == 4);
    UNREADABLE(nested(64, "[", "]"), "it is nested deeper than 64");
    UNREADABLE(nested(64, "{\"a\":", "}"), "it is nested deeper than 64");
    UNREADABLE(std::string(100000, '['), "it is nested deeper than 64");
    UNREADABLE(std::string(detail::kLongestManifest + 1, ' '), "it is longer than 16 MiB");
    const std::string long_name = "\"" + std::string(100000, 'x') + "\"";
    CHECK_THROWS(parse(with("\"rgb\"", long_name)), BundleCorrupt, "xxx...', which is none");
}

}  // namespace

int main() {
    newest();
    missing_ones();
    other_values();
    wrong_ones();
    unreadable_ones();
    bounds();
    return check::result();
}
