// Text that somebody else wrote, for a message of one line.

#ifndef SEGEXPORT_SRC_IN_QUOTES_HPP
#define SEGEXPORT_SRC_IN_QUOTES_HPP

#include <string>
#include <string_view>

namespace segexport::detail {

// 'text': in printable ASCII, other bytes as \xNN, cut where it is long.
inline std::string in_quotes(std::string_view text) {
    constexpr std::size_t kLongest = 60;
    std::string shown = "'";
    for (const char c : text.substr(0, kLongest)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte < 0x7f) {
            shown += c;
        } else {
            shown += std::string("\\x") + "0123456789abcdef"[byte >> 4] + "0123456789abcdef"[byte & 15];
        }
    }
    return shown + (text.size() > kLongest ? "...'" : "'");
}

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_IN_QUOTES_HPP
