#include "transforms.hpp"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "image.hpp"
#include "resample.hpp"
#include "spec.hpp"
#include "text.hpp"
#include "tinysight/error.hpp"

namespace tinysight {

namespace {

constexpr std::int64_t kLargestSide = 1 << 20;

std::string shape(int width, int height) {
    return std::to_string(width) + " x " + std::to_string(height);
}

// Refuses what would make an image larger than any that is decoded.
void check_area(const Spec& spec, const std::string& key, std::int64_t width, std::int64_t height) {
    if (width * height > kMaxPixels) {
        spec.fail(key, "images of " + std::to_string(width) + " x " + std::to_string(height) +
                           " are more than the limit of " + std::to_string(kMaxPixels) + " pixels");
    }
}

// (width, height): one side of a square, or [width, height].
cv::Size size_of(Spec& spec, const std::string& key) {
    const Json* value = spec.get(key);
    std::vector<std::optional<std::int64_t>> sides;
    if (value && value->integer()) {
        sides = {value->integer(), value->integer()};
    } else if (value && value->array()) {
        for (const auto& side : *value->array()) sides.push_back(side.integer());
    }
    const auto good = [](const auto& side) { return side && *side >= 1 && *side <= kLargestSide; };
    if (sides.size() != 2 || !std::all_of(sides.begin(), sides.end(), good)) {
        spec.fail(key, "size should be a whole number or [width, height]");
    }
    check_area(spec, key, *sides[0], *sides[1]);
    return {static_cast<int>(*sides[0]), static_cast<int>(*sides[1])};
}

// How pixels are made at another size.
class Resizing {
public:
    explicit Resizing(Spec& spec)
        : interpolation_(spec.text("interpolation", "bilinear")),
          pillow_(spec.text("backend", "cv2") == "pillow") {
        const std::string backend = spec.text("backend", "cv2");
        if (backend != "cv2" && backend != "pillow") spec.fail("backend", "cv2 or pillow");
        static constexpr std::array<const char*, 5> kNames{"nearest", "bilinear", "bicubic", "area",
                                                           "lanczos"};
        const auto found = std::find(kNames.begin(), kNames.end(), interpolation_);
        if (pillow_ ? !is_filter(interpolation_) : found == kNames.end()) {
            spec.fail("interpolation", "backend '" + backend + "' has no interpolation '" +
                                           interpolation_ + "'");
        }
        static_assert(cv::INTER_NEAREST == 0 && cv::INTER_LINEAR == 1 && cv::INTER_CUBIC == 2 &&
                      cv::INTER_AREA == 3 && cv::INTER_LANCZOS4 == 4);
        code_ = static_cast<int>(found - kNames.begin());
    }

    cv::Mat operator()(const cv::Mat& image, double width, double height) const {
        if (width == image.cols && height == image.rows) return image;
        if (width * height > static_cast<double>(kMaxPixels)) {
            throw ImageError("", "an image of " + shape(image.cols, image.rows) +
                                     " would be enlarged to more than " +
                                     std::to_string(kMaxPixels) + " pixels");
        }
        const cv::Size size(static_cast<int>(width), static_cast<int>(height));
        if (pillow_) {
            if (image.depth() != CV_8U) {
                throw ImageError("", "resizing as Pillow does needs uint8 pixels, got float32");
            }
            return resample(image, size.width, size.height, interpolation_);
        }
        cv::Mat out;
        if (code_ == cv::INTER_CUBIC && image.depth() == CV_8U) {
            // OpenCV 5 calculates these pixels in floating point and rounds once, 4.6 does not.
            cv::Mat exact;
            image.convertTo(exact, CV_32F);
            cv::resize(exact, exact, size, 0, 0, code_);
            exact.convertTo(out, CV_8U);
        } else {
            cv::resize(image, out, size, 0, 0, code_);
        }
        return out;
    }

private:
    std::string interpolation_;
    bool pillow_;
    int code_ = 0;
};

class Resize : public Transform {
public:
    explicit Resize(Spec& spec) : resizing_(spec) {
        if (spec.get("short")) short_ = static_cast<int>(spec.whole("short", 0, 1, kLargestSide));
        check_area(spec, "short", short_, short_);
        if (spec.get("size")) size_ = size_of(spec, "size");
        if ((short_ == 0) == size_.empty()) spec.fail("short", "give one of short and size");
    }

