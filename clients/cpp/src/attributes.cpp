// What a person, a vehicle, a table or a face looks like, in PaddleClas' words.
#include <algorithm>
#include <array>

#include "faces.hpp"
#include "postprocess.hpp"
#include "spec.hpp"
#include "text.hpp"

namespace tinysight {

namespace {

using Words = std::vector<std::string>;
using Row = std::span<const float>;

constexpr std::size_t kHat = 0, kGlasses = 1, kShort = 2, kLong = 3, kBoots = 14, kHold = 18,
                      kFemale = 22;
constexpr std::array kUpper{"UpperStride", "UpperLogo", "UpperPlaid", "UpperSplice"};  // from 4
constexpr std::array kLower{"LowerStripe", "LowerPattern", "LongCoat",
                            "Trousers", "Shorts", "Skirt&Dress"};  // from 8
constexpr std::array kBags{"HandBag", "ShoulderBag", "Backpack"};  // from 15
constexpr std::array kYears{"AgeLess18", "Age18-60", "AgeOver60"};  // from 19
constexpr std::array kSides{"Front", "Side", "Back"};               // from 23
constexpr std::array kColors{"yellow", "orange", "green", "gray",  "red",
                             "blue",   "white",  "golden", "brown", "black"};
constexpr std::array kTypes{"sedan",  "suv", "van",   "hatchback", "mpv",
                            "pickup", "bus", "truck", "estate"};
constexpr std::array<std::array<const char*, 2>, 6> kTable{{{"Scanned", "Photo"},
                                                            {"Little", "Numerous"},
                                                            {"Black-and-White", "Multicolor"},
                                                            {"Clear", "Blurry"},
                                                            {"Without-Obstacles", "With-Obstacles"},
                                                            {"Horizontal", "Tilted"}}};

// Limits and probabilities are compared in double precision, as NumPy does here.
std::vector<int> above(Row row, const std::vector<double>& limits) {
    std::vector<int> out;
    for (std::size_t i = 0; i < row.size(); ++i) out.push_back(double{row[i]} > limits[i]);
    return out;
}

Answer answer_of(std::variant<std::string, Words> words, std::vector<int> output) {
    Answer answer;
    answer.attributes = std::move(words);
    answer.output = std::move(output);
    return answer;
}

class Person : public Postprocess {
public:
    explicit Person(Spec& spec)
        : threshold_(spec.share("threshold", 0.5)),
          glasses_(spec.share("glasses_threshold", 0.3)),
          hold_(spec.share("hold_threshold", 0.6)),
          limits_(26, spec.get("output_threshold") ? spec.share("output_threshold", 0)
                                                  : threshold_) {
        limits_[kGlasses] = glasses_;
        limits_[kHold] = hold_;
    }

    std::size_t outputs() const override { return 26; }

    Answer operator()(Row row) const override {
        const auto on = [&](std::size_t i) { return double{row[i]} > threshold_; };
        const auto yes = [](bool there) { return there ? "True" : "False"; };
        Words upper{row[kLong] > row[kShort] ? "LongSleeve" : "ShortSleeve"}, lower;
        for (std::size_t i = 0; i < kUpper.size(); ++i) {
            if (on(4 + i)) upper.emplace_back(kUpper[i]);
        }
        for (std::size_t i = 0; i < kLower.size(); ++i) {
            if (on(8 + i)) lower.emplace_back(kLower[i]);
        }
        if (lower.empty()) lower.emplace_back(kLower[best_of(row.subspan(8, 6))]);
        const std::size_t bag = best_of(row.subspan(15, 3));
        return answer_of(Words{on(kFemale) ? "Female" : "Male", kYears[best_of(row.subspan(19, 3))],
                               kSides[best_of(row.subspan(23, 3))],
                               std::string("Glasses: ") + yes(double{row[kGlasses]} > glasses_),
                               std::string("Hat: ") + yes(on(kHat)),
                               std::string("HoldObjectsInFront: ") + yes(double{row[kHold]} > hold_),
                               on(15 + bag) ? kBags[bag] : "No bag", "Upper: " + join(upper, " "),
                               "Lower:  " + join(lower, " "), on(kBoots) ? "Boots" : "No boots"},
                         above(row, limits_));
    }

private:
    double threshold_, glasses_, hold_;
    std::vector<double> limits_;
};

class Vehicle : public Postprocess {
public:
    explicit Vehicle(Spec& spec)
        : color_(spec.share("color_threshold", 0.5)), type_(spec.share("type_threshold", 0.5)),
          limits_(kColors.size(), color_) {
        limits_.resize(outputs(), type_);
    }

    std::size_t outputs() const override { return kColors.size() + kTypes.size(); }

    Answer operator()(Row row) const override {
        const auto words = best("Color", kColors, row.first(kColors.size()), color_) + ", " +
                           best("Type", kTypes, row.subspan(kColors.size()), type_);
        return answer_of(words, above(row, limits_));
    }

private:
    static std::string best(const std::string& title, std::span<const char* const> names, Row row,
                            double limit) {
        const std::size_t at = best_of(row);
        if (double{row[at]} < limit) return title + " unknown";
        return title + ": (" + names[at] + ", prob: " + python_float(row[at]) + ")";
    }

    double color_, type_;
    std::vector<double> limits_;
};

class Table : public Postprocess {
public:
    explicit Table(Spec& spec) {
        for (const char* name : {"source", "number", "color", "clarity", "obstruction", "angle"}) {
            limits_.push_back(spec.share(std::string(name) + "_threshold", 0.5));
        }
        of_words_ = limits_;
        if (spec.flag("number_decides", false)) of_words_[4] = of_words_[5] = limits_[1];
    }

    std::size_t outputs() const override { return kTable.size(); }

    Answer operator()(Row row) const override {
        Words words;
        for (std::size_t i = 0; i < kTable.size(); ++i) {
            words.emplace_back(kTable[i][double{row[i]} > of_words_[i] ? 0 : 1]);
        }
        return answer_of(words, above(row, limits_));
    }

private:
    std::vector<double> limits_, of_words_;
};

class Face : public Postprocess {
public:
    explicit Face(Spec& spec)
        : limits_(outputs(), spec.share("threshold", 0.65)),
          language_(spec.flag("chinese", false)) {}

    std::size_t outputs() const override { return faces::kFace.size(); }

    Answer operator()(Row row) const override {
        const auto output = above(row, limits_);
        Words words;
        for (std::size_t i = 0; i < output.size(); ++i) {
            if (i == faces::kMale || i == faces::kYoung) {
                const auto& either = i == faces::kMale ? faces::kGenders : faces::kAges;
                words.emplace_back(either[1 - output[i]][language_]);
            } else if (output[i]) {
                words.emplace_back(faces::kFace[i][language_]);
            }
        }
        return answer_of(words, output);
    }

private:
    std::vector<double> limits_;
    std::size_t language_;
};

}  // namespace

std::unique_ptr<Postprocess> build_attributes(Spec& spec) {
    if (spec.name() == "personattribute") return std::make_unique<Person>(spec);
    if (spec.name() == "vehicleattribute") return std::make_unique<Vehicle>(spec);
    if (spec.name() == "tableattribute") return std::make_unique<Table>(spec);
    if (spec.name() == "faceattribute") return std::make_unique<Face>(spec);
    return nullptr;
}

}  // namespace tinysight
