#include "postprocess.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "spec.hpp"
#include "text.hpp"
#include "tinysight/error.hpp"

namespace tinysight {

namespace {

// As NumPy rounds: scaled, to the nearest even, scaled back.
double rounded(float value, int decimals) {
    const double factor = std::pow(10.0, decimals);
    return std::nearbyint(static_cast<double>(value) * factor) / factor;
}

int decimals_of(Spec& spec) { return static_cast<int>(spec.whole("decimals", 5, 0, 17)); }

class TopK : public Postprocess {
public:
    TopK(Spec& spec, const Labels& labels, std::optional<int> k)
        : labels_(labels),
          k_(k ? *k : spec.whole("k", 5, 1, std::numeric_limits<int>::max())),
          decimals_(k ? 5 : decimals_of(spec)) {}

    Answer operator()(std::span<const float> scores) const override {
        std::vector<int> order(scores.size());
        std::iota(order.begin(), order.end(), 0);
        // Equal scores come highest class id first.
        std::sort(order.begin(), order.end(), [&](int a, int b) {
            return scores[a] != scores[b] ? scores[a] > scores[b] : a > b;
        });
        order.resize(std::min<std::size_t>(order.size(), k_));
        Answer answer{order, std::vector<double>{}, Labels{}, {}, {}, {}, {}, {}};
        for (const int id : order) {
            answer.scores->push_back(rounded(scores[id], decimals_));
            if (!labels_.empty()) answer.label_names->push_back(labels_[id]);
        }
        return answer;
    }

private:
    Labels labels_;
    std::size_t k_;
    int decimals_;
};

class Threshold : public Postprocess {
public:
    Threshold(Spec& spec, const Labels& labels, std::optional<double> threshold)
        : labels_(labels),
          threshold_(static_cast<float>(threshold ? *threshold : spec.share("threshold", 0.5))),
          positive_(index(spec, "positive", 1)), default_(index(spec, "default", 0)) {
        spec.get("threshold");
        if (labels.size() < 2) {
            spec.fail("threshold", "a threshold needs two classes or more, got one score");
        }
    }

    Answer operator()(std::span<const float> scores) const override {
        if (scores.size() == 2) {
            const float score = scores[positive_];
            return score < threshold_ ? answer(1 - positive_, 1 - score) : answer(positive_, score);
        }
        const std::size_t best = best_of(scores);
        const std::size_t chosen = scores[best] > threshold_ ? best : default_;
        return answer(chosen, scores[chosen]);
    }

private:
    Answer answer(std::size_t id, float score) const {
        return {std::vector<int>{static_cast<int>(id)}, std::vector<double>{score},
                Labels{labels_[id]}, {}, {}, {}, {}, {}};
    }

    // The class that an option, a label or an id, stands for.
    std::size_t index(Spec& spec, const std::string& key, std::size_t otherwise) const {
        const Json* value = spec.get(key);
        if (value && value->text()) {
            const auto found = std::find(labels_.begin(), labels_.end(), *value->text());
            if (found == labels_.end()) spec.fail(key, "no label " + python_repr(*value->text()));
            return static_cast<std::size_t>(found - labels_.begin());
        }
        const auto id = value ? value->integer() : std::optional<std::int64_t>(otherwise);
        if (!id || *id < 0 || static_cast<std::size_t>(*id) >= labels_.size()) {
            spec.fail(key, "no such class; there are " + std::to_string(labels_.size()));
        }
        return static_cast<std::size_t>(*id);
    }

    Labels labels_;
    float threshold_;
    std::size_t positive_, default_;
};

class MultiLabel : public Postprocess {
public:
    MultiLabel(Spec& spec, const Labels& labels)
        : labels_(labels), threshold_(static_cast<float>(spec.share("threshold", 0.5))),
          decimals_(decimals_of(spec)) {}

    Answer operator()(std::span<const float> scores) const override {
        Answer answer{std::vector<int>{}, std::vector<double>{}, Labels{}, {}, {}, {}, {}, {}};
        for (std::size_t id = 0; id < scores.size(); ++id) {
            if (!(scores[id] >= threshold_)) continue;
            answer.class_ids->push_back(static_cast<int>(id));
            answer.scores->push_back(rounded(scores[id], decimals_));
            answer.label_names->push_back(labels_[id]);
        }
        return answer;
    }

private:
    Labels labels_;
    float threshold_;
    int decimals_;
};

class AllScores : public Postprocess {
public:
    explicit AllScores(Spec& spec) : decimals_(decimals_of(spec)) {}

    Answer operator()(std::span<const float> scores) const override {
        Answer answer;
        answer.scores.emplace();
        for (const float score : scores) answer.scores->push_back(rounded(score, decimals_));
        return answer;
    }

private:
    int decimals_;
};

class Binarize : public Postprocess {
public:
    explicit Binarize(Spec& spec) : sign_(spec.text("method", "round") == "sign") {
        if (!sign_ && spec.text("method", "round") != "round") spec.fail("method", "round or sign");
    }

    Answer operator()(std::span<const float> scores) const override {
        if (scores.size() % 8) {
            throw BundleError("postprocess", "bits are packed by eight, the embedding has " +
                                                 std::to_string(scores.size()) + " values");
        }
        Answer answer;
        answer.code.emplace(scores.size() / 8);
        for (std::size_t i = 0; i < scores.size(); ++i) {
            const bool on = sign_ ? scores[i] > 0 : scores[i] >= 0.5F;
            (*answer.code)[i / 8] |= on << (7 - i % 8);
        }
        return answer;
    }

private:
    bool sign_;
};

class Embedding : public Postprocess {
public:
    explicit Embedding(Spec& spec) : normalize_(spec.flag("normalize", true)) {}

