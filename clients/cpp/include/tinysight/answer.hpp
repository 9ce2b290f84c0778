// What a bundle says about one image, and the ways to write it down.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace tinysight {

/// An answer; the members that a bundle's post-processing does not give are empty.
struct Answer {
    std::optional<std::vector<int>> class_ids;  ///< best first
    std::optional<std::vector<double>> scores;  ///< of these classes, or of all
    std::optional<std::vector<std::string>> label_names;
    std::optional<std::variant<std::string, std::vector<std::string>>> attributes;
    std::optional<std::vector<int>> output;        ///< 1 or 0 for each output of the network
    std::optional<std::vector<int>> code;          ///< an embedding as bits, eight a number
    std::optional<std::vector<double>> embedding;  ///< the image as a vector
    std::string filename;
    std::optional<std::vector<int>> label_ids{};  ///< of boxes
    std::optional<std::vector<std::array<double, 4>>> boxes_xyxy{};  ///< in pixels of the image
};

/// An image that could not be read, and why.
struct Unreadable {
    std::string filename;
    std::string reason;
};

using Item = std::variant<Answer, Unreadable>;

/// The line that `tinysight predict` prints.
std::string as_line(const Answer& answer);

/// The object that `tinysight predict --json` prints.
std::string as_json(const Item& item);

}  // namespace tinysight
