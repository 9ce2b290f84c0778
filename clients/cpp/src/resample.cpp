#include "resample.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

namespace tinysight {

namespace {

constexpr int kBits = 22;  // of the weights, behind the point

double sinc(double x) {
    if (x == 0) return 1;
    const double y = std::numbers::pi * x;
    return std::sin(y) / y;
}

double box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }
double bilinear(double x) { return std::max(1 - std::abs(x), 0.0); }
double hamming(double x) {
    const double a = 0.54F, b = 0.46F;  // Pillow keeps these two in single precision
    return std::abs(x) < 1 ? sinc(x) * (a + b * std::cos(std::numbers::pi * x)) : 0;
}
double bicubic(double x) {
    const double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}
double lanczos(double x) { return std::abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0; }

struct Filter {
    const char* name;
    double (*weight)(double);
    double support;
};

constexpr std::array<Filter, 5> kFilters{{{"box", box, 0.5},
                                          {"bilinear", bilinear, 1},
                                          {"hamming", hamming, 1},
                                          {"bicubic", bicubic, 2},
                                          {"lanczos", lanczos, 3}}};

const Filter* find(const std::string& name) {
    for (const auto& filter : kFilters) {
        if (name == filter.name) return &filter;
    }
    return nullptr;
}

// What one output pixel is made of: weights of the input pixels from `first` on.
struct Taps {
    int first;
    std::vector<std::int32_t> weights;
};

std::vector<Taps> taps(int old, int size, const Filter& filter) {
    const double scale = static_cast<double>(old) / size, stretch = std::max(scale, 1.0);
    const double reach = filter.support * stretch;
    std::vector<Taps> out(size);
    for (int i = 0; i < size; ++i) {
        const double centre = (i + 0.5) * scale;
        const int first = std::max(static_cast<int>(centre - reach + 0.5), 0);
        const int stop = std::min(static_cast<int>(centre + reach + 0.5), old);
        std::vector<double> exact;
        double total = 0;
        for (int at = first; at < stop; ++at) {
            exact.push_back(filter.weight((at - centre + 0.5) * (1 / stretch)));
            total += exact.back();
        }
        out[i].first = first;
        for (const double weight : exact) {
            const double fixed = (total != 0 ? weight / total : weight) * (1 << kBits);
            out[i].weights.push_back(static_cast<std::int32_t>(fixed + std::copysign(0.5, fixed)));
        }
    }
    return out;
}

std::uint8_t rounded(std::int32_t sum) {
    return static_cast<std::uint8_t>(std::clamp((sum + (1 << (kBits - 1))) >> kBits, 0, 255));
}

cv::Mat resize_rows(const cv::Mat& image, int height, const Filter& filter) {
    const auto all = taps(image.rows, height, filter);
    cv::Mat out(height, image.cols, image.type());
    const int length = image.cols * image.channels();
    std::vector<std::int32_t> sums(length);
    for (int y = 0; y < height; ++y) {
        std::fill(sums.begin(), sums.end(), 0);
        for (std::size_t t = 0; t < all[y].weights.size(); ++t) {
            const std::uint8_t* row = image.ptr(all[y].first + static_cast<int>(t));
            const std::int32_t weight = all[y].weights[t];
            for (int i = 0; i < length; ++i) sums[i] += weight * row[i];
        }
        std::transform(sums.begin(), sums.end(), out.ptr(y), rounded);
    }
    return out;
}

template <int channels>
void resize_columns_of(const cv::Mat& image, const std::vector<Taps>& all, cv::Mat& out) {
    for (int y = 0; y < image.rows; ++y) {
        std::uint8_t* to = out.ptr(y);
        for (const auto& [first, weights] : all) {
            const std::uint8_t* from = image.ptr(y) + channels * first;
            std::array<std::int32_t, channels> sums{};
            for (const std::int32_t weight : weights) {
                for (int c = 0; c < channels; ++c) sums[c] += weight * *from++;
            }
            for (int c = 0; c < channels; ++c) *to++ = rounded(sums[c]);
        }
    }
}

cv::Mat resize_columns(const cv::Mat& image, int width, const Filter& filter) {
    const auto all = taps(image.cols, width, filter);
    cv::Mat out(image.rows, width, image.type());
    switch (image.channels()) {
        case 1: resize_columns_of<1>(image, all, out); break;
        case 3: resize_columns_of<3>(image, all, out); break;
        default: resize_columns_of<4>(image, all, out);
    }
    return out;
}

// Input index of each output pixel; the rounding of the running sum decides ties.
std::vector<int> nearest_of(int old, int size) {
    const double step = static_cast<double>(old) / size;
    std::vector<int> out(size);
    double at = step * 0.5;
    for (int i = 0; i < size; ++i, at += step) out[i] = std::min(static_cast<int>(at), old - 1);
    return out;
}

cv::Mat resize_nearest(const cv::Mat& image, int width, int height) {
    const auto rows = nearest_of(image.rows, height), columns = nearest_of(image.cols, width);
    cv::Mat out(height, width, image.type());
    const std::size_t size = image.elemSize();
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            std::copy_n(image.ptr(rows[y]) + size * columns[x], size, out.ptr(y) + size * x);
        }
    }
    return out;
}

}  // namespace

bool is_filter(const std::string& name) { return name == "nearest" || find(name); }

cv::Mat resample(const cv::Mat& image, int width, int height, const std::string& name) {
    if (name == "nearest") return resize_nearest(image, width, height);
    const Filter& filter = *find(name);
    // Pillow 13's order: height first where it loses over twice as many pixels.
    const std::int64_t lost = image.rows - height, lost_columns = image.cols - width;
    const bool rows_first = height < image.rows && lost > 2 * lost_columns;
    cv::Mat out = image;
    if (rows_first) out = resize_rows(out, height, filter);
    if (width != image.cols) out = resize_columns(out, width, filter);
    if (!rows_first && height != image.rows) out = resize_rows(out, height, filter);
    return out;
}

}  // namespace tinysight
