// Text as Python writes it: code points, shortest numbers, repr and JSON.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tinysight {

/// The code point at `at`, which moves past it. A byte that is not UTF-8 becomes U+DC00 + byte, as
/// Python's "surrogateescape" has it. `surrogates`: those in three bytes are code points.
char32_t next_code_point(std::string_view text, std::size_t& at, bool surrogates = false);

/// UTF-8 of a code point; surrogates in three bytes.
void append_utf8(std::string& out, char32_t code);

/// The shortest digits that read back equal, as Python's `repr(float)`; finite numbers only.
std::string python_float(double value);

/// As Python's `repr(str)`.
std::string python_repr(std::string_view text);

/// As Python's `json.dumps(str)`: ASCII only. `surrogates` as in `next_code_point`.
std::string json_text(std::string_view text, bool surrogates = false);

/// `items` with `between` between them.
std::string join(const std::vector<std::string>& items, std::string_view between);

/// Lower-case letters and digits only: `TopK` and `top-k` are one name.
std::string fold(std::string_view name);

/// A hint: the known name most like `name`, or all of them.
std::string nearest(std::string_view name, const std::vector<std::string>& known);

/// Sort key of a file's name: numbers by value, words without case.
std::string natural_key(std::string_view name);

}  // namespace tinysight
