// Any bytes as SHA256SUMS: no name leads out of the bundle's folder.

#include <filesystem>
#include <set>
#include <string_view>

#include "bundle.hpp"
#include "target.hpp"

using namespace segexport;

std::vector<std::string> fuzz::seeds() {
    const std::string digest(64, 'a');
    return {digest + "  golden/image.png\n" + digest + "  model.onnx\n" + digest + "  segexport.json\n",
            digest + "  model.onnx\r\n" + digest + "  segexport.json\r\n", "\n", ""};
}

std::vector<std::string> fuzz::dictionary() {
    return {"  ",
            " ",
            "/",
            "..",
            "../",
            "/..",
            ".",
            "./",
            "//",
            "\n",
            "\r",
            "\r\n",
            std::string(1, '\0'),
            "\xff",
            "\xc3\xa9",
            "model.onnx",
            "segexport.json",
            "\t",
            "\x7f",
            "~",
            "\\",
            std::string(300, 'a')};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::set<std::string> names;
    bool all = true;
    for (const auto& sum : detail::parse_sums({reinterpret_cast<const char*>(data), size})) {
        fuzz::require(names.insert(sum.name).second, "a name twice");
        fuzz::require(sum.name.find('\n') == std::string::npos, "a name of two lines");
        if (!detail::is_inside(sum.name)) {
            all = false;
            continue;
        }
        fuzz::require_one_line(sum.name);
        const std::filesystem::path path = std::filesystem::path("/bundle") / sum.name;
        fuzz::require(path == path.lexically_normal(), "a name in another way of writing");
        fuzz::require(path.string().rfind("/bundle/", 0) == 0, "a name that leads out");
    }
    fuzz::accepted += all;
    return 0;
}
