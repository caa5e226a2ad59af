// Checks for the tests: what failed and where, and the number of failures as main's result.

#ifndef SEGEXPORT_TESTS_CHECK_HPP
#define SEGEXPORT_TESTS_CHECK_HPP

#include <exception>
#include <iostream>
#include <string>

namespace check {

inline int failures = 0;

inline void fail(const char* file, int line, const std::string& what) {
    std::cerr << file << ":" << line << ": " << what << "\n";
    ++failures;
}

inline int result() {
    if (failures != 0) std::cerr << failures << " checks failed\n";
    return failures == 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) check::fail(__FILE__, __LINE__, "not so: " #condition); \
    } while (false)

// The expression throws exactly this class, with this text in its message.
#define CHECK_THROWS(expression, type, text)                                                         \
    do {                                                                                             \
        try {                                                                                        \
            (void)(expression);                                                                      \
            check::fail(__FILE__, __LINE__, "nothing thrown: " #expression);                         \
        } catch (const type& error) {                                                                \
            const std::string message = error.what();                                                \
            if (typeid(error) != typeid(type) || message.find(text) == std::string::npos)            \
                check::fail(__FILE__, __LINE__, "another error: " + message);                        \
        } catch (const std::exception& error) {                                                      \
            check::fail(__FILE__, __LINE__, std::string("another class of error: ") + error.what()); \
        }                                                                                            \
    } while (false)

#endif  // SEGEXPORT_TESTS_CHECK_HPP
