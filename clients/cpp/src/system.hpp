// A system: bundles in one folder and the rules by which they work together. Verified as a bundle is.
#pragma once

#include <optional>
#include <string>

#include "bundle.hpp"

namespace tinysight {

struct Rules {
    double threshold = 0.2;         ///< lowest score of a box
    std::int64_t max_detections = 5;
    double nms_threshold = 0.05;    ///< overlap above which the lesser of two matches is dropped
    bool append_whole_image = true;
    std::int64_t top_k = 5;
    double score_threshold = 0.5;   ///< lowest similarity, or largest distance, that is a match
};

struct System {
    Rules rules;
    std::optional<Bundle> detector;
    Bundle embedder;

    /// The system in a folder; a folder that is a bundle is an embedder with the usual rules.
    /// @throws BundleError  there is none; it or a member is missing, altered or too new
    static System load(const std::string& folder);
};

}  // namespace tinysight
