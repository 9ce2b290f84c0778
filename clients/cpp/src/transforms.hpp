// From a decoded image to a network's input: the inference-time transforms of a bundle.
#pragma once

#include <memory>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "json.hpp"

namespace tinysight {

/// One step: (H, W) of CV_8UC3 RGB, or CV_32F once normalised, to another such image.
class Transform {
public:
    virtual ~Transform() = default;
    /// @throws ImageError  it cannot take this image
    virtual cv::Mat operator()(const cv::Mat& image) const = 0;
    /// Whether uint8 RGB stays that.
    virtual bool keeps_pixels() const { return true; }
};

/// (value * scale - mean) / std for each of three channels.
struct Normalization {
    std::vector<float> mean, std;
    float scale = 1;
};

/// All transforms of a bundle, in order.
class Pipeline {
public:
    /// @throws BundleError  a transform or an option that is not known here, or a wrong value
    explicit Pipeline(const std::vector<Json>& specs);

    /// The last step, if all before it leave pixels: a network may do that itself.
    const std::optional<Normalization>& normalization() const { return normalization_; }

    /// Every step, without that last one if there is a `normalization`.
    cv::Mat operator()(const cv::Mat& image) const;

    /// Size that the first step, if it resizes, makes, times `margin`: what decoding may reduce to.
    std::optional<cv::Size> enough(double margin) const;

private:
    std::vector<std::unique_ptr<Transform>> steps_;
    std::vector<std::string> places_;
    std::optional<Normalization> normalization_;
    std::optional<cv::Size> first_;
};

}  // namespace tinysight