    cv::Mat operator()(const cv::Mat& image) const override {
        if (!size_.empty()) return resizing_(image, size_.width, size_.height);
        const double factor = static_cast<double>(short_) / std::min(image.cols, image.rows);
        return resizing_(image, std::nearbyint(image.cols * factor),
                         std::nearbyint(image.rows * factor));  // halves to even
    }

    cv::Size target() const { return size_.empty() ? cv::Size(short_, short_) : size_; }

private:
    Resizing resizing_;
    int short_ = 0;
    cv::Size size_;
};

class CenterCrop : public Transform {
public:
    explicit CenterCrop(Spec& spec) : size_(size_of(spec, "size")) {}

    cv::Mat operator()(const cv::Mat& image) const override {
        const int left = image.cols - size_.width, top = image.rows - size_.height;
        if (left < 0 || top < 0) {
            throw ImageError("", "an image of " + shape(image.cols, image.rows) +
                                     " is smaller than the crop of " +
                                     shape(size_.width, size_.height),
                             "resize it first: short at least as long as the crop");
        }
        return image(cv::Rect(left / 2, top / 2, size_.width, size_.height));
    }

private:
    cv::Size size_;
};

class CenterSquare : public Transform {
public:
    explicit CenterSquare(Spec& spec)
        : resizing_(spec), size_(static_cast<int>(spec.whole("size", 0, 1, kLargestSide))),
          share_(spec.number("share", 0.875)) {
        if (size_ == 0) spec.fail("size", "expected a whole number");
        check_area(spec, "size", size_, size_);
        if (!(share_ > 0 && share_ <= 1)) spec.fail("share", "expected a number in (0, 1]");
    }

    cv::Mat operator()(const cv::Mat& image) const override {
        const int side = std::max(static_cast<int>(share_ * std::min(image.cols, image.rows)), 1);
        const cv::Rect window((image.cols - side) / 2, (image.rows - side) / 2, side, side);
        return resizing_(image(window), size_, size_);
    }

private:
    Resizing resizing_;
    int size_;
    double share_;
};

class Normalize : public Transform {
public:
    explicit Normalize(Spec& spec) {
        by_.mean = floats(spec.numbers("mean", {0.485, 0.456, 0.406}));
        by_.std = floats(spec.numbers("std", {0.229, 0.224, 0.225}));
        by_.scale = static_cast<float>(spec.number("scale", 1.0 / 255));
        if (!(by_.scale > 0)) spec.fail("scale", "expected a number above 0");
        if (std::count(by_.std.begin(), by_.std.end(), 0.0F)) spec.fail("std", "may not be 0");
        if (by_.mean.size() != by_.std.size() && by_.mean.size() != 1 && by_.std.size() != 1) {
            spec.fail("std", "mean and std have different numbers of channels");
        }
    }

    cv::Mat operator()(const cv::Mat& image) const override {
        const auto channels = static_cast<std::size_t>(image.channels());
        const auto fits = [&](const auto& v) { return v.size() == 1 || v.size() == channels; };
        if (!fits(by_.mean) || !fits(by_.std)) {
            throw ImageError("", std::to_string(channels) + " channels, but mean has " +
                                     std::to_string(by_.mean.size()) + " and std " +
                                     std::to_string(by_.std.size()));
        }
        cv::Mat out;
        image.convertTo(out, CV_32F);
        for (int y = 0; y < out.rows; ++y) {
            auto* at = out.ptr<float>(y);
            for (int x = 0; x < out.cols; ++x) {
                for (std::size_t c = 0; c < channels; ++c, ++at) {
                    *at = (*at * by_.scale - of(by_.mean, c)) / of(by_.std, c);
                }
            }
        }
        return out;
    }

    bool keeps_pixels() const override { return false; }

    /// For the three channels of an image; none where it is for another number of them.
    std::optional<Normalization> of_rgb() const {
        if (by_.mean.size() > 1 && by_.mean.size() != 3) return std::nullopt;
        if (by_.std.size() > 1 && by_.std.size() != 3) return std::nullopt;
        Normalization out{{}, {}, by_.scale};
        for (std::size_t c = 0; c < 3; ++c) {
            out.mean.push_back(of(by_.mean, c));
            out.std.push_back(of(by_.std, c));
        }
        return out;
    }

private:
    static std::vector<float> floats(const std::vector<double>& values) {
        return {values.begin(), values.end()};
    }
    static float of(const std::vector<float>& values, std::size_t channel) {
        return values.size() == 1 ? values[0] : values[channel];
    }

