#include "system.hpp"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

#include "files.hpp"
#include "sha256.hpp"
#include "text.hpp"

namespace tinysight {

namespace {

namespace fs = std::filesystem;

constexpr const char* kSystem = "system.yaml";
constexpr const char* kBundle = "bundle.yaml";
constexpr std::int64_t kFormat = 1;
constexpr const char* kAgain = "export the bundle again, or copy it again from where it came";
constexpr std::uint64_t kLargestManifest = 16 << 20;

const Json& member(const Json& json, const std::string& key, const std::string& where) {
    const Json* found = json.find(key);
    if (!found) throw BundleError(where + ": " + key, "required key is missing", kAgain);
    return *found;
}

double number(const Json& json, const std::string& key, const std::string& where, double least,
              double most) {
    const auto value = member(json, key, where).number();
    if (!value || !(*value >= least && *value <= most)) {
        throw BundleError(where + "." + key, "expected a number in its range", kAgain);
    }
    return *value;
}

Rules read_rules(const Json& json, const std::string& where) {
    constexpr double any = 1e300;
    Rules rules;
    rules.threshold = number(json, "threshold", where, 0, 1);
    rules.max_detections = static_cast<std::int64_t>(number(json, "max_detections", where, 1, 1e9));
    rules.nms_threshold = number(json, "nms_threshold", where, 0, 1);
    rules.top_k = static_cast<std::int64_t>(number(json, "top_k", where, 1, 1e9));
    rules.score_threshold = number(json, "score_threshold", where, -any, any);
    const bool* whole = member(json, "append_whole_image", where).boolean();
    if (!whole) throw BundleError(where, "append_whole_image is true or false", kAgain);
    rules.append_whole_image = *whole;
    return rules;
}

/// A member's bundle, pinned by size and digest of its manifest.
Bundle load_member(const std::string& folder, const std::string& name, const Json& entry) {
    const std::string path = (fs::path(folder) / name).string();
    std::error_code ignored;
    if (fs::weakly_canonical(path, ignored).parent_path() != fs::weakly_canonical(folder, ignored)) {
        throw BundleError(path, "a link that leads out of the system", "copy the bundle in");
    }
    const std::string manifest = (fs::path(path) / kBundle).string();
    std::string text;
    try {
        text = read_file(manifest, kLargestManifest);
    } catch (const std::system_error& error) {
        throw BundleError(manifest, error.code().message(), kAgain);
    }
    const Json* digest = entry.find("sha256");
    const Json* size = entry.find("size");
    if (!digest || !digest->text() || *digest->text() != sha256(text) || !size ||
        size->integer() != static_cast<std::int64_t>(text.size())) {
        throw BundleError(manifest, "altered: its SHA-256 is not the sealed one", kAgain);
    }
    return Bundle::load(path);
}

void check_name(const std::string& name, const std::string& where) {
    if (name.empty() || name == "." || name == ".." || name == kSystem ||
        name.find_first_of(std::string("/\\:\0", 4)) != std::string::npos) {
        throw BundleError(where, python_repr(name) + " is no plain file name; a bundle reads "
                                                     "nothing outside its folder", kAgain);
    }
}

void check_embedder(const Bundle& bundle, const std::string& where) {
    const std::string& kind = *bundle.manifest.postprocess.find("name")->text();
    if (fold(kind) != "embedding" && fold(kind) != "binarize") {
        throw BundleError(where, "the results of " + bundle.manifest.task + " are no vectors",
                          "recognition needs an embedding bundle");
    }
}

}  // namespace

System System::load(const std::string& folder) {
    const std::string where = (fs::path(folder) / kSystem).string();
    std::error_code ignored;
    if (!fs::exists(where, ignored)) {
        System alone{{}, {}, Bundle::load(folder)};
        check_embedder(alone.embedder, folder);
        return alone;
    }
    std::string text;
    try {
        text = read_file(where, kLargestManifest);
    } catch (const std::system_error& error) {
        throw BundleError(where, error.code().message(), kAgain);
    }
    const Json json = unseal(text, where, kFormat);
    static const std::set<std::string> known{"format", "digest", "name", "members", "rules", "labels",
                                             "description", "licence", "made_with", "created"};
    if (!json.object()) throw BundleError(where, "no mapping", kAgain);
    for (const auto& one : *json.object()) {
        if (!known.count(one.key)) throw BundleError(where + ": " + one.key, "unknown key", kAgain);
    }
    const Json& members = member(json, "members", where);
    if (!members.object() || members.object()->empty()) {
        throw BundleError(where + ": members", "expected a mapping of 1 or more bundles", kAgain);
    }
    std::optional<Bundle> detector, embedder;
    std::vector<std::string> names;
    for (const auto& [name, entry] : *members.object()) {
        check_name(name, where);
        names.push_back(name);
        Bundle bundle = load_member(folder, name, entry);
        if (name == "detector") detector = std::move(bundle);
        if (name == "embedder") embedder = std::move(bundle);
    }
    if (!embedder) {
        throw BundleError(folder, "has no member 'embedder', but " + join(names, ", "),
                          "`tinysight export --system` makes one");
    }
    check_embedder(*embedder, folder);
    const Rules rules = read_rules(member(json, "rules", where), where + ": rules");
    return {rules, std::move(detector), std::move(*embedder)};
}

}  // namespace tinysight