    Answer operator()(std::span<const float> scores) const override {
        double sum = 0;
        for (const double value : scores) sum += value * value;
        const double length = normalize_ ? std::max(std::sqrt(sum), 1e-30) : 1;
        Answer answer;
        answer.embedding.emplace();
        for (const double value : scores) {
            answer.embedding->push_back(static_cast<float>(value / length));
        }
        return answer;
    }

private:
    bool normalize_;
};

class Boxes : public Postprocess {
public:
    Boxes(Spec& spec, const Labels& labels)
        : labels_(labels), threshold_(static_cast<float>(spec.number("threshold", 0.5))),
          equal_(spec.flag("equal", false)),
          keep_(spec.whole("keep", -1, 0, std::numeric_limits<int>::max())) {
        if (spec.get("suppress")) {
            throw BundleError("postprocess.suppress", "this program leaves it to the network to "
                              "choose among its boxes", "export it with export.nms: true");
        }
    }

    bool of_boxes() const override { return true; }

    Answer operator()(std::span<const float>) const override {
        throw BundleError("postprocess", "boxes are the results of detectors");
    }

    Answer boxes(std::span<const float> rows, float x, float y) const override {
        std::vector<std::size_t> order(rows.size() / kRow);
        std::iota(order.begin(), order.end(), 0);
        if (keep_ >= 0) {
            std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
                return sure(rows[a * kRow + 1]) > sure(rows[b * kRow + 1]);
            });
            order.resize(std::min<std::size_t>(order.size(), keep_));
        }
        Answer answer{{}, std::vector<double>{}, Labels{}, {}, {}, {}, {}, {}};
        answer.label_ids.emplace();
        answer.boxes_xyxy.emplace();
        for (const std::size_t i : order) {
            const auto row = rows.subspan(i * kRow, kRow);
            const bool high = equal_ ? !(row[1] < threshold_) : row[1] > threshold_;
            if (!high || !(row[0] >= 0)) continue;
            const auto id = static_cast<std::size_t>(row[0]);
            if (!labels_.empty() && id >= labels_.size()) {
                throw BundleError("labels", std::to_string(labels_.size()) +
                                                " labels, and a box of class " + std::to_string(id),
                                  "name as many as the network has classes");
            }
            answer.label_ids->push_back(static_cast<int>(id));
            answer.scores->push_back(row[1]);
            answer.label_names->push_back(labels_.empty() ? std::to_string(id) : labels_[id]);
            answer.boxes_xyxy->push_back({row[2] / x, row[3] / y, row[4] / x, row[5] / y});
        }
        return answer;
    }

private:
    static constexpr std::size_t kRow = 6;

    static float sure(float score) {
        return std::isnan(score) ? std::numeric_limits<float>::infinity() : score;
    }

    Labels labels_;
    float threshold_;
    bool equal_;
    std::int64_t keep_;
};

std::unique_ptr<Postprocess> built(Spec& spec, const Labels& labels,
                                   std::optional<double> threshold) {
    if (spec.name() == "topk") return std::make_unique<TopK>(spec, labels, std::nullopt);
    if (spec.name() == "threshold") return std::make_unique<Threshold>(spec, labels, threshold);
    if (spec.name() == "multilabel") return std::make_unique<MultiLabel>(spec, labels);
    if (spec.name() == "scores") return std::make_unique<AllScores>(spec);
    if (spec.name() == "boxes") return std::make_unique<Boxes>(spec, labels);
    if (spec.name() == "binarize") return std::make_unique<Binarize>(spec);
    if (spec.name() == "embedding") return std::make_unique<Embedding>(spec);
    if (auto attributes = build_attributes(spec)) return attributes;
    throw BundleError("postprocess", "this program has no post-processing '" + spec.name() + "'",
                      "use `tinysight predict`");
}

// `json` with another threshold.
Json with_threshold(Json json, double threshold) {
    for (auto& member : std::get<Json::Object>(json.value)) {
        if (member.key == "threshold") member.value = Json{threshold};
    }
    return json;
}

}  // namespace

std::unique_ptr<Postprocess> build_postprocess(const Json& json, const Labels& labels,
                                               std::optional<int> topk,
                                               std::optional<double> threshold) {
    if (topk && threshold) {
        throw Error("topk, threshold", "only one of the two makes sense");
    }
    if (topk && *topk < 1) {
        throw Error("topk", "should be 1 or more, got " + std::to_string(*topk));
    }
    if (threshold && !(*threshold >= 0 && *threshold <= 1)) {
        throw Error("threshold", "should be between 0 and 1, got " + python_float(*threshold));
    }
    Spec spec(json, "postprocess");
    if ((spec.name() == "embedding" || spec.name() == "binarize") && (topk || threshold)) {
        throw Error("topk, threshold", "the answers of this bundle are its " + spec.name());
    }
    if (spec.name() == "boxes" && topk) {
        throw Error("topk, threshold", "the answers of this bundle are its boxes");
    }
    if (topk) return std::make_unique<TopK>(spec, labels, topk);
    if (threshold && !json.find("threshold")) {
        if (spec.name() != "topk" && spec.name() != "scores") {
            throw Error("threshold", *json.find("name")->text() + " has no such thing");
        }
        const Json plain{Json::Object{{"name", Json{std::string("threshold")}}}};
        Spec instead(plain, "postprocess");
        return std::make_unique<Threshold>(instead, labels, threshold);
    }
    const Json changed = threshold ? with_threshold(json, *threshold) : json;
    Spec final_spec(changed, "postprocess");
    auto out = built(final_spec, labels, threshold);
    final_spec.done();
    return out;
}

}  // namespace tinysight
