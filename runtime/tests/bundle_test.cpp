// Bundles on disk that are not what was built, and lists of checksums that somebody made up. The wording beside
// Python's is compared by tests/runtime/test_manifest_cpp.py.

#include "bundle.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "check.hpp"
#include "fuzz/manifest_text.hpp"
#include "sha256.hpp"

using namespace segexport;
namespace fs = std::filesystem;

namespace {

// A bundle of made-up files in a folder of its own, removed at the end.
class Made {
   public:
    Made() {
        std::string name = (fs::temp_directory_path() / "segexport-bundle-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
        folder_ = name;
        fs::create_directory(folder_ / "golden");
        for (const char* file : {"model.onnx", "engine.onnx", "engine.plan", "golden/image.png"}) write(file, file);
        write("segexport.json", kManifestText);
        write("SHA256SUMS", sums());
    }
    Made(const Made&) = delete;
    Made& operator=(const Made&) = delete;
    ~Made() {
        std::error_code nothing;
        fs::remove_all(folder_, nothing);
    }

    const fs::path& folder() const { return folder_; }
    std::string path(const std::string& name) const { return (folder_ / name).string(); }
    void write(const std::string& name, const std::string& text) const {
        std::ofstream(folder_ / name, std::ios::binary) << text;
    }
    std::string line(const std::string& name) const {
        std::ifstream file(folder_ / name, std::ios::binary);
        return detail::sha256_of(file) + "  " + name + "\n";
    }
    std::string sums() const {
        return line("engine.onnx") + line("engine.plan") + line("golden/image.png") + line("model.onnx") +
               line("segexport.json");
    }

   private:
    fs::path folder_;
};

void whole() {
    const Made made;
    const detail::Bundle bundle = detail::open_bundle(made.folder() / "." / "");
    CHECK(bundle.folder == made.folder());
    CHECK(bundle.manifest.engine == "tensorrt" && bundle.engine_graph() == made.folder() / "engine.onnx");
    CHECK(bundle.plan() == made.folder() / "engine.plan" && bundle.cache() == made.folder() / "cache");

    std::string windows = made.sums();
    for (std::size_t at = 0; (at = windows.find('\n', at)) != std::string::npos; at += 2) windows.insert(at, "\r");
    made.write("SHA256SUMS", windows);
    CHECK(detail::open_bundle(made.folder()).manifest.schema == 4);
}

void damaged() {
    const Made made;
    const auto open = [&] { return detail::open_bundle(made.folder()); };
    made.write("engine.plan", "engine");
    CHECK_THROWS(open(), BundleCorrupt, made.path("engine.plan") + " is not the file that was built (its SHA-256");
    fs::remove(made.folder() / "engine.plan");
    CHECK_THROWS(open(), BundleCorrupt, made.path("engine.plan") + " is missing, though SHA256SUMS lists it");
    fs::create_directory(made.folder() / "engine.plan");
    CHECK_THROWS(open(), BundleCorrupt, made.path("engine.plan") + " is missing, though SHA256SUMS lists it");
    fs::remove(made.folder() / "engine.plan");
    made.write("SHA256SUMS", made.line("model.onnx") + made.line("segexport.json") + made.line("engine.onnx"));
    CHECK_THROWS(open(), BundleCorrupt, made.path("SHA256SUMS") + " does not list engine.plan: copy or build");
    made.write("SHA256SUMS", made.line("model.onnx") + made.line("segexport.json"));
    CHECK_THROWS(open(), BundleCorrupt, made.path("SHA256SUMS") + " does not list engine.onnx");
    made.write("SHA256SUMS", made.line("segexport.json"));
    CHECK_THROWS(open(), BundleCorrupt, made.path("SHA256SUMS") + " does not list model.onnx");
    fs::remove(made.folder() / "SHA256SUMS");
    CHECK_THROWS(open(), BundleCorrupt, made.folder().string() + " has no SHA256SUMS: copy the bundle again, whole");
    fs::remove(made.folder() / "segexport.json");
    CHECK_THROWS(open(), BundleCorrupt, made.folder().string() + " is not a bundle (it has no segexport.json): pass");
    CHECK_THROWS(detail::open_bundle(""), BundleCorrupt, ". is not a bundle");
    CHECK_THROWS(detail::open_bundle(std::string(100000, 'a')), BundleCorrupt, "is not a bundle");
}

void made_up() {
    const Made made;
    const auto open = [&](const std::string& more) {
        made.write("SHA256SUMS", made.sums() + more);
        return detail::open_bundle(made.folder());
    };
    const std::string digest(64, '0');
    for (const std::string name : {"/etc/passwd", "../model.onnx", "golden/../model.onnx", "golden/..", "./model.onnx",
                                   "golden//image.png", "golden/", "..", "/", " model.onnx"}) {
        CHECK_THROWS(open(digest + "  " + name + "\n"), BundleCorrupt,
                     name[0] == ' ' ? made.path(name) + " is missing"
                                    : "SHA256SUMS lists '" + name + "', which is no file of a bundle: copy or build");
    }
    CHECK_THROWS(open(digest + "  a\x1b[2J\n"), BundleCorrupt, "lists 'a\\x1b[2J', which is no file of a bundle");
    CHECK_THROWS(open(digest + "  " + std::string(1, '\0') + "\n"), BundleCorrupt, "lists '\\x00', which is no file");
    CHECK_THROWS(open(digest + "  \xc3\xa9\n"), BundleCorrupt, "lists '\\xc3\\xa9', which is no file of a bundle");
    CHECK_THROWS(open(digest + "  " + std::string(2000, 'a') + "\n"), BundleCorrupt, "aaa...', which is no file");
    CHECK_THROWS(open(digest + "  " + std::string(1000, 'a') + "\n"), BundleCorrupt, "aaa is missing, though");
    CHECK_THROWS(open("\n"), BundleCorrupt, made.folder().string() + " is missing, though SHA256SUMS lists it");
    CHECK_THROWS(open("no gap\n"), BundleCorrupt, made.folder().string() + " is missing, though SHA256SUMS lists it");
    CHECK_THROWS(open(digest + "  model.onnx\n"), BundleCorrupt, made.path("model.onnx") + " is not the file that was");
    CHECK_THROWS(open(std::string((1 << 20) + 1, 'a')), BundleCorrupt, "cannot be read (it is longer than 1 MiB)");

    fs::create_symlink("/dev/zero", made.folder() / "zero");
    CHECK_THROWS(open(digest + "  zero\n"), BundleCorrupt, made.path("zero") + " is missing, though");
    made.write("segexport.json", std::string(detail::kLongestManifest + 5, ' '));
    CHECK_THROWS(open(""), BundleCorrupt, "segexport.json cannot be read (it is longer than 16 MiB): build the bundle");
}

void lines() {
    CHECK(detail::parse_sums("").size() == 1 && detail::parse_sums("")[0].name.empty());
    const auto sums = detail::parse_sums("1  a\n2  b  c\r\n3  a\r4 d");
    CHECK(sums.size() == 3);
    CHECK(sums[0].name == "a" && sums[0].digest == "3");  // the last one counts
    CHECK(sums[1].name == "b  c" && sums[1].digest == "2");
    CHECK(sums[2].name.empty() && sums[2].digest == "4 d");
    CHECK(detail::parse_sums(std::string(1 << 20, '\n')).size() == 1);
    std::string many;
    for (int i = 0; i < 100000; ++i) many += "0  " + std::to_string(i) + "\n";
    CHECK(detail::parse_sums(many).size() == 100000);
    CHECK(detail::is_inside("golden/image.png") && detail::is_inside("...") && detail::is_inside("a..b/.c"));
    CHECK(!detail::is_inside("") && !detail::is_inside("a/../b") && !detail::is_inside("a\x7f"));
}

}  // namespace

int main() {
    whole();
    damaged();
    made_up();
    lines();
    return check::result();
}
