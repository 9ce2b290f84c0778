#include "bundle.hpp"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "files.hpp"
#include "onnx.hpp"
#include "sha256.hpp"
#include "text.hpp"

namespace tinysight {

namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "model.onnx";
constexpr const char* kManifest = "bundle.yaml";
constexpr const char* kAgain = "export the bundle again, or copy it again from where it came";
constexpr std::uint64_t kLargestManifest = 16 << 20;

std::string reason(const std::system_error& error) {
    return error.code().value() == ENOENT ? "missing" : error.code().message();
}

void check_name(const std::string& name, const std::string& manifest) {
    if (name.empty() || name == "." || name == ".." || name == kManifest ||
        name.find_first_of(std::string("/\\:\0", 4)) != std::string::npos) {
        throw BundleError(manifest, python_repr(name) + " is no plain file name; a bundle reads "
                                                        "nothing outside its folder", kAgain);
    }
}

std::string verified(const std::string& folder, const std::string& name, const FileEntry& entry) {
    const fs::path path = fs::path(folder) / name;
    const std::string where = path.string();
    std::string data;
    try {
        if (fs::exists(path) && fs::canonical(path).parent_path() != fs::canonical(folder)) {
            throw BundleError(where, "a link that leads out of the bundle", "copy the file in");
        }
        data = read_file(where, entry.size);
    } catch (const std::system_error& error) {  // also what std::filesystem throws
        if (error.code().value() == EFBIG) {
            throw BundleError(where, "altered: more bytes than the " + std::to_string(entry.size) +
                                         " that it was sealed with", kAgain);
        }
        throw BundleError(where, reason(error), kAgain);
    }
    if (data.size() < entry.size) {
        throw BundleError(where, "truncated: " + std::to_string(data.size()) +
                                     " bytes, sealed with " + std::to_string(entry.size), kAgain);
    }
    if (sha256(data) != entry.sha256) {
        throw BundleError(where, "altered: its SHA-256 is not the sealed one", kAgain);
    }
    return data;
}

}  // namespace

Bundle Bundle::load(const std::string& folder) {
    const std::string path = (fs::path(folder) / kManifest).string();
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) {
        if (fs::is_directory(folder, ignored)) {
            throw BundleError(folder, std::string("this folder has no ") + kManifest, kAgain);
        }
        if (fs::exists(folder, ignored)) {
            throw BundleError(folder, "is a file; a bundle is a folder", "give its folder");
        }
        throw BundleError(folder, "no such bundle", "give a bundle's folder");
    }
    std::string text;
    try {
        text = read_file(path, kLargestManifest);
    } catch (const std::system_error& error) {
        if (error.code().value() == EFBIG) {
            throw BundleError(path, "far too large to be a manifest", kAgain);
        }
        throw BundleError(path, reason(error), kAgain);
    }
    Bundle bundle{folder, parse_manifest(text, path), {}};
    if (!bundle.manifest.files.count(kModel)) {
        throw BundleError(path, std::string("lists no ") + kModel, kAgain);
    }
    for (const auto& [name, entry] : bundle.manifest.files) {
        check_name(name, path);
        std::string data = verified(folder, name, entry);
        if (name.ends_with(".onnx")) {
            refuse_external_data(data, (fs::path(folder) / name).string());
        }
        if (name == kModel) bundle.model = std::move(data);
    }
    return bundle;
}

}  // namespace tinysight
