#include "tinysight/classifier.hpp"

#include <sched.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fstream>
#include <mutex>

#include "bundle.hpp"
#include "image.hpp"
#include "network.hpp"
#include "ordered.hpp"
#include "postprocess.hpp"
#include "transforms.hpp"

namespace tinysight {

namespace {

constexpr std::size_t kAhead = 8;  // answers that wait for a slow image, for each worker

double now() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double, std::milli>(since).count();
}

void at_least_one(const char* name, int value) {
    if (value < 1) throw Error(name, "should be 1 or more, got " + std::to_string(value));
    if (value > 1024) throw Error(name, "should be 1024 or less, got " + std::to_string(value));
}

}  // namespace

void check(const Options& options) {
    at_least_one("threads", options.threads);
    at_least_one("workers", options.workers);
    at_least_one("threads * workers", options.threads * options.workers);
}

int usable_cores() {
    int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#ifdef __linux__
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) cores = std::max(1, CPU_COUNT(&set));
#endif
    std::ifstream file("/sys/fs/cgroup/cpu.max");  // a container's share; "max": no limit
    long quota = 0, period = 0;
    if (file >> quota >> period && period > 0) {
        cores = std::min(cores, std::max(1, static_cast<int>(quota / period)));
    }
    return cores;
}

struct Classifier::State {
    Manifest manifest;
    Pipeline pipeline;
    std::unique_ptr<Postprocess> postprocess;
    Options options;
    std::optional<cv::Size> enough;
    std::unique_ptr<Network> network;
    std::mutex mutex;
    std::vector<Network::Run> free;

    State(Bundle bundle, const Options& chosen)
        : manifest(std::move(bundle.manifest)), pipeline(manifest.transforms),
          postprocess(build_postprocess(manifest.postprocess, manifest.labels, chosen.topk,
                                        chosen.threshold)),
          options(chosen) {
        check(options);
        const bool boxes = postprocess->of_boxes();
        if (!manifest.plain && !boxes) {
            throw BundleError("feeds, more_outputs", "this program runs networks of one input, the "
                              "image, and one output", "use `tinysight predict`");
        }
        if (manifest.decode && !options.exact && !boxes) {
            enough = pipeline.enough(manifest.decode->margin);
        }
        network = std::make_unique<Network>(bundle.model, options.threads, options.workers,
                                            pipeline.normalization(), manifest.input_name,
                                            boxes ? 2 : 1);
    }

    /// The answer for an image, and where the network's time began and ended.
    Answer answer(const cv::Mat& pixels, double* prepared = nullptr, double* scored = nullptr) {
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

    std::vector<float> scores(const cv::Mat& input) {
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

    std::vector<float> run(const cv::Mat& input, const Feeds& feeds) {
        std::optional<Network::Run> run;
        {
            const std::lock_guard lock(mutex);
            if (!free.empty()) {
                run.emplace(std::move(free.back()));
                free.pop_back();
            }
        }
        if (!run) run.emplace(*network);
        std::vector<float> out = (*run)(input, feeds);
        if (!std::all_of(out.begin(), out.end(), [](float v) { return std::isfinite(v); })) {
            throw BundleError("model.onnx", "the network gives numbers that are not finite (NaN or "
                              "infinite)", "export the bundle again");
        }
        const std::lock_guard lock(mutex);
        free.push_back(std::move(*run));
        return out;
    }

    Item item(const std::string& path) {
        try {
            Answer out = answer(decode_file(path, enough));
            out.filename = path;
            return out;
        } catch (const ImageError& error) {
            return Unreadable{path, error.reason()};
        }
    }
};

Classifier::Classifier(const std::string& bundle, const Options& options)
    : state_(std::make_unique<State>(Bundle::load(bundle), options)) {}
Classifier::~Classifier() = default;
Classifier::Classifier(Classifier&&) noexcept = default;
Classifier& Classifier::operator=(Classifier&&) noexcept = default;

const std::vector<std::string>& Classifier::labels() const { return state_->manifest.labels; }
const std::string& Classifier::task() const { return state_->manifest.task; }

Answer Classifier::answer(const std::string& path, Timing* timing) {
    const double start = now();
    const cv::Mat pixels = decode_file(path, state_->enough);
    const double decoded = now();
    double prepared = decoded, scored = decoded;
    Answer out = state_->answer(pixels, &prepared, &scored);
    if (timing) *timing = {decoded - start, prepared - decoded, scored - prepared, now() - scored};
    out.filename = path;
    return out;
}

Answer Classifier::answer_bytes(std::string_view data) {
    return state_->answer(decode(data, state_->enough));
}

std::vector<float> Classifier::scores(const std::string& path) {
    return state_->scores(state_->pipeline(decode_file(path, state_->enough)));
}

void Classifier::stream(const Paths& paths, const std::function<void(const Item&)>& each) {
    const auto first = paths();
    if (!first) return;
    const auto second = paths();
    if (!second) {  // no thread for a single image
        each(state_->item(*first));
        return;
    }
    std::size_t taken = 0;
    const auto next = [&]() -> std::optional<std::string> {
        ++taken;
        return taken == 1 ? first : taken == 2 ? second : paths();
    };
    const auto work = [this](const std::string& path) { return state_->item(path); };
    Ordered<std::string, Item> ordered(next, work, (kAhead + 1) * state_->options.workers);
    ordered.run(state_->options.workers, each);
}

}  // namespace tinysight
