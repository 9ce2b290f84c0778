// What a bundle says about itself: `bundle.yaml`, JSON text sealed by a digest.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json.hpp"
#include "tinysight/error.hpp"

namespace tinysight {

/// Leave to decode JPEGs reduced: by how much a reduced one must exceed the first resize.
struct ReducedDecode {
    double margin = 1;
};

/// A file of the bundle: bytes and their SHA-256.
struct FileEntry {
    std::uint64_t size = 0;
    std::string sha256;
};

/// What of a manifest determines an answer; the rest of it is checked and left.
struct Manifest {
    std::string task;
    std::vector<std::optional<std::int64_t>> input_shape;
    std::vector<Json> transforms;
    Json postprocess;
    std::vector<std::string> labels;
    std::map<std::string, FileEntry> files;
    std::optional<ReducedDecode> decode;
    std::string input_name;
    std::map<std::string, std::string> feeds;  ///< what each other input takes, by its name
    bool plain = true;                         ///< one input, the image, and one output
};

/// The members of a sealed file `text`, with its format and digest.
/// @throws BundleError  not readable, edited, or of a format above `newest`
Json unseal(std::string_view text, const std::string& where, std::int64_t newest);

/// The manifest in `text`, the contents of the file `where`.
/// @throws BundleError  not readable, made by a newer version, edited, or with a key that is
///                      unknown, missing or of the wrong kind
Manifest parse_manifest(std::string_view text, const std::string& where);

}  // namespace tinysight
