#include "manifest.hpp"

#include <algorithm>
#include <functional>
#include <stdexcept>

#include "sha256.hpp"
#include "text.hpp"

namespace tinysight {

namespace {

constexpr std::int64_t kFormat = 2;  // 2: bundles without classes
constexpr const char* kAgain = "export the bundle again, or copy it again from where it came";

[[noreturn]] void wrong(const Json& json, const std::string& where, const std::string& expected) {
    throw BundleError(where, "expected " + expected + ", got " + json.canonical().substr(0, 60),
                      kAgain);
}

const std::string& text(const Json& json, const std::string& where) {
    if (!json.text()) wrong(json, where, "a text");
    return *json.text();
}

std::uint64_t whole(const Json& json, const std::string& where) {
    const auto number = json.integer();
    if (!number || *number < 0) wrong(json, where, "a whole number");
    return static_cast<std::uint64_t>(*number);
}

double number(const Json& json, const std::string& where) {
    const auto value = json.number();
    if (!value) wrong(json, where, "a number");
    return *value;
}

using Check = std::function<void(const Json&, const std::string&)>;

void check_text(const Json& json, const std::string& where) { text(json, where); }
void check_whole(const Json& json, const std::string& where) { whole(json, where); }
void check_number(const Json& json, const std::string& where) { number(json, where); }

Check maybe(Check check) {
    return [check = std::move(check)](const Json& json, const std::string& where) {
        if (!json.is_null()) check(json, where);
    };
}

Check many(Check check, std::size_t least = 0) {
    return [check = std::move(check), least](const Json& json, const std::string& where) {
        const auto* items = json.array();
        if (!items || items->size() < least) {
            wrong(json, where, "a list of " + std::to_string(least) + " or more");
        }
        for (std::size_t i = 0; i < items->size(); ++i) {
            check((*items)[i], where + "." + std::to_string(i));
        }
    };
}

Check by_name(Check check) {
    return [check = std::move(check)](const Json& json, const std::string& where) {
        if (!json.object()) wrong(json, where, "a mapping");
        for (const auto& member : *json.object()) check(member.value, where + "." + member.key);
    };
}

Check record(std::vector<std::pair<std::string, Check>> checks) {
    return [checks = std::move(checks)](const Json& json, const std::string& where) {
        std::vector<std::string> names;
        for (const auto& [name, check] : checks) names.push_back(name);
        bool whole_record = json.object() && json.object()->size() == checks.size();
        for (const auto& name : names) whole_record = whole_record && json.find(name);
        if (!whole_record) wrong(json, where, "a mapping of " + join(names, ", "));
        for (const auto& [name, check] : checks) check(*json.find(name), where + "." + name);
    };
}

void check_spec(const Json& json, const std::string& where) {
    const Json* name = json.find("name");
    if (!name || !name->text()) wrong(json, where, "a mapping with a name");
}

void check_pair(const Json& json, const std::string& where) {
    if (!json.array() || json.array()->size() != 2) wrong(json, where, "two numbers");
    many(check_number)(json, where);
}

void check_margin(const Json& json, const std::string& where) {
    const double value = number(json, where);
    if (!(value >= 1 && value <= 8)) wrong(json, where, "a number from 1 to 8");
}

void check_feed(const Json& json, const std::string& where) {
    const auto& value = text(json, where);
    if (value != "im_shape" && value != "scale_factor") {
        wrong(json, where, "one of im_shape, scale_factor");
    }
}

void check_anything(const Json&, const std::string&) {}

struct Key {
    std::string name;
    Check check;
    std::int64_t since = 1;  // the format that brought it; what is newer than 1 may be absent
};

std::vector<Key> schema(std::int64_t format) {
    const Check many_sizes = many(maybe(check_whole), 4);
    return {
        {"task", check_text},
        {"description", check_text},
        {"licence", check_text},
        {"input", record({{"name", check_text}, {"shape", many_sizes}, {"dtype", check_text}})},
        {"output", check_text},
        {"transforms", many(check_spec)},
        {"postprocess", check_spec},
        {"labels", many(check_text, format == 1 ? 1 : 0)},
        {"threshold", maybe(record({{"value", check_number},
                                    {"chosen", check_text},
                                    {"interval", maybe(check_pair)}}))},
        {"metrics", by_name(check_number)},
        {"parity", maybe(record({{"pictures", check_whole},
                                 {"max_score_difference", check_number},
                                 {"label_flips", check_whole},
                                 {"engines", by_name(check_text)}}))},
        {"recipe", by_name(check_anything)},
        {"made_with", by_name(check_text)},
        {"created", check_text},
        {"files", by_name(record({{"size", check_whole}, {"sha256", check_text}}))},
        {"decode", maybe(record({{"margin", check_margin},
                                 {"pictures", check_whole},
                                 {"label_flips", check_whole},
                                 {"max_score_difference", check_number}})), 2},
        {"feeds", by_name(check_feed), 2},
        {"more_outputs", many(check_text), 2},
        {"targets", by_name(record({{"files", many(check_text, 1)},
                                    {"precision", check_text},
                                    {"pictures", check_whole},
                                    {"max_score_difference", check_number},
                                    {"mean_score_difference", check_number},
                                    {"label_flips", check_whole},
                                    {"lost_points", maybe(check_number)},
                                    {"made_with", by_name(check_text)}})), 2},
    };
}

Json tree(std::string_view source, const std::string& where) {
    const std::size_t begin = source.find_first_not_of(" \t\n\r\v\f");
    if (begin == std::string_view::npos || source[begin] != '{') {
        throw BundleError(where, "not in the JSON form, the only one that is read here", kAgain);
    }
    try {
        return parse_json(source);
    } catch (const std::invalid_argument& error) {
        throw BundleError(where, std::string("not readable: ") + error.what(), kAgain);
    }
}

}  // namespace

Json unseal(std::string_view source, const std::string& where, std::int64_t newest) {
    Json json = tree(source, where);
    const Json* format = json.find("format");
    const Json* digest = json.find("digest");
    if (!format || !digest) {
        throw BundleError(where, "not a bundle's manifest: no format and digest", kAgain);
    }
    if (!format->integer() || *format->integer() < 1) {
        throw BundleError(where, "format " + format->canonical().substr(0, 60) + " does not exist",
                          kAgain);
    }
    if (*format->integer() > newest) {
        throw BundleError(where, "written in format " + format->canonical() +
                                     ", this version reads up to " + std::to_string(newest),
                          "build a newer tinysight-cpp");
    }
    if (!digest->text() || *digest->text() != sha256(json.canonical("digest"))) {
        throw BundleError(where, "edited after it was sealed: its digest does not match", kAgain);
    }
    return json;
}

namespace {

void check_keys(const Json& json, std::int64_t format, const std::string& where) {
    std::vector<std::string> names;
    const std::vector<Key> keys = schema(format);
    for (const auto& key : keys) {
        if (key.since <= format) names.push_back(key.name);
    }
    for (const auto& member : *json.object()) {
        if (member.key == "format" || member.key == "digest") continue;
        if (std::find(names.begin(), names.end(), member.key) == names.end()) {
            throw BundleError(where + ": " + member.key, "unknown key", nearest(member.key, names));
        }
    }
    for (const auto& key : keys) {
        if (key.since == 1 && !json.find(key.name)) {
            throw BundleError(where + ": " + key.name, "required key is missing", kAgain);
        }
    }
    for (const auto& key : keys) {
        if (const Json* value = json.find(key.name)) key.check(*value, where + ": " + key.name);
    }
}

bool holds(const Json* json) {
    return json && ((json->array() && !json->array()->empty()) ||
                    (json->object() && !json->object()->empty()));
}

}  // namespace

Manifest parse_manifest(std::string_view source, const std::string& where) {
    const Json json = unseal(source, where, kFormat);
    check_keys(json, *json.find("format")->integer(), where);

    Manifest manifest;
    manifest.task = *json.find("task")->text();
    for (const auto& size : *json.find("input")->find("shape")->array()) {
        manifest.input_shape.push_back(size.integer());
    }
    manifest.transforms = *json.find("transforms")->array();
    manifest.postprocess = *json.find("postprocess");
    for (const auto& label : *json.find("labels")->array()) {
        manifest.labels.push_back(*label.text());
    }
    for (const auto& [name, entry] : *json.find("files")->object()) {
        manifest.files[name] = {whole(*entry.find("size"), where),
                                text(*entry.find("sha256"), where)};
    }
    if (const Json* decode = json.find("decode"); decode && !decode->is_null()) {
        manifest.decode = ReducedDecode{*decode->find("margin")->number()};
    }
    manifest.input_name = text(*json.find("input")->find("name"), where);
    if (const Json* feeds = json.find("feeds"); feeds && feeds->object()) {
        for (const auto& [name, what] : *feeds->object()) manifest.feeds[name] = text(what, where);
    }
    manifest.plain = !holds(json.find("feeds")) && !holds(json.find("more_outputs"));

    const std::string& answers = *manifest.postprocess.find("name")->text();
    if (manifest.labels.empty() && answers != "boxes" && answers != "embedding" &&
        answers != "binarize") {
        wrong(Json{Json::Array{}}, where + ": labels", "a list of 1 or more");
    }
    const Json* point = json.find("threshold");
    const Json* used = manifest.postprocess.find("threshold");
    if (!point->is_null() && used && used->number() != point->find("value")->number()) {
        throw BundleError(where + ": threshold", "differs from the post-processor's", kAgain);
    }
    return manifest;
}

}  // namespace tinysight
