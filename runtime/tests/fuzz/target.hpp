// What a fuzzing target is: libFuzzer's entry point, and what the driver of our own (driver.cpp) starts from.

#ifndef SEGEXPORT_TESTS_FUZZ_TARGET_HPP
#define SEGEXPORT_TESTS_FUZZ_TARGET_HPP

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

namespace fuzz {

std::vector<std::string> seeds();
std::vector<std::string> dictionary();

inline long accepted = 0;

// Ends the program, which is what both libFuzzer and the driver take for a finding.
inline void require(bool so, const char* what) {
    if (so) return;
    std::cerr << "finding: " << what << "\n";
    std::abort();
}

// An error's text must be one line that a terminal can show.
inline void require_one_line(const std::string& message) {
    require(!message.empty() && message.size() < 2000, "a message that is empty or very long");
    for (const char c : message) require(static_cast<unsigned char>(c) >= 0x20, "a message with control characters");
}

}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

#endif  // SEGEXPORT_TESTS_FUZZ_TARGET_HPP
