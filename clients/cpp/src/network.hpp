// The network, compiled by OpenVINO for the CPU in float32.
#pragma once

#include <memory>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "transforms.hpp"

namespace tinysight {

/// A loaded network for one image at a time. Runs may go on at the same time, each by a `Run`.
class Network {
public:
    /// @param model          contents of an ONNX file
    /// @param threads        of one run
    /// @param streams        runs that go on at the same time
    /// @param normalization  what the network has to do with pixels before; without one it takes
    ///                       what the transforms made
    /// @throws BundleError  it does not load, or has not one input and one output
    Network(const std::string& model, int threads, int streams,
            const std::optional<Normalization>& normalization);
    ~Network();
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    /// One run after the other.
    class Run {
    public:
        explicit Run(Network& network);
        ~Run();
        Run(Run&&) noexcept;
        /// Scores of one image, as the transforms made it.
        /// @throws BundleError  the network refuses it
        std::vector<float> operator()(const cv::Mat& image);

    private:
        struct State;
        std::unique_ptr<State> state_;
    };

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tinysight
