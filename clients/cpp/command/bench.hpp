// How long a bundle takes here.
#pragma once

#include <string>
#include <vector>

#include "tinysight/classifier.hpp"

namespace tinysight::command {

/// Time `paths`: one image in its parts in one thread, then many by all workers.
/// @param seconds  of each figure, at least; every image is taken once in any case
/// @param json     one JSON object instead of a table
/// @returns        what to print
/// @throws Error   none of the images can be read
std::string bench(const std::string& bundle, const Options& options,
                  const std::vector<std::string>& paths, double seconds, bool json);

}  // namespace tinysight::command
