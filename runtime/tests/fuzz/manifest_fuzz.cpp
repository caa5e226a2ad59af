// Any bytes as segexport.json: a manifest within its limits, or BundleCorrupt.

#include "manifest.hpp"

#include <string_view>

#include "manifest_text.hpp"
#include "target.hpp"

using namespace segexport;

std::vector<std::string> fuzz::seeds() {
    const std::string whole = kManifestText;
    std::string old = whole, classifier = whole;
    old.replace(old.find("\"derived\": true,"), 16, "");
    old.replace(old.find("\"schema\": 4"), 11, "\"schema\": 2");
    classifier.replace(classifier.find("\"mask\""), 6, "\"topk\"");
    classifier.replace(classifier.find("[1080, 1920]"), 12, "null");
    return {whole, old, classifier, R"({"schema": 4})", "{\"schema\": 5}", "[]", ""};
}

std::vector<std::string> fuzz::dictionary() {
    return {"{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "null",
            "true",
            "false",
            "{}",
            "[]",
            "\"\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "\"\\n\"",
            "0",
            "-0",
            "-1",
            "1",
            "3",
            "255",
            "256",
            "31",
            "32",
            "16384",
            "16385",
            "2147483647",
            "2147483648",
            "-2147483649",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "1e3",
            "1e999",
            "-1e999",
            "1e-999",
            "0.5",
            "NaN",
            "Infinity",
            "\xff",
            "\xc3",
            "\xed\xa0\x80",
            std::string(1, '\0'),
            "\"schema\"",
            "\"contract\"",
            "\"size\"",
            "\"batch\"",
            "\"channel_order\"",
            "\"bgr\"",
            "\"output\"",
            "\"scores\"",
            "\"logits\"",
            "\"topk\"",
            "\"mask_size\"",
            "\"source_size\"",
            "\"grid\"",
            "\"patch\"",
            "\"stride\"",
            "\"preprocessing\"",
            "\"resample\"",
            "\"labels\"",
            "\"names\"",
            "\"palette\"",
            "\"reduce\"",
            "\"engine\"",
            "\"name\"",
            "\"version\"",
            "\"device\"",
            "\"class_map\"",
            "\"host\"",
            "\"graph\"",
            "\"derived\"",
            "\"rewrites\"",
            "\"rewritten\"",
            "\"plan\"",
            "\"targets\"",
            "\"compute_capability\"",
            "\"gpu\"",
            "\"system\"",
            "\"options\"",
            "\"dla\"",
            "\"version_compatible\"",
            "\"hardware_compatibility\"",
            "\"precision\"",
            "\"int8\"",
            "\"bf16\""};
}

static void require_limits(const detail::Manifest& manifest) {
    const Contract& contract = manifest.contract;
    fuzz::require(manifest.schema >= 1 && manifest.schema <= detail::kSchema, "schema");
    for (const Size size : {contract.size, contract.image_size}) {
        fuzz::require(size.height >= 32 && size.height <= 16384 && size.width >= 32 && size.width <= 16384, "size");
    }
    for (const int pixels : {contract.grid.patch, contract.grid.stride}) {
        fuzz::require(pixels >= 1 && pixels <= 64, "grid");
    }
    fuzz::require(contract.batch == -1 || contract.batch >= 1, "batch");
    fuzz::require(manifest.resample >= 0 && manifest.resample <= 5, "resample");
    const Labels& labels = manifest.labels;
    fuzz::require(!labels.names.empty() && labels.names.size() == labels.palette.size(), "labels");
    const bool has_masks = contract.mask_size != Size{};
    fuzz::require(has_masks || contract.output == Output::topk || contract.output == Output::logits, "mask size");
    fuzz::require(!has_masks || (contract.mask_size.height >= 1 && contract.mask_size.width >= 1), "mask size");
    fuzz::require(!has_masks || labels.names.size() <= 255, "classes");
    for (const auto& name : labels.names) fuzz::require(name.find('\0') == std::string::npos, "class name");
    for (const auto* text : {&manifest.engine, &manifest.engine_version, &manifest.engine_device}) {
        if (!text->empty()) fuzz::require_one_line(text->substr(0, 1000));
    }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    try {
        require_limits(detail::parse_manifest(text, "bundle/segexport.json"));
        ++fuzz::accepted;
    } catch (const BundleCorrupt& error) {
        fuzz::require_one_line(error.what());
    }
    return 0;
}
