// A component's name and options, as a manifest gives them; every option must be known.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "json.hpp"

namespace tinysight {

/// Reads options one by one; `done` refuses those that nobody asked for. A wrong or unknown one is
/// a `BundleError` that names its place.
class Spec {
public:
    /// @param json  a mapping with a name
    Spec(const Json& json, std::string where);

    const std::string& name() const { return name_; }  ///< folded
    const std::string& where() const { return where_; }

    /// The option, or null where it is absent or null.
    const Json* get(const std::string& key);
    double number(const std::string& key, double otherwise);
    double share(const std::string& key, double otherwise);  ///< from 0 to 1
    std::int64_t whole(const std::string& key, std::int64_t otherwise, std::int64_t least,
                       std::int64_t most);
    bool flag(const std::string& key, bool otherwise);
    std::string text(const std::string& key, const std::string& otherwise);
    std::vector<double> numbers(const std::string& key, const std::vector<double>& otherwise);

    void done() const;
    [[noreturn]] void fail(const std::string& key, const std::string& what) const;

private:
    const Json* given(const std::string& key);

    const Json& json_;
    std::string where_, name_;
    std::vector<std::string> known_{"name"};
};

}  // namespace tinysight
