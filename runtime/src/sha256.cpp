#include "sha256.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace segexport::detail {

namespace {

// Fractional parts of the cube roots of the first 64 primes: FIPS 180-4, section 4.2.2.
constexpr std::uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

inline std::uint32_t rotate(std::uint32_t x, int bits) { return x >> bits | x << (32 - bits); }

inline std::uint32_t big_endian(const std::uint8_t* bytes) {
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
           std::uint32_t{bytes[3]};
}

// One round: writes d and h alone. The caller names the eight variables in turn, so that none is moved.
inline void round(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t& d, std::uint32_t e, std::uint32_t f,
                  std::uint32_t g, std::uint32_t& h, std::uint32_t word_and_constant) {
    h += (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + word_and_constant;
    d += h;
    h += (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
}

// Word `t` of the schedule, in a ring of sixteen: section 6.2.2, step 1.
inline std::uint32_t next_word(std::uint32_t* ring, int t) {
    const std::uint32_t two = ring[(t + 14) & 15], fifteen = ring[(t + 1) & 15];
    return ring[t & 15] += (rotate(two, 17) ^ rotate(two, 19) ^ two >> 10) + ring[(t + 9) & 15] +
                           (rotate(fifteen, 7) ^ rotate(fifteen, 18) ^ fifteen >> 3);
}

}  // namespace

void Sha256::take(const std::uint8_t* blocks, std::size_t count) {
    for (; count > 0; --count, blocks += kBlock) {
        std::uint32_t ring[16];
        for (int t = 0; t < 16; ++t) ring[t] = big_endian(blocks + 4 * t);
        auto [a, b, c, d, e, f, g, h] = state_;
        for (int t = 0; t < 64; t += 16) {
            // Unrolled, so that the variables and the ring stay in registers.
            const auto word = [&, t](int i) { return (t == 0 ? ring[i] : next_word(ring, i)) + kRounds[t + i]; };
            for (int half = 0; half < 16; half += 8) {
                round(a, b, c, d, e, f, g, h, word(half));
                round(h, a, b, c, d, e, f, g, word(half + 1));
                round(g, h, a, b, c, d, e, f, word(half + 2));
                round(f, g, h, a, b, c, d, e, word(half + 3));
                round(e, f, g, h, a, b, c, d, word(half + 4));
                round(d, e, f, g, h, a, b, c, word(half + 5));
                round(c, d, e, f, g, h, a, b, word(half + 6));
                round(b, c, d, e, f, g, h, a, word(half + 7));
            }
        }
        const std::uint32_t worked[8] = {a, b, c, d, e, f, g, h};
        for (int i = 0; i < 8; ++i) state_[i] += worked[i];
    }
}

void Sha256::update(const void* data, std::size_t bytes) {
    if (bytes == 0) return;  // data may be null then
    const auto* from = static_cast<const std::uint8_t*>(data);
    const std::size_t begun = bytes_ % kBlock;
    bytes_ += bytes;
    if (begun != 0) {
        const std::size_t taken = std::min(bytes, kBlock - begun);
        std::memcpy(begun_.data() + begun, from, taken);
        if (begun + taken < kBlock) return;
        take(begun_.data(), 1);
        from += taken;
        bytes -= taken;
    }
    take(from, bytes / kBlock);
    std::memcpy(begun_.data(), from + bytes / kBlock * kBlock, bytes % kBlock);
}

std::string Sha256::hex() {
    // A one, zeros up to eight bytes before the end of a block, and the length in bits: section 5.1.1.
    const std::uint64_t bits = bytes_ * 8;
    const std::size_t begun = bytes_ % kBlock;
    std::uint8_t end[kBlock + 8] = {0x80};
    const std::size_t padding = (begun < kBlock - 8 ? kBlock : 2 * kBlock) - 8 - begun;
    for (int i = 0; i < 8; ++i) end[padding + i] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
    update(end, padding + 8);

    std::string digits;
    for (const std::uint32_t word : state_) {
        for (int shift = 28; shift >= 0; shift -= 4) digits += "0123456789abcdef"[word >> shift & 15];
    }
    return digits;
}

std::string sha256_of(std::istream& stream) {
    Sha256 digest;
    std::vector<char> piece(1 << 20);
    while (stream) {
        stream.read(piece.data(), static_cast<std::streamsize>(piece.size()));
        digest.update(piece.data(), static_cast<std::size_t>(stream.gcount()));
    }
    return digest.hex();
}

}  // namespace segexport::detail
