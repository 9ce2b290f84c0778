// A gallery that Python keeps: a folder with an SQLite database, read only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace tinysight {

/// One of the nearest items of a query; a lower score is nearer for `l2` and `hamming`.
struct Match {
    std::string id, label;
    double score = 0;
};

/// May be used by several threads; a search sees what was acknowledged before it began.
class Gallery {
public:
    /// @throws Error  there is none, it is damaged, of a newer version, or decides in a way that is not known here
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

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tinysight
