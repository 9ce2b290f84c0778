#include "tinysight/answer.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "text.hpp"

namespace tinysight {

namespace {

// Python's and JSON's spelling differ in texts alone.
using Spelling = std::string (*)(const std::string&);

std::string of_python(const std::string& text) { return python_repr(text); }
std::string of_json(const std::string& text) { return json_text(text, true); }

template <typename T, typename Spell>
std::string list(const std::vector<T>& items, Spell spell) {
    std::vector<std::string> out;
    for (const auto& item : items) out.push_back(spell(item));
    return "[" + join(out, ", ") + "]";
}

std::string whole(int value) { return std::to_string(value); }

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs pairs(const Answer& answer, Spelling spell, bool bare) {
    Pairs out;
    if (answer.label_ids) out.emplace_back("label_ids", list(*answer.label_ids, whole));
    if (answer.class_ids) out.emplace_back("class_ids", list(*answer.class_ids, whole));
    if (answer.scores) out.emplace_back("scores", list(*answer.scores, python_float));
    if (answer.label_names) out.emplace_back("label_names", list(*answer.label_names, spell));
    if (answer.boxes_xyxy) {
        const auto box = [](const std::array<double, 4>& corners) {
            return list(std::vector<double>(corners.begin(), corners.end()), python_float);
        };
        out.emplace_back("boxes_xyxy", list(*answer.boxes_xyxy, box));
    }
    if (answer.attributes) {
        const auto* one = std::get_if<std::string>(&*answer.attributes);
        out.emplace_back("attributes", !one ? list(std::get<1>(*answer.attributes), spell)
                                            : bare ? *one : spell(*one));
    }
    if (answer.output) out.emplace_back("output", list(*answer.output, whole));
    if (answer.code) out.emplace_back("code", list(*answer.code, whole));
    if (answer.embedding) out.emplace_back("embedding", list(*answer.embedding, python_float));
    return out;
}

// A line for each box: name, label, score, corners.
std::string box_lines(const Answer& answer) {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < answer.boxes_xyxy->size(); ++i) {
        const auto& box = (*answer.boxes_xyxy)[i];
        std::array<char, 2000> text{};  // %f of the largest float has 39 digits in front
        std::snprintf(text.data(), text.size(), " %.5f %.1f %.1f %.1f %.1f", (*answer.scores)[i],
                      box[0], box[1], box[2], box[3]);
        lines.push_back(answer.filename + ": " + (*answer.label_names)[i] + text.data());
    }
    return lines.empty() ? answer.filename + ": nothing found" : join(lines, "\n");
}

// The size of an embedding and its first numbers; all of them are in the JSON form.
std::string vector_line(const Answer& answer) {
    const auto& numbers = *answer.embedding;
    std::string out = "embedding: " + std::to_string(numbers.size()) + " numbers,";
    for (std::size_t i = 0; i < std::min<std::size_t>(numbers.size(), 4); ++i) {
        std::array<char, 400> text{};
        std::snprintf(text.data(), text.size(), " %.6f", numbers[i]);
        out += text.data();
    }
    return out + (numbers.size() > 4 ? " ..." : "") + ", filename: " + answer.filename;
}

}  // namespace

std::string as_line(const Answer& answer) {
    if (answer.embedding) return vector_line(answer);
    if (answer.boxes_xyxy) return box_lines(answer);
    std::string out;
    for (const auto& [key, value] : pairs(answer, of_python, true)) out += key + ": " + value + ", ";
    return out + "filename: " + answer.filename;
}

std::string as_json(const Item& item) {
    if (const auto* bad = std::get_if<Unreadable>(&item)) {
        return "{\"filename\": " + json_text(bad->filename) + ", \"error\": " +
               json_text(bad->reason) + "}";
    }
    const auto& answer = std::get<Answer>(item);
    std::string out = "{";
    for (const auto& [key, value] : pairs(answer, of_json, false)) {
        out += "\"" + key + "\": " + value + ", ";
    }
    return out + "\"filename\": " + json_text(answer.filename) + "}";
}

}  // namespace tinysight
