#include "json.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "text.hpp"

namespace tinysight {

namespace {

constexpr int kDeepest = 400;
constexpr std::size_t kMostDigits = 4300;  // Python's own limit

class Parser {
public:
    explicit Parser(std::string_view text) : text_(text) {}

    Json document() {
        Json json = value(0);
        blanks();
        if (at_ != text_.size()) fail("extra data");
        return json;
    }

private:
    [[noreturn]] void fail(const std::string& what) const {
        throw std::invalid_argument(what + " at byte " + std::to_string(at_));
    }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    bool take(std::string_view word) {
        const bool there = text_.substr(at_, word.size()) == word;
        if (there) at_ += word.size();
        return there;
    }

    void blanks() {
        at_ = std::min(text_.find_first_not_of(" \t\n\r", at_), text_.size());
    }

    Json value(int depth) {
        if (depth > kDeepest) fail("too many levels");
        blanks();
        switch (peek()) {
            case '{': return object(depth);
            case '[': return array(depth);
            case '"': return {string()};
            case 't': if (take("true")) return {true}; break;
            case 'f': if (take("false")) return {false}; break;
            case 'n': if (take("null")) return {nullptr}; break;
            default: return number();
        }
        fail("expected a value");
    }

    Json object(int depth) {
        Json::Object members;
        ++at_;
        blanks();
        if (!take("}")) {
            do {
                blanks();
                if (peek() != '"') fail("expected a key");
                std::string key = string();
                blanks();
                if (!take(":")) fail("expected ':'");
                members.push_back({std::move(key), value(depth + 1)});
                blanks();
            } while (take(","));
            if (!take("}")) fail("expected ',' or '}'");
        }
        std::vector<std::string_view> keys;
        for (const auto& member : members) keys.push_back(member.key);
        std::sort(keys.begin(), keys.end());
        if (std::adjacent_find(keys.begin(), keys.end()) != keys.end()) fail("a key appears twice");
        return {std::move(members)};
    }

    Json array(int depth) {
        Json::Array items;
        ++at_;
        blanks();
        if (!take("]")) {
            do {
                items.push_back(value(depth + 1));
                blanks();
            } while (take(","));
            if (!take("]")) fail("expected ',' or ']'");
        }
        return {std::move(items)};
    }

    std::size_t digits() {
        const std::size_t begin = at_;
        while (peek() >= '0' && peek() <= '9') ++at_;
        return at_ - begin;
    }

    Json number() {
        const std::size_t begin = at_;
        const bool negative = take("-");
        const std::size_t whole = at_;
        if (!digits()) fail("expected a value");
        if (text_[whole] == '0') at_ = whole + 1;
        std::string_view part = text_.substr(whole, at_ - whole);
        bool is_float = false;
        for (const char c : {'.', 'e'}) {
            const std::size_t before = at_;
            if (peek() != c && !(c == 'e' && peek() == 'E')) continue;
            ++at_;
            if (c == 'e' && (peek() == '+' || peek() == '-')) ++at_;
            if (digits()) {
                is_float = true;
            } else {
                at_ = before;  // as Python: the number ends before it
            }
        }
        if (!is_float) {
            if (part.size() > kMostDigits) fail("a number of too many digits");
            return {Json::Integer{(negative && part != "0" ? "-" : "") + std::string(part)}};
        }
        return {finite(text_.substr(begin, at_ - begin))};
    }

    double finite(std::string_view digits) const {
        double value = 0;
        const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        if (result.ec == std::errc::result_out_of_range) {
            const std::size_t e = digits.find_first_of("eE");
            const bool small = e == std::string_view::npos ? digits.find_first_of("123456789") >
                                                                 digits.find('.')
                                                           : digits[e + 1] == '-';
            if (!small) fail("a number that is too large");
            value = digits[0] == '-' ? -0.0 : 0.0;
        }
        return value;
    }

