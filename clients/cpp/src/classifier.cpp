#include "tinysight/classifier.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>

#include "image.hpp"
#include "ordered.hpp"
#include "runner.hpp"

namespace tinysight {

namespace {

constexpr std::size_t kAhead = 8;  // answers that wait for a slow image, for each worker

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

struct Classifier::State : Runner {
    using Runner::Runner;
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
