// From probabilities to answers: the last stage that a bundle names.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "json.hpp"
#include "tinysight/answer.hpp"

namespace tinysight {

class Spec;

/// Makes an answer, without its file's name, of the scores (K) of one image.
class Postprocess {
public:
    virtual ~Postprocess() = default;
    virtual Answer operator()(std::span<const float> scores) const = 0;
    /// Whether it makes an answer of rows of boxes, by `boxes`, and not of scores.
    virtual bool of_boxes() const { return false; }
    /// The answer of rows (class, score, x1, y1, x2, y2), corners times `x` and `y`.
    virtual Answer boxes(std::span<const float>, float, float) const { return {}; }
    /// How many scores it needs; 0: as many as there are labels.
    virtual std::size_t outputs() const { return 0; }
};

using Labels = std::vector<std::string>;

/// The post-processing of a bundle, or what the caller wants instead of it.
/// @throws BundleError  one or an option that is not known here
/// @throws Error        `topk` or `threshold` does not go with it
std::unique_ptr<Postprocess> build_postprocess(const Json& json, const Labels& labels,
                                               std::optional<int> topk,
                                               std::optional<double> threshold);

/// Those of attributes; null where the name is none of them.
std::unique_ptr<Postprocess> build_attributes(Spec& spec);

/// The first best.
inline std::size_t best_of(std::span<const float> scores) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < scores.size(); ++i) {
        if (scores[i] > scores[best]) best = i;
    }
    return best;
}

}  // namespace tinysight
