// SHA-256 (FIPS 180-4), of bytes as they come or of a whole stream. Its own, so that a cross-compiled runtime needs no
// library for it.

#ifndef SEGEXPORT_SRC_SHA256_HPP
#define SEGEXPORT_SRC_SHA256_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <istream>
#include <string>

namespace segexport::detail {

class Sha256 {
   public:
    void update(const void* data, std::size_t bytes);

    // The digest of everything so far as 64 lower-case hexadecimal digits; nothing can be added afterwards.
    std::string hex();

   private:
    static constexpr std::size_t kBlock = 64;

    void take(const std::uint8_t* blocks, std::size_t count);

    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::uint8_t, kBlock> begun_{};  // bytes that do not fill a block yet
    std::uint64_t bytes_ = 0;
};

// Of what is left in a stream. A stream that cannot be read further ends with bad() set, and its digest says nothing.
std::string sha256_of(std::istream& stream);

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_SHA256_HPP
