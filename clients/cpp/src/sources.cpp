#include "tinysight/sources.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "text.hpp"
#include "tinysight/error.hpp"

namespace tinysight {

namespace {

namespace fs = std::filesystem;

// Whatever some OpenCV reads, so that an image in a folder is answered or reported, never passed
// over. What is in the file decides how it is decoded.
constexpr std::array<std::string_view, 30> kExtensions{
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif",
    ".tiff", ".gif", ".jp2", ".j2k", ".avif", ".pbm", ".pgm", ".ppm", ".pnm",
    ".pxm", ".pfm", ".sr", ".heic", ".heif", ".hif", ".jxl", ".mpo", ".ras",
    ".hdr", ".pic", ".exr"};

std::string lower(std::string text) {
    for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return text;
}

bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

bool is_image_name(const std::string& name) {
    const std::string folded = lower(name);
    return std::any_of(kExtensions.begin(), kExtensions.end(),
                       [&](std::string_view e) { return ends_with(folded, e); });
}

bool is_file(const fs::path& path) {
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
}

bool is_folder(const fs::path& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
}

std::string joined(const std::string& folder, const std::string& name) {
    return folder.empty() || folder.back() == '/' ? folder + name : folder + "/" + name;
}

void sort_naturally(std::vector<std::string>& names) {
    std::vector<std::pair<std::string, std::string>> keyed;
    keyed.reserve(names.size());
    for (auto& name : names) keyed.emplace_back(natural_key(name), std::move(name));
    std::sort(keyed.begin(), keyed.end());
    for (std::size_t i = 0; i < names.size(); ++i) names[i] = std::move(keyed[i].second);
}

struct Listing {
    std::string folder;
    std::string real;  // without links
    std::vector<std::string> names, folders;
    std::size_t name = 0, next = 0;
};

Listing listing(const std::string& folder, std::string real) {
    Listing out{folder, std::move(real), {}, {}};
    std::error_code failed;
    fs::directory_iterator entries(folder, failed);
    for (; !failed && entries != fs::directory_iterator(); entries.increment(failed)) {
        const std::string name = entries->path().filename().string();
        if (name[0] == '.') continue;
        if (is_folder(entries->path())) {
            out.folders.push_back(name);
        } else if (is_image_name(name)) {  // a link that leads nowhere, too: it is reported
            out.names.push_back(name);
        }
    }
    if (failed) throw Error(folder, "cannot be listed: " + failed.message());
    sort_naturally(out.names);
    sort_naturally(out.folders);
    return out;
}

// Images of a folder, then those of its folders; links back to a folder above are left.
class Walk {
public:
    explicit Walk(const std::string& folder) { enter(folder); }

    std::optional<std::string> operator()() {
        while (!above_.empty()) {
            Listing& here = above_.back();
            if (here.name < here.names.size()) return joined(here.folder, here.names[here.name++]);
            if (here.next < here.folders.size()) {
                enter(joined(here.folder, here.folders[here.next++]));
            } else {
                above_.pop_back();
            }
        }
        return std::nullopt;
    }

private:
    void enter(const std::string& folder) {
        std::error_code ignored;
        std::string real = fs::canonical(folder, ignored).string();
        const auto same = [&](const Listing& l) { return l.real == real; };
        if (std::none_of(above_.begin(), above_.end(), same)) {
            above_.push_back(listing(folder, std::move(real)));
        }
    }

