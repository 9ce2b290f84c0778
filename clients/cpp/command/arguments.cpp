#include "arguments.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tinysight::command {

const char* const kUsage =
    R"(usage: tinysight-cpp predict SOURCE... --model FOLDER [options]
       tinysight-cpp recognize SOURCE... --system FOLDER --gallery FOLDER [options]

Label images with a bundle, or recognise what is in them by a gallery; the same lines as `tinysight predict` and
`tinysight recognize`.

SOURCE: an image, a folder, a 'pattern*', or a list (.txt)

  --model FOLDER      the bundle's folder
  --root FOLDER       paths in lists are relative to it; default: to the list
  --threads N         threads of one run of the network (1)
  --workers N         images worked on at the same time; default: processors / threads, and one
  --exact             decode whole, whatever the bundle allows
  --topk K            the K best classes
  --threshold P       instead of the bundle's own
  --json              one JSON object a line
  --system FOLDER     of recognize: a detector, an embedder and their rules; or --model, an embedder alone
  --gallery FOLDER    of recognize: what is looked up in
  --no-detector       of recognize: look up whole images alone
  --bench             time the images instead: parts and percentiles of one, rate of many
  --seconds S         of each figure of --bench, at least (2)
  --version, --help

Images that cannot be read are named on stderr, and the exit code is then 1; 2 after a mistake.
)";

namespace {

template <typename T>
T number(const std::string& name, const std::string& text) {
    T value{};
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    bool good = result.ec == std::errc{} && result.ptr == text.data() + text.size();
    if constexpr (std::is_floating_point_v<T>) good = good && std::isfinite(value);
    if (!good) throw Error(name, "'" + text + "' is no number here");
    return value;
}

}  // namespace

Arguments parse(const std::vector<std::string>& words) {
    Arguments out;
    std::optional<int> workers;
    std::size_t at = 0;
    out.recognize = at < words.size() && words[at] == "recognize";
    if (at < words.size() && (out.recognize || words[at] == "predict")) ++at;
    bool options = true;
    for (; at < words.size(); ++at) {
        const std::string& word = words[at];
        if (!options || word.size() < 2 || word[0] != '-') {
            out.sources.push_back(word);
            continue;
        }
        if (word == "--") {
            options = false;
            continue;
        }
        const std::size_t sign = word.find('=');
        std::string name = word.substr(0, sign);
        const auto value = [&]() -> std::string {
            if (sign != std::string::npos) return word.substr(sign + 1);
            if (++at == words.size()) throw Error(name, "expected a value");
            return words[at];
        };
        const auto flag = [&](bool& target) {
            if (sign != std::string::npos) throw Error(name, "takes no value");
            target = true;
        };
        if (name == "--model" || name == "--bundle" || name == "--model_name") {
            out.bundle = value();
        } else if (name == "--infer_imgs") {
            out.sources.push_back(value());
        } else if (name == "--system") {
            out.system = value();
        } else if (name == "--gallery") {
            out.gallery = value();
        } else if (name == "--no-detector") {
            flag(out.no_detector);
        } else if (name == "--root") {
            out.root = value();
        } else if (name == "--threads") {
            out.options.threads = number<int>(name, value());
        } else if (name == "--workers") {
            workers = number<int>(name, value());
        } else if (name == "--topk") {
            out.options.topk = number<int>(name, value());
        } else if (name == "--threshold") {
            out.options.threshold = number<double>(name, value());
        } else if (name == "--seconds") {
            out.seconds = number<double>(name, value());
        } else if (name == "--exact") {
            flag(out.options.exact);
        } else if (name == "--json") {
            flag(out.json);
        } else if (name == "--bench") {
            flag(out.bench);
        } else if (name == "--help" || name == "-h") {
            flag(out.help);
        } else if (name == "--version") {
            flag(out.version);
        } else {
            throw Error(name, "no such option", "tinysight-cpp --help names them");
        }
    }
    // OpenVINO wakes a thread of its own for each run, and a processor would wait for that moment if
    // there were no further image to work on.
    out.options.workers =
        workers.value_or(std::max(1, usable_cores() / std::max(1, out.options.threads)) + 1);
    return out;
}

}  // namespace tinysight::command
