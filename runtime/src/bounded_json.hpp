// JSON that somebody else wrote, to a tree, within bounds that hold while it is read, before memory is spent on it.

#ifndef SEGEXPORT_SRC_BOUNDED_JSON_HPP
#define SEGEXPORT_SRC_BOUNDED_JSON_HPP

#include <cstddef>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "in_quotes.hpp"

namespace segexport::detail {

constexpr std::size_t kDeepestJson = 64;  // objects and arrays inside each other
constexpr std::size_t kMostJsonValues = std::size_t{1} << 18;

// Why a text is not read, in a few words.
class JsonRefused : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

namespace bounded_json {

// What nlohmann's parser calls: builds the tree, and stops it at the first thing too many.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
   public:
    nlohmann::json take() { return std::move(root_); }

    bool null() override { return add(nullptr); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(number_integer_t value) override { return add(value); }
    bool number_unsigned(number_unsigned_t value) override { return add(value); }
    bool number_float(number_float_t value, const string_t&) override { return add(value); }
    bool string(string_t& value) override { return add(std::move(value)); }
    bool binary(binary_t&) override { return false; }  // JSON has none
    bool start_object(std::size_t) override { return open(nlohmann::json::object()); }
    bool start_array(std::size_t) override { return open(nlohmann::json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(string_t& value) override {
        if (open_.back()->contains(value)) throw JsonRefused("one object has " + in_quotes(value) + " twice");
        key_ = std::move(value);
        return true;
    }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
        throw JsonRefused("it is not JSON from byte " + std::to_string(position) + " on");
    }

   private:
    template <typename Value>
    bool add(Value&& value) {
        place(std::forward<Value>(value));
        return true;
    }
    bool open(nlohmann::json&& container) {
        if (open_.size() == kDeepestJson) {
            throw JsonRefused("it is nested deeper than " + std::to_string(kDeepestJson));
        }
        open_.push_back(&place(std::move(container)));
        return true;
    }
    bool close() {
        open_.pop_back();
        return true;
    }
    nlohmann::json& place(nlohmann::json value) {
        if (++values_ > kMostJsonValues) {
            throw JsonRefused("it has more than " + std::to_string(kMostJsonValues) + " values");
        }
        if (open_.empty()) return root_ = std::move(value);
        // While a child is open its parent does not grow, so that the pointers stay good.
        if (open_.back()->is_object()) return (*open_.back())[key_] = std::move(value);
        open_.back()->push_back(std::move(value));
        return open_.back()->back();
    }

    nlohmann::json root_;
    std::vector<nlohmann::json*> open_;
    std::string key_;
    std::size_t values_ = 0;
};

}  // namespace bounded_json

// longest: bytes.
//
// Throws JsonRefused.
inline nlohmann::json read_json(std::string_view text, std::size_t longest) {
    if (text.size() > longest) throw JsonRefused("it is longer than " + std::to_string(longest >> 20) + " MiB");
    // To the parser a zero byte is the end, and what follows it would pass unseen.
    if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
        throw JsonRefused("it is not JSON from byte " + std::to_string(zero + 1) + " on");
    }
    bounded_json::Builder builder;
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) throw JsonRefused("it is not JSON");
    return builder.take();
}

}  // namespace segexport::detail

#endif  // SEGEXPORT_SRC_BOUNDED_JSON_HPP