    std::deque<Listing> above_;
};

// `name` below `folder`, without "." and doubled separators, as Python's pathlib writes it.
std::string below(const std::string& folder, const std::string& name) {
    const std::string whole = !name.empty() && name[0] == '/' ? name : folder + "/" + name;
    std::vector<std::string> parts;
    for (std::size_t at = 0; at <= whole.size();) {
        const std::size_t end = std::min(whole.find('/', at), whole.size());
        const std::string part = whole.substr(at, end - at);
        if (!part.empty() && part != ".") parts.push_back(part);
        at = end + 1;
    }
    return (whole[0] == '/' ? "/" : "") + join(parts, "/");
}

std::string stripped(const std::string& line) {
    const char* blanks = " \t\r\n\v\f";
    const std::size_t first = line.find_first_not_of(blanks);
    if (first == std::string::npos) return {};
    return line.substr(first, line.find_last_not_of(blanks) - first + 1);
}

// The path in a line: up to a tab, else all if that is a file, else to the last blank.
std::string listed(const std::string& line, const std::string& folder) {
    if (const std::size_t tab = line.find('\t'); tab != std::string::npos) {
        return line.substr(0, tab);
    }
    std::error_code ignored;
    if (line.find(' ') == std::string::npos || fs::exists(below(folder, line), ignored)) return line;
    std::string path = stripped(line.substr(0, line.find_last_of(' ')));
    for (const char mark : {',', ';'}) {
        if (!path.empty() && path.back() == mark) path.pop_back();
    }
    return path;
}

Paths of_list(const std::string& path, const std::string& folder) {
    auto lines = std::make_shared<std::ifstream>(path, std::ios::binary);
    if (!*lines) throw Error(path, "not readable as a list of paths");
    auto number = std::make_shared<int>(0);
    return [=]() -> std::optional<std::string> {
        std::string line;
        while (std::getline(*lines, line)) {
            ++*number;
            const auto unmark = [&] {  // a mark of each file that was joined
                while (line.rfind("\xef\xbb\xbf", 0) == 0) line.erase(0, 3);
            };
            if (*number == 1) unmark();
            line = stripped(line);
            unmark();
            if (line.empty()) continue;
            const std::size_t end = line.rfind(line[0]);
            if ((line[0] == '"' || line[0] == '\'') && end > 1) {
                throw Error(path + ":" + std::to_string(*number),
                            "quotes around the path " + line.substr(0, end + 1), "remove them");
            }
            return below(folder, listed(line, folder));
        }
        return std::nullopt;
    };
}

bool is_pattern(const std::string& text) { return text.find_first_of("*?[") != std::string::npos; }

// Paths that the parts of a pattern from `at` on match below `folder`.
void match(const std::string& folder, const std::vector<std::string>& parts, std::size_t at,
           std::set<std::string>& found) {
    const std::string& part = parts[at];
    const bool last = at + 1 == parts.size();
    if (!is_pattern(part)) {
        const std::string path = joined(folder, part);
        if (last ? is_file(path) : is_folder(path)) {
            last ? void(found.insert(path)) : match(path, parts, at + 1, found);
        }
        return;
    }
    const bool any_depth = part == "**";
    if (any_depth && !last) match(folder, parts, at + 1, found);
    std::error_code failed;
    fs::directory_iterator entries(folder.empty() ? "." : folder, failed);
    for (; !failed && entries != fs::directory_iterator(); entries.increment(failed)) {
        const std::string name = entries->path().filename().string();
        if (name[0] == '.' && part[0] != '.') continue;
        const std::string path = joined(folder, name);
        const bool link = entries->is_symlink(failed);
        if (any_depth) {
            if (is_folder(path) && !link) match(path, parts, at, found);
            if (last && is_file(path)) found.insert(path);
        } else if (::fnmatch(part.c_str(), name.c_str(), FNM_NOESCAPE) == 0) {
            if (last && is_file(path)) found.insert(path);
            if (!last && is_folder(path)) match(path, parts, at + 1, found);
        }
    }
}

Paths of_pattern(const std::string& pattern) {
    std::vector<std::string> parts;
    for (std::size_t at = 0; at <= pattern.size();) {
        const std::size_t end = std::min(pattern.find('/', at), pattern.size());
        if (end > at) parts.push_back(pattern.substr(at, end - at));
        at = end + 1;
    }
    std::set<std::string> found;
    match(pattern[0] == '/' ? "/" : "", parts, 0, found);
    std::vector<std::string> names(found.begin(), found.end());
    sort_naturally(names);
    auto at = std::make_shared<std::size_t>(0);
    return [names = std::move(names), at]() -> std::optional<std::string> {
        return *at < names.size() ? std::optional(names[(*at)++]) : std::nullopt;
    };
}

Paths one(const std::string& path) {
    auto left = std::make_shared<bool>(true);
    return [=]() -> std::optional<std::string> {
        return std::exchange(*left, false) ? std::optional(path) : std::nullopt;
    };
}

// `paths` again; an error if there is nothing in it.
Paths some(Paths paths, const std::string& where, const std::string& problem) {
    const auto first = paths();
    if (!first) throw Error(where, problem);
    return chained({one(*first), std::move(paths)});
}

}  // namespace

Paths chained(std::vector<Paths> all) {
    auto left = std::make_shared<std::deque<Paths>>(all.begin(), all.end());
    return [left]() -> std::optional<std::string> {
        while (!left->empty()) {
            if (auto path = left->front()()) return path;
            left->pop_front();
        }
        return std::nullopt;
    };
}

Paths images(const std::string& source, const std::optional<std::string>& root) {
    if (is_folder(source)) {
        return some(Walk(source), source, "no image in this folder or below it");
    }
    if (is_file(source)) {
        if (!ends_with(lower(source), ".txt")) return one(source);
        const std::string folder = root ? *root : fs::path(source).parent_path().string();
        return some(of_list(source, folder.empty() ? "." : folder), source, "this list is empty");
    }
    if (is_pattern(source)) {
        return some(of_pattern(source), source, "no file matches this pattern");
    }
    if (source.rfind("http://", 0) == 0 || source.rfind("https://", 0) == 0) {
        throw Error(source, "addresses are not fetched", "download the image first");
    }
    throw Error(source, "no such file or folder", "check the path; quote one with spaces");
}

}  // namespace tinysight
