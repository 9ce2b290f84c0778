#include "tinysight/recognizer.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <numeric>
#include <opencv2/core.hpp>
#include <span>
#include <utility>

#include "files.hpp"
#include "gallery.hpp"
#include "image.hpp"
#include "ordered.hpp"
#include "runner.hpp"
#include "sha256.hpp"
#include "system.hpp"
#include "text.hpp"

namespace tinysight {

namespace {

constexpr std::size_t kAhead = 8;  // images that wait for a slow one before them, for each worker
using Box = std::array<std::int64_t, 4>;

void set(Json& json, const std::string& key, Json value) {
    auto& members = std::get<Json::Object>(json.value);
    for (auto& member : members) {
        if (member.key == key) {
            member.value = std::move(value);
            return;
        }
    }
    members.push_back({key, std::move(value)});
}

/// The detector with the rules of the system in place of its own.
Bundle with_rules(Bundle bundle, const Rules& rules) {
    Json& spec = bundle.manifest.postprocess;
    set(spec, "equal", Json{true});
    set(spec, "threshold", Json{rules.threshold});
    set(spec, "keep", Json{Json::Integer{std::to_string(rules.max_detections)}});
    return bundle;
}

/// Boxes in whole pixels, clipped to the image; what is empty then is left out.
std::vector<Box> inside(const std::vector<std::array<double, 4>>& boxes, const cv::Size& size,
                        bool whole) {
    const std::array<double, 2> most{static_cast<double>(size.width),
                                     static_cast<double>(size.height)};
    std::vector<Box> out;
    for (const auto& corners : boxes) {
        Box box{};
        for (std::size_t i = 0; i < 4; ++i) {
            const double value = std::isnan(corners[i]) ? 0 : std::trunc(corners[i]);
            box[i] = static_cast<std::int64_t>(std::clamp(value, 0.0, most[i % 2]));
        }
        if (box[2] > box[0] && box[3] > box[1]) out.push_back(box);
    }
    if (whole) out.push_back({0, 0, size.width, size.height});
    return out;
}

/// Share of two boxes that both cover; a box spans both its border pixels.
float overlap(const Box& a, const Box& b) {
    const auto area = [](const Box& box) {
        return static_cast<float>(box[2] - box[0] + 1) * static_cast<float>(box[3] - box[1] + 1);
    };
    if (a[0] > b[2] || a[2] < b[0] || a[1] > b[3] || a[3] < b[1]) return 0;
    const auto wide = static_cast<float>(std::min(a[2], b[2]) - std::max(a[0], b[0]) + 1);
    const auto tall = static_cast<float>(std::min(a[3], b[3]) - std::max(a[1], b[1]) + 1);
    const float common = wide * tall;
    return common > 0 ? common / (area(a) + area(b) - common) : 0;
}

template <typename T, typename Spell>
std::string list(const std::vector<T>& items, Spell spell) {
    std::vector<std::string> out;
    for (const auto& item : items) out.push_back(spell(item));
    return "[" + join(out, ", ") + "]";
}

std::string manifest_digest(const std::string& folder) {
    return sha256(read_file((std::filesystem::path(folder) / "bundle.yaml").string()));
}

}  // namespace

struct Recognizer::State {
    System system;
    Gallery gallery;
    RecognizerOptions options;
    std::unique_ptr<Runner> detector, embedder;

    State(const std::string& folder, const std::string& where, const RecognizerOptions& chosen)
        : system(System::load(folder)), gallery(where), options(chosen) {
        if (options.threshold) system.rules.score_threshold = *options.threshold;
        const std::string own = manifest_digest(system.embedder.folder);
        if (!gallery.bundle().empty() && gallery.bundle() != own) {
            const auto name = std::filesystem::weakly_canonical(system.embedder.folder).filename();
            throw Error(where, "its vectors are of the bundle " + gallery.bundle_name() +
                                   ", not of this " + name.string(),
                        "`tinysight gallery re-embed` makes a gallery of other vectors");
        }
        const Options each{options.threads, options.workers, false, {}, {}};
        if (system.detector && options.detect) {
            detector = std::make_unique<Runner>(with_rules(*system.detector, system.rules), each);
        }
        embedder = std::make_unique<Runner>(system.embedder, each);
    }

    Recognition recognize(const std::string& path) {
        const cv::Mat pixels = decode_file(path);
        std::vector<std::array<double, 4>> boxes;
        if (detector) boxes = *detector->answer(pixels).boxes_xyxy;
        const std::vector<Box> found =
            inside(boxes, pixels.size(), system.rules.append_whole_image || !detector);
        std::vector<std::optional<Match>> matches;
        for (const Box& box : found) matches.push_back(nearest(pixels, box));
        Recognition out = kept(found, matches);
        out.filename = path;
        return out;
    }

