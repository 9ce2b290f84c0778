// SHA-256 (FIPS 180-4), for seals: no dependency, 200 MB/s.
#pragma once

#include <string>
#include <string_view>

namespace tinysight {

/// Hexadecimal SHA-256 of `data`.
std::string sha256(std::string_view data);

}  // namespace tinysight
