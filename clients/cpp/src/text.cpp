#include "text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace tinysight {

namespace {

struct Range {
    char32_t first, last;
};

// What Python's repr escapes beside control characters: separators, formats, surrogates, private use.
constexpr std::array<Range, 16> kNotPrintable{{{0x7f, 0xa0}, {0xad, 0xad}, {0x600, 0x605},
    {0x61c, 0x61c}, {0x6dd, 0x6dd}, {0x70f, 0x70f}, {0x1680, 0x1680}, {0x180e, 0x180e},
    {0x2000, 0x200f}, {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000}, {0xd800, 0xf8ff},
    {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xe0000, 0x10ffff}}};

bool printable(char32_t code) {
    return code >= 0x20 && std::none_of(kNotPrintable.begin(), kNotPrintable.end(),
                                        [&](Range r) { return r.first <= code && code <= r.last; });
}

// Lower case where languages with two cases are common; the rest stays.
char32_t lower(char32_t code) {
    if ((code >= 'A' && code <= 'Z') || (code >= 0xc0 && code <= 0xde && code != 0xd7)) {
        return code + 32;
    }
    if ((code >= 0x100 && code <= 0x137 && code != 0x130) || (code >= 0x14a && code <= 0x177)) {
        return code | 1;
    }
    if ((code >= 0x139 && code <= 0x148) || (code >= 0x179 && code <= 0x17e)) {
        return code % 2 ? code + 1 : code;
    }
    if ((code >= 0x391 && code <= 0x3a9 && code != 0x3a2) || (code >= 0x410 && code <= 0x42f)) {
        return code + 32;
    }
    return code >= 0x400 && code <= 0x40f ? code + 80 : code;
}

std::string hex(const char* form, unsigned value) {
    std::array<char, 16> out{};
    std::snprintf(out.data(), out.size(), form, value);
    return out.data();
}

std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0]++;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t swapped = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = std::min({swapped, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

}  // namespace

char32_t next_code_point(std::string_view text, std::size_t& at, bool surrogates) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(at);
    const std::size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2
                             : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 1) {
        ++at;
        return first;
    }
    char32_t code = length == 2 ? first & 0x1f : length == 3 ? first & 0x0f : first & 0x07;
    bool good = length != 0 && at + length <= text.size();
    for (std::size_t i = 1; good && i < length; ++i) {
        good = (byte(at + i) & 0xc0) == 0x80;
        code = code << 6 | (byte(at + i) & 0x3f);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    if (!good || overlong || code > 0x10ffff || (surrogate && !surrogates)) {
        ++at;
        return 0xdc00 + first;
    }
    at += length;
    return code;
}

void append_utf8(std::string& out, char32_t code) {
    const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
    if (code < 0x80) {
        put(code);
    } else if (code < 0x800) {
        put(0xc0 | code >> 6);
        put(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        put(0xe0 | code >> 12);
        put(0x80 | (code >> 6 & 0x3f));
        put(0x80 | (code & 0x3f));
    } else {
        put(0xf0 | code >> 18);
        put(0x80 | (code >> 12 & 0x3f));
        put(0x80 | (code >> 6 & 0x3f));
        put(0x80 | (code & 0x3f));
    }
}

std::string python_float(double value) {
    std::array<char, 40> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                   std::chars_format::scientific).ptr;
    const std::string text(buffer.data(), end);
    const std::size_t e = text.find('e');
    const int exponent = std::stoi(text.substr(e + 1));
    const std::string sign = text[0] == '-' ? "-" : "";
    std::string digits;
    for (const char c : text.substr(0, e)) {
        if (c >= '0' && c <= '9') digits += c;
    }
    const int count = static_cast<int>(digits.size());
    if (exponent < -4 || exponent >= 16) {
        const std::string rest = count > 1 ? "." + digits.substr(1) : "";
        const std::string power = std::to_string(std::abs(exponent));
        return sign + digits[0] + rest + (exponent < 0 ? "e-" : "e+") +
               (power.size() < 2 ? "0" : "") + power;
    }
    if (exponent < 0) return sign + "0." + std::string(-exponent - 1, '0') + digits;
    if (count <= exponent + 1) return sign + digits + std::string(exponent + 1 - count, '0') + ".0";
    return sign + digits.substr(0, exponent + 1) + "." + digits.substr(exponent + 1);
}

