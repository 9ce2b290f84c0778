// A bundle at work: pixels in, answers out.
#pragma once

#include <memory>
#include <mutex>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "network.hpp"
#include "postprocess.hpp"
#include "tinysight/classifier.hpp"
#include "transforms.hpp"

namespace tinysight {

/// Milliseconds of a clock that never goes back.
double now();

/// May be called from several threads at once, as `Classifier`.
class Runner {
public:
    /// @throws BundleError  it needs what is not here
    /// @throws Error        an option is out of range
    Runner(Bundle bundle, const Options& chosen);

    /// The answer for an image, and where the network's time began and ended.
    Answer answer(const cv::Mat& pixels, double* prepared = nullptr, double* scored = nullptr);
    /// What the network gives for an image that is prepared.
    std::vector<float> scores(const cv::Mat& input);
    /// What became of the image at a path.
    Item item(const std::string& path);

    const Manifest manifest;
    const Pipeline pipeline;
    const Options options;
    const std::unique_ptr<Postprocess> postprocess;
    std::optional<cv::Size> enough;  ///< to which JPEGs may be decoded reduced

private:
    std::vector<float> run(const cv::Mat& input, const Feeds& feeds);

    std::unique_ptr<Network> network_;
    std::mutex mutex_;
    std::vector<Network::Run> free_;
};

}  // namespace tinysight
