#include "bundle.hpp"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <map>
#include <system_error>

#include "in_quotes.hpp"
#include "sha256.hpp"

namespace segexport::detail {

namespace fs = std::filesystem;

namespace {

constexpr auto kManifest = "segexport.json";
constexpr auto kSums = "SHA256SUMS";
constexpr std::size_t kLongestSums = std::size_t{1} << 20;  // bytes; a bundle has about ten files
constexpr std::size_t kLongestName = 1024;

// As Python's pathlib writes it: without the last slash, doubled ones, and `.`.
fs::path plain(const fs::path& path) {
    fs::path plain;
    for (const auto& part : path) {
        if (!part.empty() && part != ".") plain /= part;
    }
    return plain.empty() ? "." : plain;
}

bool is_file(const fs::path& path) {
    std::error_code nothing;
    return fs::is_regular_file(path, nothing);
}

BundleCorrupt unreadable(const fs::path& path) {
    const std::string reason = errno != 0 ? std::generic_category().message(errno) : "reading failed";
    return BundleCorrupt(path.string() + " cannot be read (" + reason +
                         "): make it readable, or copy the bundle again, whole");
}

std::ifstream open(const fs::path& path) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) throw unreadable(path);
    return file;
}

// Of a text that is longer, one byte more than `longest`.
std::string text_of(const fs::path& path, std::size_t longest) {
    std::ifstream file = open(path);
    std::string text, piece(1 << 16, '\0');
    while (file && text.size() <= longest) {
        file.read(piece.data(), static_cast<std::streamsize>(std::min(piece.size(), longest + 1 - text.size())));
        text.append(piece, 0, static_cast<std::size_t>(file.gcount()));
    }
    if (file.bad()) throw unreadable(path);
    return text;
}

void require_listed(const std::string& name, const std::vector<Sum>& sums, const fs::path& folder) {
    const auto same = [&](const Sum& sum) { return sum.name == name; };
    if (std::any_of(sums.begin(), sums.end(), same)) return;
    throw BundleCorrupt((folder / kSums).string() + " does not list " + name + ": copy or build the bundle again");
}

void verify(const Sum& sum, const fs::path& folder) {
    const fs::path path = sum.name.empty() ? folder : folder / sum.name;
    if (!sum.name.empty() && !is_inside(sum.name)) {
        throw BundleCorrupt((folder / kSums).string() + " lists " + in_quotes(sum.name) +
                            ", which is no file of a bundle: copy or build the bundle again");
    }
    if (!is_file(path)) {
        throw BundleCorrupt(path.string() + " is missing, though " + kSums + " lists it: copy the bundle again, whole");
    }
    std::ifstream file = open(path);
    const std::string digest = sha256_of(file);
    if (file.bad()) throw unreadable(path);
    if (digest != sum.digest) {
        throw BundleCorrupt(path.string() + " is not the file that was built (its SHA-256 is not the one in " + kSums +
                            "): copy or build it again");
    }
}

// Checks every file against its checksum; the names of them all.
std::vector<Sum> verify_all(const fs::path& folder) {
    const fs::path path = folder / kSums;
    if (!is_file(path)) {
        throw BundleCorrupt(folder.string() + " has no " + kSums + ": copy the bundle again, whole");
    }
    const std::string text = text_of(path, kLongestSums);
    if (text.size() > kLongestSums) {
        throw BundleCorrupt(path.string() + " cannot be read (it is longer than " + std::to_string(kLongestSums >> 20) +
                            " MiB): copy or build the bundle again");
    }
    std::vector<Sum> sums = parse_sums(text);
    for (const char* name : {"model.onnx", kManifest}) require_listed(name, sums, folder);
    for (const Sum& sum : sums) verify(sum, folder);
    return sums;
}

}  // namespace

std::vector<Sum> parse_sums(std::string_view text) {
    std::string lines;  // ended as Python reads them: a copy by way of Windows has \r\n
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\r') {
            lines += text[i];
        } else if (i + 1 == text.size() || text[i + 1] != '\n') {
            lines += '\n';
        }
    }
    if (!lines.empty() && lines.back() == '\n') lines.pop_back();

    std::vector<Sum> sums;
    std::map<std::string, std::size_t> places;
    for (std::size_t start = 0; start <= lines.size();) {
        const std::size_t end = std::min(lines.find('\n', start), lines.size());
        const std::string line = lines.substr(start, end - start);
        const std::size_t gap = line.find("  ");
        const std::string name = gap == std::string::npos ? "" : line.substr(gap + 2);
        const auto [place, is_new] = places.emplace(name, sums.size());
        if (is_new) sums.push_back({name, ""});
        sums[place->second].digest = line.substr(0, gap);
        start = end + 1;
    }
    return sums;
}

bool is_inside(std::string_view name) {
    if (name.empty() || name.size() > kLongestName) return false;
    for (const char c : name) {
        if (c < 0x20 || c >= 0x7f) return false;
    }
    for (std::size_t start = 0; start <= name.size();) {
        const std::size_t end = std::min(name.find('/', start), name.size());
        const std::string_view part = name.substr(start, end - start);
        if (part.empty() || part == "." || part == "..") return false;
        start = end + 1;
    }
    return true;
}

Bundle open_bundle(const fs::path& given) {
    const fs::path folder = plain(given);
    const fs::path path = folder / kManifest;
    if (!is_file(path)) {
        throw BundleCorrupt(folder.string() + " is not a bundle (it has no " + kManifest +
                            "): pass a folder made by segexport build");
    }
    const std::string text = text_of(path, kLongestManifest);
    read_schema(text, path.string());
    const std::vector<Sum> sums = verify_all(folder);
    Bundle bundle{folder, parse_manifest(text, path.string())};
    require_listed(bundle.engine_graph().filename().string(), sums, folder);
    if (bundle.manifest.plan) require_listed(bundle.plan().filename().string(), sums, folder);
    return bundle;
}

}  // namespace segexport::detail
