// Numbers inside a file's bytes.
#pragma once

#include <cstdint>
#include <string_view>

namespace tinysight {

/// The number of `size` bytes (4 at most) at `at`, the last byte highest or lowest. Bytes past the
/// end are left out, so callers check lengths.
inline std::uint32_t uint_at(std::string_view data, std::uint64_t at, int size, bool big = false) {
    std::uint32_t value = 0;
    int count = 0;
    for (; count < size && at + count < data.size(); ++count) {
        const std::uint32_t byte = static_cast<unsigned char>(data[at + count]);
        value = big ? value << 8 | byte : value | byte << 8 * count;
    }
    return value;
}

/// `data` from `first` up to `stop`, as much of it as there is.
inline std::string_view part(std::string_view data, std::uint64_t first, std::uint64_t stop) {
    if (first >= data.size() || stop <= first) return {};
    return data.substr(first, stop - first);
}

inline bool starts_with(std::string_view data, std::string_view with, std::uint64_t at = 0) {
    return part(data, at, at + with.size()) == with;
}

}  // namespace tinysight
