// What a user can put right: the place, what is wrong there, and the way out.
#pragma once

#include <stdexcept>
#include <string>

namespace tinysight {

/// Something is wrong that the user can put right. `what()` is all of it in one line.
class Error : public std::runtime_error {
public:
    /// @param where  file, key or argument; may be empty
    /// @param what   what is wrong there
    /// @param hint   the way out; may be empty
    Error(std::string where, std::string what, std::string hint = {})
        : std::runtime_error(joined(where, what, hint)), where_(std::move(where)),
          problem_(std::move(what)), hint_(std::move(hint)) {}

    const std::string& where() const noexcept { return where_; }
    const std::string& problem() const noexcept { return problem_; }
    const std::string& hint() const noexcept { return hint_; }

    /// What is wrong and the way out, without the place.
    std::string reason() const { return joined({}, problem_, hint_); }

private:
    static std::string joined(const std::string& where, const std::string& what,
                              const std::string& hint) {
        return (where.empty() ? "" : where + ": ") + what + (hint.empty() ? "" : "; " + hint);
    }

    std::string where_, problem_, hint_;
};

/// One image cannot be decoded or transformed; the others can.
class ImageError : public Error {
public:
    using Error::Error;
};

/// A bundle is missing, truncated, tampered with, made by a newer version, or needs what this
/// program does not have.
class BundleError : public Error {
public:
    using Error::Error;
};

}  // namespace tinysight
