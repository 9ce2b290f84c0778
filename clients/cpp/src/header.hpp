// What an image file says about itself, read before anything is decoded; see header.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tinysight {

enum class Format { jpeg, png, bmp, webp };

/// Size as stored (before `orientation`), EXIF orientation 1 to 8, and the bytes to decode.
struct Header {
    Format format = Format::jpeg;
    std::int64_t width = 0, height = 0;
    int orientation = 1;
    std::string_view data;
    std::string kept;  ///< instead of `data`, where parts of the file are left out

    std::string_view bytes() const { return kept.empty() ? data : std::string_view(kept); }
};

/// "JPEG", "PNG", "BMP" or "WebP".
const char* name_of(Format format);

/// The header of a whole file, which must outlive the answer.
/// @throws ImageError  not one of the four formats, damaged, cut short, or without pixels
Header read_header(std::string_view data);

}  // namespace tinysight
