// What is in an image, by a gallery: detect, embed, look up.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "tinysight/classifier.hpp"

namespace tinysight {

/// What a gallery says about parts of an image, best first.
struct Recognition {
    std::vector<std::string> label_names;
    std::vector<double> scores;
    std::vector<std::string> ids;  ///< of the items that matched
    std::vector<std::array<std::int64_t, 4>> boxes_xyxy;
    bool whole_scores = false;  ///< bits that differ, and not similarities
    std::string filename;
};

/// The lines that `tinysight recognize` prints.
std::string as_line(const Recognition& found);

/// The object that `tinysight recognize --json` prints.
std::string as_json(const Recognition& found);

struct RecognizerOptions {
    int threads = 1;                  ///< of one run of a network
    int workers = 1;                  ///< images worked on at the same time by `stream`
    bool detect = true;               ///< false: look up whole images alone
    std::optional<double> threshold;  ///< in place of the system's `score_threshold`
};

/// A system and a gallery; may be called from several threads at once.
class Recognizer {
public:
    using Item = std::variant<Recognition, Unreadable>;

    /// @param system   folder of a system, or of an embedding bundle
    /// @param gallery  its folder
    /// @throws BundleError  the system is missing, altered or of another kind
    /// @throws Error        the gallery is missing or damaged, or another bundle made it
    Recognizer(const std::string& system, const std::string& gallery,
               const RecognizerOptions& options = {});
    ~Recognizer();

    /// @throws ImageError  it cannot be read or decoded
    Recognition recognize(const std::string& path);

    /// Hand over what became of each image, in order.
    void stream(const Paths& paths, const std::function<void(const Item&)>& each);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tinysight