std::string python_repr(std::string_view text) {
    const bool single = text.find('\'') != std::string_view::npos;
    const char quote = single && text.find('"') == std::string_view::npos ? '"' : '\'';
    std::string out(1, quote);
    for (std::size_t at = 0; at < text.size();) {
        const char32_t code = next_code_point(text, at, true);
        if (code == static_cast<char32_t>(quote) || code == '\\') {
            out += '\\';
            out += static_cast<char>(code);
        } else if (code == '\n' || code == '\r' || code == '\t') {
            out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
        } else if (printable(code)) {
            append_utf8(out, code);
        } else {
            out += hex(code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
        }
    }
    return out + quote;
}

std::string json_text(std::string_view text, bool surrogates) {
    std::string out = "\"";
    for (std::size_t at = 0; at < text.size();) {
        const char32_t code = next_code_point(text, at, surrogates);
        switch (code) {
            case '"': out += "\\\""; break;
            case '\\': out += "\\\\"; break;
            case '\n': out += "\\n"; break;
            case '\r': out += "\\r"; break;
            case '\t': out += "\\t"; break;
            case '\b': out += "\\b"; break;
            case '\f': out += "\\f"; break;
            default:
                if (code >= 0x20 && code < 0x7f) {
                    out += static_cast<char>(code);
                } else if (code < 0x10000) {
                    out += hex("\\u%04x", code);
                } else {
                    out += hex("\\u%04x", 0xd7c0 + (code >> 10));
                    out += hex("\\u%04x", 0xdc00 + (code & 0x3ff));
                }
        }
    }
    return out + '"';
}

std::string join(const std::vector<std::string>& items, std::string_view between) {
    std::string out;
    for (const auto& item : items) {
        if (&item != items.data()) out += between;
        out += item;
    }
    return out;
}

std::string fold(std::string_view name) {
    std::string out;
    for (const char c : name) {
        if (c >= 'A' && c <= 'Z') {
            out += static_cast<char>(c + 32);
        } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c & 0x80)) {
            out += c;
        }
    }
    return out;
}

std::string nearest(std::string_view name, const std::vector<std::string>& known) {
    const auto closest =
        std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
            return distance(name, a) < distance(name, b);
        });
    if (closest != known.end() && name.size() < 100 &&
        3 * distance(name, *closest) <= std::max(name.size(), closest->size())) {
        return "did you mean '" + *closest + "'?";
    }
    std::vector<std::string> sorted = known;
    std::sort(sorted.begin(), sorted.end());
    return sorted.empty() ? "" : "known: " + join(sorted, ", ");
}

std::string natural_key(std::string_view name) {
    // A number stands as the count of its digits, in digits that sort by value, and the digits;
    // before it a sign that sorts before every letter: `a1.jpg` comes before `a.jpg`.
    std::string key, plain;
    for (std::size_t at = 0; at < name.size();) {
        if (name[at] >= '0' && name[at] <= '9') {
            const std::size_t begin = at;
            while (at < name.size() && name[at] >= '0' && name[at] <= '9') ++at;
            std::string_view digits = name.substr(begin, at - begin);
            plain += digits;
            digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
            key += '\1' + std::string(digits.size() / 9, '9') + std::to_string(digits.size() % 9);
            key += digits;
        } else {
            const char32_t code = next_code_point(name, at);
            append_utf8(key, lower(code));
            append_utf8(plain, code);
        }
    }
    return key + '\0' + plain;
}

}  // namespace tinysight
