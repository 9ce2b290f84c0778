// From a file or its bytes to pixels: the one way in.
#pragma once

#include <cstdint>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "header.hpp"

namespace tinysight {

constexpr std::int64_t kMaxPixels = 178'956'970;  // 512 MiB of RGB

/// The upright image in a file's bytes as RGB, (H, W) of CV_8UC3. Grey, palette and CMYK become
/// RGB, 16 bits the high byte, alpha is dropped without blending.
/// @param enough  size that the caller needs: a larger JPEG may then be decoded at 1/2, 1/4 or 1/8
/// @throws ImageError  another format, damaged, cut short, or more than `max_pixels`
cv::Mat decode(std::string_view data, std::optional<cv::Size> enough = {},
               std::int64_t max_pixels = kMaxPixels);

/// The same of the file at `path`.
cv::Mat decode_file(const std::string& path, std::optional<cv::Size> enough = {});

// One codec each: the stored pixels as RGB, not yet turned; empty where the file is damaged.
cv::Mat decode_jpeg(const Header& header, int by);
cv::Mat decode_png(const Header& header);
cv::Mat decode_bmp(const Header& header);
cv::Mat decode_webp(const Header& header);

}  // namespace tinysight
