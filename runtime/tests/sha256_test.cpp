// SHA-256 against the vectors of NIST (FIPS 180-4 and its examples), in one piece and cut in two anywhere.

#include "sha256.hpp"

#include <sstream>
#include <string>
#include <vector>

#include "check.hpp"

using segexport::detail::Sha256;
using segexport::detail::sha256_of;

namespace {

std::string digest(const std::string& text) {
    Sha256 sha;
    sha.update(text.data(), text.size());
    return sha.hex();
}

std::string in_pieces(const std::string& text, std::size_t piece) {
    Sha256 sha;
    for (std::size_t at = 0; at < text.size(); at += piece) {
        sha.update(text.data() + at, std::min(piece, text.size() - at));
    }
    return sha.hex();
}

void vectors() {
    CHECK(digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(digest("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
                 "mnopqrstnopqrstu") == "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    CHECK(digest(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    CHECK(digest("\xbd") == "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b");
    CHECK(digest("\xc9\x8c\x8e\x55") == "7abc22c0ae5af26ce93dbb94433a0e0b2e119d014f8e7f65bd56c61ccccd9504");
    // Zeros around the lengths where the padding needs one block more.
    CHECK(digest(std::string(55, '\0')) == "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7");
    CHECK(digest(std::string(56, '\0')) == "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb");
    CHECK(digest(std::string(57, '\0')) == "65a16cb7861335d5ace3c60718b5052e44660726da4cd13bb745381b235a1785");
    CHECK(digest(std::string(64, '\0')) == "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b");
}

void pieces() {
    std::string text;
    for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
    for (std::size_t length = 0; length <= text.size(); ++length) {
        const std::string start = text.substr(0, length);
        const std::string whole = digest(start);
        for (const std::size_t piece : {1, 3, 55, 63, 64, 65, 128}) CHECK(in_pieces(start, piece) == whole);
    }
}

void streams() {
    for (const std::size_t length : {0, 1, 1 << 20, (1 << 20) + 1, (3 << 20) - 1}) {
        const std::string text(length, 'x');
        std::istringstream stream(text);
        CHECK(sha256_of(stream) == digest(text));
        CHECK(!stream.bad());
    }
}

}  // namespace

int main() {
    vectors();
    pieces();
    streams();
    return check::result();
}
