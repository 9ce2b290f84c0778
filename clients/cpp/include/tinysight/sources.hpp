// Where images come from: a file, a folder, a pattern, a list.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tinysight {

/// Paths of images, one at a time; none when there are no more.
/// @throws Error  a folder below cannot be listed
using Paths = std::function<std::optional<std::string>()>;

/// Every image of `source`, in order: a file under the name it was given; a folder's images and
/// those below it, in natural order (2 before 10), without hidden ones; a pattern with `*`, `?` or
/// `[]`, `**` for any depth; the lines of a list (`.txt`), a label after the path is ignored.
/// @param root  folder that the paths in a list are relative to; default: that of the list
/// @throws Error  it does not exist, or there is no image in it
Paths images(const std::string& source, const std::optional<std::string>& root = {});

/// One after the other.
Paths chained(std::vector<Paths> all);

}  // namespace tinysight
