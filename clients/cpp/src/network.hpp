// The network, compiled by OpenVINO for the CPU in float32.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "transforms.hpp"

namespace tinysight {

/// Values of the inputs beside the image.
using Feeds = std::map<std::string, std::array<float, 2>>;

/// A loaded network for one image at a time. Runs may go on at the same time, each by a `Run`.
class Network {
public:
    /// @param model          contents of an ONNX file
    /// @param threads        of one run
    /// @param streams        runs that go on at the same time
    /// @param normalization  what the network has to do with pixels before; without one it takes
    ///                       what the transforms made
    /// @param image          name of the input that takes the image
    /// @param outputs        how many outputs it has
    /// @throws BundleError  it does not load, or has other outputs
    Network(const std::string& model, int threads, int streams,
            const std::optional<Normalization>& normalization, const std::string& image,
            std::size_t outputs);
    ~Network();
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    /// One run after the other.
    class Run {
    public:
        explicit Run(Network& network);
        ~Run();
        Run(Run&&) noexcept;
        /// The first output for one image, as the transforms made it, and values (1, 2) for the
        /// other inputs by their names.
        /// @throws BundleError  the network refuses it
        std::vector<float> operator()(const cv::Mat& image, const Feeds& feeds = {});

    private:
        struct State;
        std::unique_ptr<State> state_;
    };

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tinysight
