// The command line of tinysight-cpp.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tinysight/classifier.hpp"

namespace tinysight::command {

struct Arguments {
    std::vector<std::string> sources;
    std::string bundle;
    std::optional<std::string> system, gallery;
    bool recognize = false, no_detector = false;
    std::optional<std::string> root;
    Options options;
    bool json = false, bench = false, help = false, version = false;
    double seconds = 2;  ///< of each figure of `--bench`
};

extern const char* const kUsage;

/// @throws Error  an option that does not exist, or a value that is none
Arguments parse(const std::vector<std::string>& words);

}  // namespace tinysight::command
