// A command line: arguments in order, options with a value, flags; and errors as segexport's own command shows them.

#ifndef SEGEXPORT_EXAMPLES_COMMAND_HPP
#define SEGEXPORT_EXAMPLES_COMMAND_HPP

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "segexport/errors.hpp"

namespace examples {

class Command {
   public:
    // usage: one line, which errors end with. options: names that take a value; flags: names that take none.
    //
    // Throws segexport::SegexportError: an option that there is not, or one without its value.
    Command(int argc, char** argv, std::string usage, const std::vector<std::string>& options,
            const std::vector<std::string>& flags = {})
        : usage_(std::move(usage)) {
        for (int i = 1; i < argc; ++i) {
            const std::string word = argv[i];
            if (word.size() < 2 || word[0] != '-') {
                arguments_.push_back(word);
            } else if (contains(flags, word)) {
                given_[word] = "";
            } else if (!contains(options, word)) {
                fail("there is no option " + word);
            } else if (i + 1 == argc) {
                fail(word + " needs a value");
            } else {
                given_[word] = argv[++i];
            }
        }
    }

    const std::vector<std::string>& arguments() const { return arguments_; }
    bool has(const std::string& option) const { return given_.count(option) != 0; }
    std::string text(const std::string& option, const std::string& otherwise = "") const {
        const auto found = given_.find(option);
        return found == given_.end() ? otherwise : found->second;
    }

    double number(const std::string& option, double otherwise, double least, double most) const {
        if (!has(option)) return otherwise;
        const std::string word = text(option);
        char* end = nullptr;
        const double value = std::strtod(word.c_str(), &end);
        if (end != word.c_str() && *end == '\0' && value >= least && value <= most) return value;
        fail(option + " " + word + " is not a number from " + shown(least) + " to " + shown(most));
    }

    int whole(const std::string& option, int otherwise, int least, int most) const {
        const double value = number(option, otherwise, least, most);
        if (value != static_cast<int>(value)) fail(option + " " + text(option) + " is not a whole number");
        return static_cast<int>(value);
    }

    [[noreturn]] void fail(const std::string& what) const { throw segexport::SegexportError(what + ": " + usage_); }

   private:
    static bool contains(const std::vector<std::string>& names, const std::string& name) {
        for (const auto& each : names) {
            if (each == name) return true;
        }
        return false;
    }
    static std::string shown(double value) {
        char text[32];
        std::snprintf(text, sizeof text, "%.10g", value);
        return text;
    }

    std::string usage_;
    std::vector<std::string> arguments_;
    std::map<std::string, std::string> given_;
};

// Runs a program's body: 0, or 2 after one line on standard error.
template <typename Body>
int exit_code(const Body& body) {
    try {
        body();
        return 0;
    } catch (const segexport::SegexportError& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: not one of segexport's: %s\n", error.what());
        return 1;
    }
}

}  // namespace examples

#endif  // SEGEXPORT_EXAMPLES_COMMAND_HPP
