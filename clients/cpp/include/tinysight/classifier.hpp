// Images in, answers out, through a bundle.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tinysight/answer.hpp"
#include "tinysight/error.hpp"
#include "tinysight/sources.hpp"

namespace tinysight {

struct Options {
    int threads = 1;                  ///< of one run of the network
    int workers = 1;                  ///< images worked on at the same time by `stream`
    bool exact = false;               ///< decode every JPEG whole, whatever the bundle allows
    std::optional<int> topk;          ///< the k highest-scoring classes instead of the bundle's post-processing
    std::optional<double> threshold;  ///< instead of the bundle's own, in [0, 1]
};

/// Milliseconds that the parts of one answer took.
struct Timing {
    double decode = 0, preprocess = 0, network = 0, postprocess = 0;
    double total() const { return decode + preprocess + network + postprocess; }
};

/// @throws Error  threads or workers are not from 1 to 1024, or are more together
void check(const Options& options);

/// Processors that this process may use.
int usable_cores();

/// A bundle, ready to answer.
///
/// `answer` may be called from several threads at once: each call takes a run of the network that
/// is free, or makes one. `stream` uses `workers` threads of its own, none for a single image.
class Classifier {
public:
    /// @param bundle  its folder
    /// @throws BundleError  it is missing, altered, truncated, too new, or needs what is not here
    /// @throws Error        an option is out of range
    explicit Classifier(const std::string& bundle, const Options& options = {});
    ~Classifier();
    Classifier(Classifier&&) noexcept;
    Classifier& operator=(Classifier&&) noexcept;

    /// @param path  a JPEG, PNG, BMP or WebP file
    /// @throws ImageError  it cannot be read or decoded
    Answer answer(const std::string& path, Timing* timing = nullptr);

    /// The same of a file's bytes; the answer has no name.
    Answer answer_bytes(std::string_view data);

    /// Probabilities of all classes.
    std::vector<float> scores(const std::string& path);

    /// Hand over what became of each image, in order, as soon as possible. What is kept at a
    /// time does not depend on how many there are.
    void stream(const Paths& paths, const std::function<void(const Item&)>& each);

    const std::vector<std::string>& labels() const;
    const std::string& task() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tinysight