    unsigned hex4() {
        unsigned code = 0;
        const char* begin = text_.data() + at_;
        const char* end = begin + std::min<std::size_t>(4, text_.size() - at_);
        const auto result = std::from_chars(begin, end, code, 16);
        if (result.ptr != begin + 4) fail("expected four hexadecimal digits");
        at_ += 4;
        return code;
    }

    char32_t escaped() {
        ++at_;
        const char c = peek();
        ++at_;
        switch (c) {
            case '"': case '\\': case '/': return static_cast<char32_t>(c);
            case 'b': return '\b';
            case 'f': return '\f';
            case 'n': return '\n';
            case 'r': return '\r';
            case 't': return '\t';
            case 'u': break;
            default: fail("no such escape");
        }
        const unsigned high = hex4();
        if (high < 0xd800 || high > 0xdbff || text_.substr(at_, 2) != "\\u") return high;
        const std::size_t before = at_;
        at_ += 2;
        const unsigned low = hex4();
        if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + ((high - 0xd800) << 10) + low - 0xdc00;
        at_ = before;
        return high;
    }

    std::string string() {
        std::string out;
        ++at_;
        while (peek() != '"') {
            if (at_ >= text_.size()) fail("a text without an end");
            if (peek() == '\\') {
                append_utf8(out, escaped());
                continue;
            }
            if (static_cast<unsigned char>(peek()) < 0x20) fail("a control character in a text");
            const std::size_t before = at_;
            next_code_point(text_, at_, true);
            if (at_ == before + 1 && (text_[before] & 0x80)) fail("not UTF-8");
            out += text_.substr(before, at_ - before);
        }
        ++at_;
        return out;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

void write(const Json& json, std::string_view leave_out, std::string& out) {
    if (const auto* object = json.object()) {
        std::vector<const Member*> members;
        for (const auto& member : *object) {
            if (leave_out.empty() || member.key != leave_out) members.push_back(&member);
        }
        std::sort(members.begin(), members.end(),
                  [](const Member* a, const Member* b) { return a->key < b->key; });
        out += '{';
        for (std::size_t i = 0; i < members.size(); ++i) {
            out += (i ? "," : "") + json_text(members[i]->key, true) + ':';
            write(members[i]->value, {}, out);
        }
        out += '}';
    } else if (const auto* array = json.array()) {
        out += '[';
        for (std::size_t i = 0; i < array->size(); ++i) {
            if (i) out += ',';
            write((*array)[i], {}, out);
        }
        out += ']';
    } else if (const auto* text = json.text()) {
        out += json_text(*text, true);
    } else if (const auto* whole = std::get_if<Json::Integer>(&json.value)) {
        out += whole->digits;
    } else if (const auto* real = std::get_if<double>(&json.value)) {
        out += python_float(*real);
    } else {
        out += json.is_null() ? "null" : *json.boolean() ? "true" : "false";
    }
}

}  // namespace

std::optional<std::int64_t> Json::integer() const {
    const auto* whole = std::get_if<Integer>(&value);
    if (!whole) return std::nullopt;
    std::int64_t out = 0;
    const char* end = whole->digits.data() + whole->digits.size();
    const auto result = std::from_chars(whole->digits.data(), end, out);
    if (result.ec != std::errc{} || result.ptr != end) return std::nullopt;
    return out;
}

std::optional<double> Json::number() const {
    if (const auto* real = std::get_if<double>(&value)) return *real;
    const auto* whole = std::get_if<Integer>(&value);
    if (!whole) return std::nullopt;
    double out = 0;
    const char* end = whole->digits.data() + whole->digits.size();
    const auto result = std::from_chars(whole->digits.data(), end, out);
    return result.ec == std::errc{} ? std::optional(out) : std::nullopt;
}

const Json* Json::find(std::string_view key) const {
    if (const auto* members = object()) {
        for (const auto& member : *members) {
            if (member.key == key) return &member.value;
        }
    }
    return nullptr;
}

std::string Json::canonical(std::string_view leave_out) const {
    std::string out;
    write(*this, leave_out, out);
    return out;
}

Json parse_json(std::string_view text) { return Parser(text).document(); }

}  // namespace tinysight
