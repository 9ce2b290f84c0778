#include "spec.hpp"

#include <algorithm>

#include "text.hpp"
#include "tinysight/error.hpp"

namespace tinysight {

Spec::Spec(const Json& json, std::string where)
    : json_(json), where_(std::move(where)), name_(fold(*json.find("name")->text())) {}

void Spec::fail(const std::string& key, const std::string& what) const {
    throw BundleError(where_ + "." + key, what, "export the bundle again");
}

const Json* Spec::given(const std::string& key) {
    known_.push_back(key);
    return json_.find(key);
}

const Json* Spec::get(const std::string& key) {
    const Json* value = given(key);
    return value && !value->is_null() ? value : nullptr;
}

double Spec::number(const std::string& key, double otherwise) {
    const Json* value = given(key);
    if (value && !value->number()) fail(key, "expected a number");
    return value ? *value->number() : otherwise;
}

double Spec::share(const std::string& key, double otherwise) {
    const double value = number(key, otherwise);
    if (!(value >= 0 && value <= 1)) fail(key, "expected a number from 0 to 1");
    return value;
}

std::int64_t Spec::whole(const std::string& key, std::int64_t otherwise, std::int64_t least,
                         std::int64_t most) {
    const Json* value = given(key);
    if (!value) return otherwise;
    const auto number = value->integer();
    if (!number || *number < least || *number > most) {
        fail(key, "expected a whole number from " + std::to_string(least) + " to " +
                      std::to_string(most));
    }
    return *number;
}

bool Spec::flag(const std::string& key, bool otherwise) {
    const Json* value = given(key);
    if (value && !value->boolean()) fail(key, "expected true or false");
    return value ? *value->boolean() : otherwise;
}

std::string Spec::text(const std::string& key, const std::string& otherwise) {
    const Json* value = given(key);
    if (value && !value->text()) fail(key, "expected a text");
    return value ? *value->text() : otherwise;
}

std::vector<double> Spec::numbers(const std::string& key, const std::vector<double>& otherwise) {
    const Json* value = given(key);
    if (!value) return otherwise;
    if (!value->array() || value->array()->empty()) fail(key, "expected a list of numbers");
    std::vector<double> out;
    for (const auto& item : *value->array()) {
        if (!item.number()) fail(key, "expected a list of numbers");
        out.push_back(*item.number());
    }
    return out;
}

void Spec::done() const {
    for (const auto& member : *json_.object()) {
        if (std::find(known_.begin(), known_.end(), member.key) == known_.end()) {
            fail(member.key, "unknown option; " + nearest(member.key, known_));
        }
    }
}

}  // namespace tinysight
