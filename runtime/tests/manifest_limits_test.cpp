// The most that a hostile manifest can make the reader do: texts as long as are read at all, of one kind of piece each,
// and the memory that is spent on them.

#include <fstream>
#include <string>

#include "check.hpp"
#include "manifest.hpp"

using namespace segexport;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer);
#else
constexpr bool kSanitized = false;
#endif
// With sanitizers a sixteenth: they take minutes, and most of the memory.
constexpr std::size_t kLongest = detail::kLongestManifest / (kSanitized ? 16 : 1);

// A manifest with a list of this piece again and again, and `last`.
std::string filled(const std::string& piece, const std::string& last) {
    std::string text = "{\"schema\": 4, \"many\": [";
    while (text.size() + piece.size() + last.size() + 2 < kLongest) text += piece;
    return text + last + "]}";
}

std::string names() {
    std::string text = "{\"schema\": 4";
    while (text.size() + 100 < kLongest) {
        text += ",\"a long beginning that all names have in common, and then " + std::to_string(text.size()) + "\":0";
    }
    return text + "}";
}

#define REFUSED(text, reason) \
    CHECK_THROWS(detail::parse_manifest(text, "a"), BundleCorrupt, "a cannot be read (" reason)

// Of this program alone: getrusage's figure begins with that of the process that started it.
long peak_mib() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("VmHWM:", 0) == 0) return std::stol(line.substr(6)) / 1024;
    }
    return 0;
}

}  // namespace

int main() {
    REFUSED(filled("1,", "1"), "it has more than 262144 values");
    REFUSED(filled("[],", "1"), "it has more than 262144 values");
    REFUSED(filled("{},", "1"), "it has more than 262144 values");
    REFUSED(filled("{\"\":0},", "1"), "it has more than 262144 values");
    REFUSED(filled("[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]],", "1"), "it has more than 262144 values");
    REFUSED(filled("[", "1"), "it is nested deeper than 64");
    REFUSED(filled("9", "9"), "it is not JSON from byte");  // beyond any double
    REFUSED(filled("\"\\ud83d\\ude00", "\\"), "it is not JSON from byte");
    CHECK(detail::read_schema(filled(" ", "1"), "a") == 4);
    CHECK(detail::read_schema("{\"schema\": 4, \"long\": \"" + std::string(kLongest - 50, 'a') + "\"}", "a") == 4);
    CHECK(detail::read_schema(names(), "a") == 4);
    std::cout << "peak " << peak_mib() << " MiB\n";
    CHECK(kSanitized || peak_mib() < 256);
    return check::result();
}
