// Resizing as Pillow does it, bit for bit: smoothed when reducing, 8 bits after each axis.
#pragma once

#include <opencv2/core.hpp>
#include <string>

namespace tinysight {

/// Whether `resample` knows that filter.
bool is_filter(const std::string& name);

/// `image`, CV_8U with any channels, at `width` x `height`; `filter` is "nearest", "box",
/// "bilinear", "hamming", "bicubic" or "lanczos".
cv::Mat resample(const cv::Mat& image, int width, int height, const std::string& filter);

}  // namespace tinysight
