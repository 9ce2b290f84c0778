#include "network.hpp"

#include <algorithm>
#include <openvino/openvino.hpp>

#include "tinysight/error.hpp"

namespace tinysight {

namespace {

constexpr const char* kAgain = "export the bundle again";

// What an engine says went wrong, without its stack.
std::string first_line(const std::string& text) {
    const std::size_t begin = text.find_first_not_of(" \t\n");
    if (begin == std::string::npos) return "unknown";
    return text.substr(begin, text.find('\n', begin) - begin);
}

// OpenVINO's own preprocessing in front: from uint8 (N, H, W, 3), (x - mean) / std.
std::shared_ptr<ov::Model> with_pixels(const std::shared_ptr<ov::Model>& model,
                                       const Normalization& by, const std::string& image) {
    std::vector<float> mean, std;
    for (std::size_t c = 0; c < by.mean.size(); ++c) {
        mean.push_back(static_cast<float>(double{by.mean[c]} / by.scale));
        std.push_back(static_cast<float>(double{by.std[c]} / by.scale));
    }
    ov::preprocess::PrePostProcessor steps(model);
    auto& port = steps.input(image);
    port.tensor().set_element_type(ov::element::u8).set_layout("NHWC");
    port.model().set_layout("NCHW");
    port.preprocess().convert_element_type(ov::element::f32).mean(mean).scale(std);
    return steps.build();
}

}  // namespace

struct Network::State {
    ov::Core core;
    ov::CompiledModel compiled;
    bool pixels = false;
    std::string image;  // name of its input
};

Network::Network(const std::string& model, int threads, int streams,
                 const std::optional<Normalization>& normalization, const std::string& image,
                 std::size_t outputs) {
    try {
        state_ = std::make_unique<State>();
        auto network = state_->core.read_model(model, ov::Tensor());
        if (network->outputs().size() != outputs) {
            throw BundleError("model.onnx", "it has " + std::to_string(network->outputs().size()) +
                              " outputs, not " + std::to_string(outputs), kAgain);
        }
        auto shape = network->input(image).get_partial_shape();
        if (shape.rank().is_dynamic() || shape.size() != 4) {
            throw BundleError("model.onnx", "its input has not the axes (N, C, H, W)", kAgain);
        }
        shape[0] = 1;
        std::map<std::string, ov::PartialShape> shapes;
        for (const auto& port : network->inputs()) shapes[port.get_any_name()] = {1, 2};
        shapes[network->input(image).get_any_name()] = shape;
        network->reshape(shapes);
        state_->image = image;
        state_->pixels = normalization.has_value();
        if (normalization) network = with_pixels(network, *normalization, image);
        state_->compiled = state_->core.compile_model(
            network, "CPU",
            ov::AnyMap{ov::hint::inference_precision(ov::element::f32),
                       ov::inference_num_threads(threads * streams), ov::num_streams(streams),
                       ov::hint::enable_cpu_pinning(false)});  // a busy neighbour would share a core
    } catch (const ov::Exception& error) {
        throw BundleError("model.onnx",
                          "OpenVINO cannot load the network: " + first_line(error.what()), kAgain);
    }
}

Network::~Network() = default;

struct Network::Run::State {
    ov::InferRequest request;
    bool pixels;
    std::string image;
    cv::Mat whole;  // without gaps between rows
    std::vector<float> planes;
};

Network::Run::Run(Network& network)
    : state_(std::make_unique<State>(State{network.state_->compiled.create_infer_request(),
                                           network.state_->pixels, network.state_->image, {},
                                           {}})) {}
Network::Run::~Run() = default;
Network::Run::Run(Run&&) noexcept = default;

std::vector<float> Network::Run::operator()(const cv::Mat& image, const Feeds& feeds) {
    const auto channels = static_cast<std::size_t>(image.channels());
    const auto height = static_cast<std::size_t>(image.rows);
    const auto width = static_cast<std::size_t>(image.cols);
    try {
        if (state_->pixels) {
            state_->whole = image.isContinuous() ? image : image.clone();
            state_->request.set_tensor(state_->image, ov::Tensor(
                ov::element::u8, ov::Shape{1, height, width, channels}, state_->whole.data));
        } else {
            if (image.depth() != CV_32F) {
                throw BundleError("transforms", "end in uint8 pixels, the network takes float32",
                                  "end them with normalize");
            }
            state_->planes.resize(channels * height * width);
            for (std::size_t y = 0; y < height; ++y) {
                const auto* row = image.ptr<float>(static_cast<int>(y));
                for (std::size_t c = 0; c < channels; ++c) {
                    float* plane = state_->planes.data() + (c * height + y) * width;
                    for (std::size_t x = 0; x < width; ++x) plane[x] = row[x * channels + c];
                }
            }
            state_->request.set_tensor(
                state_->image,
                ov::Tensor(ov::element::f32, ov::Shape{1, channels, height, width},
                           state_->planes.data()));
        }
        for (const auto& [name, values] : feeds) {
            ov::Tensor tensor(ov::element::f32, ov::Shape{1, 2});
            std::copy(values.begin(), values.end(), tensor.data<float>());
            state_->request.set_tensor(name, tensor);
        }
        state_->request.infer();
        const ov::Tensor scores = state_->request.get_output_tensor(0);
        const auto* first = scores.data<const float>();
        return {first, first + scores.get_size()};
    } catch (const ov::Exception& error) {
        throw BundleError("model.onnx",
                          "OpenVINO refuses an image: " + first_line(error.what()), kAgain);
    }
}

}  // namespace tinysight
