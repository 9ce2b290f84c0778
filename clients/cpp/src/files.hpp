// Reading files whole.
#pragma once

#include <cstdint>
#include <string>

namespace tinysight {

/// Contents of the file at `path`.
/// @throws std::system_error  it cannot be opened or read, is a folder, or no regular file
std::string read_file(const std::string& path, std::uint64_t most = UINT64_MAX);

}  // namespace tinysight
