// Damage a manifest or an image in many ways, always the same ones, and read each. What must not
// happen is a crash, a sanitiser's report, or an exception that is none of ours.
//
//   fuzz-tinysight manifest FILE COUNT [SEED]     bundle.yaml, sealed anew so that it is read further
//   fuzz-tinysight image FILE COUNT [SEED]
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>
#include <string>

#include "files.hpp"
#include "image.hpp"
#include "manifest.hpp"
#include "postprocess.hpp"
#include "sha256.hpp"
#include "tinysight/error.hpp"
#include "transforms.hpp"

namespace {

using namespace tinysight;
using Random = std::mt19937_64;

// Values that programs are surprised by, and what JSON is made of.
constexpr const char* kPieces[] = {
    "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "null", "true", "false", "0",
    "-1", "1", "2", "3", "1e308", "1e999", "-0.0", "0.5", "1e-400", "NaN", "2147483648", "99999999",
    "18446744073709551616", "\"\"", "\"nearest\"", "\"pillow\"", "\"cv2\"", "\"bicubic\"", "[]", "{}",
    "\"name\"", "\"topk\"", "\"multilabel\"", "\"person_attribute\"", "\"scores\"", "\"cast\"",
    "\"binarize\"", "\"embedding\"", "\"center_square\"", "\"append_channels\"", "\"size\"",
    "\"k\"", "\"threshold\"", "\"labels\"", "\"feeds\"", "\xff", "\xc3\xa9", "\xed\xa0\x80"};

std::size_t below(Random& random, std::size_t limit) { return limit ? random() % limit : 0; }

std::string damaged(std::string data, Random& random, bool text) {
    for (std::size_t edits = 1 + below(random, 4); edits; --edits) {
        const std::size_t at = below(random, data.size() + 1);
        const std::size_t some = below(random, text ? 12 : 64);
        switch (below(random, text ? 7 : 5)) {
            case 0:
                if (at < data.size()) data[at] = static_cast<char>(random());
                break;
            case 1: data.erase(at, some); break;
            case 2: data.insert(at, data.substr(below(random, data.size() + 1), some)); break;
            case 3:
                if (at < data.size()) data[at] = static_cast<char>(data[at] ^ 1 << random() % 8);
                break;
            case 4:
                if (below(random, 8) == 0) data.resize(at);
                break;
            default: {
                // A whole value or name by another, so that the text stays JSON more often.
                const std::size_t begin = data.find_first_of("0123456789\"", at);
                if (begin == std::string::npos) break;
                const std::size_t end = data[begin] == '"' ? data.find('"', begin + 1) + 1
                                                           : data.find_first_of(",}] \n", begin);
                if (end == 0 || end == std::string::npos) break;
                data.replace(begin, end - begin, kPieces[below(random, std::size(kPieces))]);
            }
        }
    }
    return data;
}

// The same text with the digest that it should have, if it is JSON at all.
std::string sealed(const std::string& text) {
    try {
        const Json json = parse_json(text);
        const Json* digest = json.find("digest");
        if (!digest || !digest->text()) return text;
        std::string out = text;
        const std::size_t at = out.find(*digest->text());
        if (at != std::string::npos) {
            out.replace(at, digest->text()->size(), sha256(json.canonical("digest")));
        }
        return out;
    } catch (const std::invalid_argument&) {
        return text;
    }
}

// Whatever the manifest allows is also built and tried on an image.
void read_manifest(const std::string& text) {
    const Manifest manifest = parse_manifest(text, "bundle.yaml");
    const Pipeline pipeline(manifest.transforms);
    const auto postprocess =
        build_postprocess(manifest.postprocess, manifest.labels, std::nullopt, std::nullopt);
    const std::vector<float> scores(
        postprocess->outputs() ? postprocess->outputs() : manifest.labels.size(), 0.5F);
    if (manifest.labels.empty() || manifest.labels.size() == scores.size()) (*postprocess)(scores);
    const cv::Size size = pipeline.enough(1).value_or(cv::Size());
    if (std::int64_t{size.width} * size.height > 1 << 20) return;  // slow
    pipeline(cv::Mat(20, 30, CV_8UC3, cv::Scalar::all(127)));
}

int run(const std::string& kind, const std::string& path, unsigned long count, unsigned long seed) {
    const std::string whole = read_file(path);
    const bool text = kind == "manifest";
    unsigned long read = 0;
    for (unsigned long i = 0; i < count; ++i) {
        Random random(seed * 1'000'003 + i);  // any of them can be repeated alone
        std::string data = damaged(whole, random, text);
        if (text && i % 8) data = sealed(data);
        try {
            text ? read_manifest(data) : void(decode(data, cv::Size(64, 64), 4'000'000));
            ++read;
        } catch (const Error&) {  // reported as an error: as it should be
        }
    }
    std::printf("%lu of %lu damaged files of %s were read, the others refused\n", read, count,
                path.c_str());
    return 0;
}

}  // namespace

int main(int count, char** words) {
    if (count < 4) {
        std::fprintf(stderr, "usage: fuzz-tinysight manifest|image FILE COUNT [SEED]\n");
        return 2;
    }
    return run(words[1], words[2], std::strtoul(words[3], nullptr, 10),
               count > 4 ? std::strtoul(words[4], nullptr, 10) : 1);
}