    Normalization by_;
};

class AppendChannels : public Transform {
public:
    explicit AppendChannels(Spec& spec) {
        channels_ = static_cast<int>(spec.whole("channels", 4, 1, 16));
    }

    cv::Mat operator()(const cv::Mat& image) const override {
        if (image.channels() > channels_) {
            throw ImageError("", "cannot make " + std::to_string(channels_) + " channels of " +
                                     std::to_string(image.channels()));
        }
        if (image.total() * std::max(channels_ / 3.0, 1.0) > static_cast<double>(kMaxPixels)) {
            throw ImageError("", "too large for " + std::to_string(channels_) + " channels");
        }
        cv::Mat out(image.size(), CV_MAKETYPE(image.depth(), channels_), cv::Scalar::all(0));
        const std::size_t from = image.elemSize(), to = out.elemSize();
        for (int y = 0; y < image.rows; ++y) {
            for (int x = 0; x < image.cols; ++x) {
                std::copy_n(image.ptr(y) + x * from, from, out.ptr(y) + x * to);
            }
        }
        return out;
    }

    bool keeps_pixels() const override { return false; }

private:
    int channels_;
};

class Cast : public Transform {
public:
    explicit Cast(Spec& spec) {
        if (spec.text("dtype", "float32") != "float32") {
            spec.fail("dtype", "only float32 is supported by this program");
        }
    }

    cv::Mat operator()(const cv::Mat& image) const override {
        cv::Mat out;
        image.convertTo(out, CV_32F);
        return out;
    }

    bool keeps_pixels() const override { return false; }
};

std::unique_ptr<Transform> built(Spec& spec) {
    std::unique_ptr<Transform> step;
    if (spec.name() == "resize") {
        step = std::make_unique<Resize>(spec);
    } else if (spec.name() == "centercrop") {
        step = std::make_unique<CenterCrop>(spec);
    } else if (spec.name() == "centersquare") {
        step = std::make_unique<CenterSquare>(spec);
    } else if (spec.name() == "normalize") {
        step = std::make_unique<Normalize>(spec);
    } else if (spec.name() == "appendchannels") {
        step = std::make_unique<AppendChannels>(spec);
    } else if (spec.name() == "cast") {
        step = std::make_unique<Cast>(spec);
    } else {
        throw BundleError(spec.where(), "this program has no transform '" + spec.name() + "'",
                          "it has resize, center_crop, center_square, normalize, append_channels, "
                          "cast; use `tinysight predict`");
    }
    spec.done();
    return step;
}

}  // namespace

Pipeline::Pipeline(const std::vector<Json>& specs) {
    bool pixels = true;
    for (std::size_t i = 0; i < specs.size(); ++i) {
        Spec spec(specs[i], "transforms." + std::to_string(i));
        auto step = built(spec);
        places_.push_back(spec.where() + " (" + *specs[i].find("name")->text() + ")");
        if (const auto* resize = dynamic_cast<const Resize*>(step.get()); resize && i == 0) {
            first_ = resize->target();
        }
        const auto* last = dynamic_cast<const Normalize*>(step.get());
        if (last && pixels && i + 1 == specs.size()) normalization_ = last->of_rgb();
        pixels = pixels && step->keeps_pixels();
        if (!normalization_) steps_.push_back(std::move(step));
    }
}

cv::Mat Pipeline::operator()(const cv::Mat& image) const {
    cv::Mat out = image;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        std::string what, hint;
        try {
            out = (*steps_[i])(out);
            continue;
        } catch (const ImageError& error) {
            what = error.problem(), hint = error.hint();
        } catch (const cv::Exception& error) {
            what = error.err;
        }
        const std::string given = std::to_string(out.rows) + " x " + std::to_string(out.cols) +
                                  " x " + std::to_string(out.channels()) +
                                  (out.depth() == CV_8U ? " uint8" : " float32");
        throw ImageError(places_[i], what + " (given " + given + ", height first)", hint);
    }
    return out;
}

std::optional<cv::Size> Pipeline::enough(double margin) const {
    if (!first_) return std::nullopt;
    return cv::Size(static_cast<int>(std::ceil(first_->width * margin)),
                    static_cast<int>(std::ceil(first_->height * margin)));
}

}  // namespace tinysight