    /// What a part of the image is said to be, by the gallery's own decision or the threshold of the system.
    std::optional<Match> nearest(const cv::Mat& pixels, const Box& box) {
        const cv::Rect place(static_cast<int>(box[0]), static_cast<int>(box[1]),
                             static_cast<int>(box[2] - box[0]), static_cast<int>(box[3] - box[1]));
        const Answer answer = embedder->answer(pixels(place).clone());
        std::vector<double> vector;
        if (answer.code) vector.assign(answer.code->begin(), answer.code->end());
        if (answer.embedding) vector = *answer.embedding;
        std::optional<Decision> decision;
        auto matches =
            gallery.search(vector, static_cast<std::size_t>(system.rules.top_k), decision);
        if (decision && !options.threshold) return gallery.decide(matches, *decision);
        if (matches.empty() || !passes(matches.front().score)) return std::nullopt;
        return std::move(matches.front());
    }

    bool passes(double score) const {
        const double limit = system.rules.score_threshold;
        if (gallery.metric() == "hamming") return score <= limit;
        const auto [a, b] = std::pair(static_cast<float>(score), static_cast<float>(limit));
        return gallery.is_distance() ? a <= b : a >= b;
    }

    /// Of boxes that overlap the best, best first.
    Recognition kept(const std::vector<Box>& boxes,
                     const std::vector<std::optional<Match>>& matches) const {
        std::vector<std::size_t> order;
        for (std::size_t i = 0; i < boxes.size(); ++i) {
            if (matches[i]) order.push_back(i);
        }
        const auto rank = [&](std::size_t i) {
            const auto score = static_cast<float>(matches[i]->score);
            return gallery.is_distance() ? -score : score;
        };
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return rank(a) > rank(b); });
        const auto limit = static_cast<float>(system.rules.nms_threshold);
        Recognition out;
        out.whole_scores = gallery.metric() == "hamming";
        for (const std::size_t i : order) {
            const bool covered =
                std::any_of(out.boxes_xyxy.begin(), out.boxes_xyxy.end(),
                            [&](const Box& better) { return overlap(better, boxes[i]) > limit; });
            if (covered) continue;
            const double score = matches[i]->score;
            out.label_names.push_back(matches[i]->label);
            out.scores.push_back(out.whole_scores ? score : static_cast<float>(score));
            out.ids.push_back(matches[i]->id);
            out.boxes_xyxy.push_back(boxes[i]);
        }
        return out;
    }
};

Recognizer::Recognizer(const std::string& system, const std::string& gallery,
                       const RecognizerOptions& options)
    : state_(std::make_unique<State>(system, gallery, options)) {}
Recognizer::~Recognizer() = default;

Recognition Recognizer::recognize(const std::string& path) { return state_->recognize(path); }

void Recognizer::stream(const Paths& paths, const std::function<void(const Item&)>& each) {
    const auto work = [this](const std::string& path) -> Item {
        try {
            return state_->recognize(path);
        } catch (const ImageError& error) {
            return Unreadable{path, error.reason()};
        }
    };
    const int workers = state_->options.workers;
    Ordered<std::string, Item> ordered(paths, work, (kAhead + 1) * workers);
    ordered.run(workers, each);
}

std::string as_line(const Recognition& found) {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < found.ids.size(); ++i) {
        std::array<char, 400> score{};
        std::snprintf(score.data(), score.size(), " %.5f", found.scores[i]);
        std::string line = found.filename + ": " + found.label_names[i] + score.data();
        for (const auto corner : found.boxes_xyxy[i]) line += " " + std::to_string(corner);
        lines.push_back(line);
    }
    return lines.empty() ? found.filename + ": nothing recognised" : join(lines, "\n");
}

std::string as_json(const Recognition& found) {
    const auto text = [](const std::string& item) { return json_text(item, true); };
    const auto whole = [](std::int64_t value) { return std::to_string(value); };
    const auto score = [&](double value) {
        return found.whole_scores ? whole(static_cast<std::int64_t>(value)) : python_float(value);
    };
    const auto box = [&](const Box& corners) {
        return list(std::vector<std::int64_t>(corners.begin(), corners.end()), whole);
    };
    return "{\"label_names\": " + list(found.label_names, text) +
           ", \"scores\": " + list(found.scores, score) + ", \"ids\": " + list(found.ids, text) +
           ", \"boxes_xyxy\": " + list(found.boxes_xyxy, box) +
           ", \"filename\": " + json_text(found.filename) + "}";
}

}  // namespace tinysight
