// Fuzzes a target for compilers without libFuzzer: changes inputs at random, and keeps those that reach code no input
// reached before. Compile the code under test, not this file, with -fsanitize-coverage=trace-pc.
//
//     driver SECONDS SEED [FILE...]
//
// The files are inputs to start from, beside the target's own. The input under way is in the file `finding` in the
// working folder when the program is brought to its end.

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>

#include "target.hpp"

namespace {

constexpr std::size_t kLongest = 1 << 16;

std::array<bool, 1 << 16> reached;
bool is_new = false;
std::string input;

std::mt19937_64 random_bits;

std::size_t below(std::size_t n) { return n == 0 ? 0 : random_bits() % n; }

template <typename T>
const T& any(const std::vector<T>& of) {
    return of[below(of.size())];
}

struct Span {
    std::size_t start, end;
};

// JSON values and names, found without belief in the text: a string to its closing quote, a bracket to its own, and
// anything else to the next delimiter.
Span value_from(const std::string& text, std::size_t start) {
    std::size_t depth = 0, at = start;
    while (at < text.size()) {
        const char c = text[at];
        if (c == '"') {
            for (++at; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\';
            at = std::min(at + 1, text.size());
        } else if (c == '[' || c == '{') {
            ++depth, ++at;
        } else if (c == ']' || c == '}') {
            if (depth == 0) break;
            --depth, ++at;
        } else if (depth == 0) {
            at = text.find_first_of(",:]} \n", at);
            return {start, std::min(at, text.size())};
        } else {
            ++at;
        }
        if (depth == 0) break;
    }
    return {start, at};
}

Span any_value(const std::string& text) {
    std::size_t start = text.find_first_of(",:[{ \n", below(text.size()));
    start = text.find_first_not_of(",: \n", start == std::string::npos ? 0 : start + below(2));
    return start == std::string::npos ? Span{0, 0} : value_from(text, start);
}

std::string nested(const std::vector<std::string>& dictionary) {
    const std::size_t depth = below(4) == 0 ? below(5000) : 60 + below(10);
    std::string text;
    const bool lists = below(2) == 0;
    for (std::size_t i = 0; i < depth; ++i) text += lists ? "[" : "{\"a\":";
    text += any(dictionary);
    if (below(3) != 0) text.append(depth, lists ? ']' : '}');
    return text;
}

std::string number() {
    static const std::vector<std::string> ends{"", ".5", "e9", "e400", "e-400", "."};
    std::string digits = below(3) == 0 ? "-" : "";
    const std::size_t count = below(8) == 0 ? below(2000) : below(22);
    for (std::size_t i = 0; i < count; ++i) digits += static_cast<char>('0' + below(10));
    return digits + any(ends);
}

constexpr std::size_t kChanges = 13, kFirstOfValues = 7;

// kind: below kChanges; from kFirstOfValues on, the result is JSON where the input was, mostly.
void change(std::string& text, std::size_t kind, const std::vector<std::string>& corpus,
            const std::vector<std::string>& dictionary) {
    const std::size_t at = below(text.size() + 1), length = 1 + below(below(4) == 0 ? 200 : 8);
    const Span value = any_value(text);
    const std::size_t span = value.end - value.start;
    const std::string& other = any(corpus);
    switch (kind) {
        case 0:
            if (at < text.size()) text[at] = static_cast<char>(text[at] ^ 1 << below(8));
            return;
        case 1:
            if (at < text.size()) text[at] = static_cast<char>(below(256));
            return;
        case 2: text.erase(at, length); return;
        case 3: text.insert(at, text.substr(below(text.size() + 1), length)); return;
        case 4: text.insert(at, any(dictionary)); return;
        case 5:  // the start of one input, the end of another
            text = text.substr(0, at) + other.substr(below(other.size() + 1));
            return;
        case 6: text.resize(at); return;
        case 7: text.replace(value.start, span, any(dictionary)); return;
        case 8: text.replace(value.start, span, number()); return;
        case 9: text.replace(value.start, span, nested(dictionary)); return;
        case 10: {  // another value, of this input or of another
            const std::string& from = below(2) == 0 ? text : other;
            const Span taken = any_value(from);
            text.replace(value.start, span, from.substr(taken.start, taken.end - taken.start));
            return;
        }
        case 11: {  // a value several times: entries twice in an object, and long lists
            std::string copies;
            for (std::size_t i = below(below(8) == 0 ? 400 : 3) + 1; i-- > 0 && copies.size() < kLongest;) {
                copies += text.substr(value.start, span) + ",";
            }
            text.insert(value.start, copies);
            return;
        }
        default:  // a value with what follows it
            text.erase(value.start, span + below(3));
            return;
    }
}

extern "C" void keep_finding(int signal) {
    if (std::FILE* const file = std::fopen("finding", "wb")) {
        std::fwrite(input.data(), 1, input.size(), file);
        std::fclose(file);
    }
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

void run() {
    is_new = false;
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

}  // namespace

// What the compiler calls at every branch of the code under test.
extern "C" void __sanitizer_cov_trace_pc() {
    const auto place = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    bool& here = reached[(place ^ place >> 16) % reached.size()];
    is_new |= !here;
    here = true;
}

int main(int count, char** arguments) {
    if (count < 3) {
        std::cerr << "usage: driver SECONDS SEED [FILE...]\n";
        return 2;
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::stod(arguments[1]));
    random_bits.seed(std::stoull(arguments[2]));
    std::signal(SIGABRT, keep_finding);
    std::signal(SIGSEGV, keep_finding);

    std::vector<std::string> corpus = fuzz::seeds();
    const std::vector<std::string> dictionary = fuzz::dictionary();
    for (int i = 3; i < count; ++i) {
        std::ifstream file(arguments[i], std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    long executions = 0;
    for (const std::string& text : corpus) {
        input = text;
        run();
        ++executions;
    }
    const std::size_t given = corpus.size();
    while (std::chrono::steady_clock::now() < end) {
        // The first inputs half the time: what grew out of them is mostly broken early.
        input = corpus[below(2) == 0 ? below(given) : below(corpus.size())];
        const std::size_t first = below(2) == 0 ? kFirstOfValues : 0;
        for (std::size_t i = 1 + below(below(4) == 0 ? 12 : 2); i-- > 0;) {
            change(input, first + below(kChanges - first), corpus, dictionary);
            if (input.size() > kLongest) input.resize(kLongest);  // at once: copies of copies fill any memory
        }
        run();
        ++executions;
        if (is_new) corpus.push_back(input);
    }
    std::cout << executions << " executions, " << fuzz::accepted << " accepted, " << executions - fuzz::accepted
              << " refused, " << corpus.size() - given << " kept for new code, "
              << std::count(reached.begin(), reached.end(), true) << " places reached\n";
    return 0;
}
