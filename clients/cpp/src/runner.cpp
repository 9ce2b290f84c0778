#include "runner.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "image.hpp"

namespace tinysight {

double now() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double, std::milli>(since).count();
}

Runner::Runner(Bundle bundle, const Options& chosen)
    : manifest(std::move(bundle.manifest)), pipeline(manifest.transforms), options(chosen),
      postprocess(build_postprocess(manifest.postprocess, manifest.labels, chosen.topk,
                                    chosen.threshold)) {
    check(options);
    const bool boxes = postprocess->of_boxes();
    if (!manifest.plain && !boxes) {
        throw BundleError("feeds, more_outputs", "this program runs networks of one input, the "
                          "image, and one output", "use `tinysight predict`");
    }
    if (manifest.decode && !options.exact && !boxes) {
        enough = pipeline.enough(manifest.decode->margin);
    }
    network_ = std::make_unique<Network>(bundle.model, options.threads, options.workers,
                                        pipeline.normalization(), manifest.input_name,
                                        boxes ? 2 : 1);
}

Answer Runner::answer(const cv::Mat& pixels, double* prepared, double* scored) {
    const cv::Mat input = pipeline(pixels);
    if (prepared) *prepared = now();
    if (!postprocess->of_boxes()) {
        const std::vector<float> found = scores(input);
        if (scored) *scored = now();
        return (*postprocess)(found);
    }
    const std::array<float, 2> shape{static_cast<float>(input.rows),
                                     static_cast<float>(input.cols)};
    const std::array<float, 2> factors{shape[0] / static_cast<float>(pixels.rows),
                                       shape[1] / static_cast<float>(pixels.cols)};
    Feeds feeds;
    bool scaled = false;  // by the network itself
    for (const auto& [name, what] : manifest.feeds) {
        feeds[name] = what == "im_shape" ? shape : factors;
        scaled |= what == "scale_factor";
    }
    const std::vector<float> rows = run(input, feeds);
    if (scored) *scored = now();
    return scaled ? postprocess->boxes(rows, 1, 1)
                  : postprocess->boxes(rows, factors[1], factors[0]);
}

std::vector<float> Runner::scores(const cv::Mat& input) {
    if (postprocess->of_boxes()) throw Error("scores", "a detector has boxes");
    std::vector<float> out = run(input, {});
    const std::size_t labels = manifest.labels.size();
    const std::size_t wanted = postprocess->outputs() ? postprocess->outputs() : labels;
    for (const std::size_t count : {labels, wanted}) {
        if (count && out.size() != count) {
            throw BundleError("model.onnx", std::to_string(count) + " labels, but the network "
                              "gives " + std::to_string(out.size()) + " scores",
                              "export the bundle again");
        }
    }
    return out;
}

std::vector<float> Runner::run(const cv::Mat& input, const Feeds& feeds) {
    std::optional<Network::Run> run;
    {
        const std::lock_guard lock(mutex_);
        if (!free_.empty()) {
            run.emplace(std::move(free_.back()));
            free_.pop_back();
        }
    }
    if (!run) run.emplace(*network_);
    std::vector<float> out = (*run)(input, feeds);
    if (!std::all_of(out.begin(), out.end(), [](float v) { return std::isfinite(v); })) {
        throw BundleError("model.onnx", "the network gives numbers that are not finite (NaN or "
                          "infinite)", "export the bundle again");
    }
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(*run));
    return out;
}

Item Runner::item(const std::string& path) {
    try {
        Answer out = answer(decode_file(path, enough));
        out.filename = path;
        return out;
    } catch (const ImageError& error) {
        return Unreadable{path, error.reason()};
    }
}

}  // namespace tinysight
