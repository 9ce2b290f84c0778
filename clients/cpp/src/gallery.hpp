// A gallery that Python keeps: a folder with an SQLite database, read only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tinysight {

/// One of the nearest items of a query; a lower score is nearer for `l2` and `hamming`.
struct Match {
    std::string id, label;
    double score = 0;
};

/// What was calibrated for a gallery: how the nearest items become one answer, or none.
struct Decision {
    std::size_t k = 1;                       ///< how many of the nearest vote
    std::optional<double> threshold;         ///< least score (largest distance) that is an answer
    std::map<std::string, double> by_label;  ///< the same for single labels
};

/// May be used by several threads; a search sees what was acknowledged before it began.
class Gallery {
public:
    /// @throws Error  there is none, it is damaged, or of a newer version
    explicit Gallery(const std::string& folder);
    ~Gallery();
    Gallery(const Gallery&) = delete;
    Gallery& operator=(const Gallery&) = delete;

    const std::string& metric() const;
    bool is_distance() const;
    /// SHA-256 of the manifest of the bundle that made the vectors; empty where none is known.
    const std::string& bundle() const;
    const std::string& bundle_name() const;

    /// The `k` items nearest to a vector (numbers, or for `hamming` bytes), best first, ties by id.
    /// @throws Error  the vector has another size, or the database cannot be read
    std::vector<Match> search(std::span<const double> vector, std::size_t k);

    /// The same, and what was calibrated for the gallery at that moment; so many more matches as that wants.
    std::vector<Match> search(std::span<const double> vector, std::size_t k,
                              std::optional<Decision>& decision);

    /// The answer of a decision; none: unknown.
    std::optional<Match> decide(const std::vector<Match>& matches, const Decision& decision) const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tinysight
