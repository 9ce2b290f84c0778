// JSON as Python's `json` reads and writes it, for manifests that are sealed over its canonical text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tinysight {

struct Member;

/// A value. Whole numbers keep their digits, because the seal covers those of any length.
class Json {
public:
    struct Integer {
        std::string digits;
    };
    using Array = std::vector<Json>;
    using Object = std::vector<Member>;  // in the order of the text, every key once

    std::variant<std::nullptr_t, bool, Integer, double, std::string, Array, Object> value;

    bool is_null() const { return std::holds_alternative<std::nullptr_t>(value); }
    const bool* boolean() const { return std::get_if<bool>(&value); }
    const std::string* text() const { return std::get_if<std::string>(&value); }
    const Array* array() const { return std::get_if<Array>(&value); }
    const Object* object() const { return std::get_if<Object>(&value); }

    /// A whole number of 64 bits.
    std::optional<std::int64_t> integer() const;
    /// A whole or other number.
    std::optional<double> number() const;
    /// The member of an object; null where this is none or has no such key.
    const Json* find(std::string_view key) const;

    /// Keys sorted, no blanks, ASCII, without the member `leave_out` of the outermost object.
    std::string canonical(std::string_view leave_out = {}) const;
};

struct Member {
    std::string key;
    Json value;
};

/// The value that is all of `text`, UTF-8.
/// @throws std::invalid_argument  not JSON, a key twice, a number that is not finite, or too deep
Json parse_json(std::string_view text);

}  // namespace tinysight
