#include "bench.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <numeric>

namespace tinysight::command {

namespace {

constexpr std::size_t kWarmUp = 10;
constexpr std::size_t kPasses = 5;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Figures {
    const char* name;
    double mean, p50, p90, p99;
};

// Between the two nearest, as NumPy does.
double percentile(const std::vector<double>& sorted, double p) {
    const double at = p / 100 * static_cast<double>(sorted.size() - 1);
    const auto low = static_cast<std::size_t>(at);
    const std::size_t high = std::min(low + 1, sorted.size() - 1);
    return sorted[low] + (sorted[high] - sorted[low]) * (at - static_cast<double>(low));
}

Figures figures(const char* name, std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const double sum = std::accumulate(values.begin(), values.end(), 0.0);
    return {name, sum / static_cast<double>(values.size()), percentile(values, 50),
            percentile(values, 90), percentile(values, 99)};
}

std::vector<Figures> one_at_a_time(Classifier& classifier, const std::vector<std::string>& paths,
                                   double seconds) {
    std::array<std::vector<double>, 5> columns;
    auto started = Clock::now();
    for (std::size_t i = 0; columns[0].size() < paths.size() || seconds_since(started) < seconds;
         ++i) {
        Timing timing;
        classifier.answer(paths[i % paths.size()], &timing);
        if (i < kWarmUp) {
            started = Clock::now();
            continue;
        }
        const std::array<double, 5> row{timing.decode, timing.preprocess, timing.network,
                                        timing.postprocess, timing.total()};
        for (std::size_t c = 0; c < row.size(); ++c) columns[c].push_back(row[c]);
    }
    static constexpr std::array kNames{"decode", "preprocess", "network", "postprocess", "total"};
    std::vector<Figures> out;
    for (std::size_t c = 0; c < kNames.size(); ++c) out.push_back(figures(kNames[c], columns[c]));
    return out;
}

// Milliseconds an image of a stream, the median of the passes.
double many_at_a_time(Classifier& classifier, const std::vector<std::string>& paths,
                      double seconds) {
    std::vector<double> walls;
    double total = 0;
    for (bool warm = false; walls.size() < kPasses || total < seconds; warm = true) {
        auto at = std::make_shared<std::size_t>(0);
        const auto started = Clock::now();
        classifier.stream(
            [&, at]() -> std::optional<std::string> {
                return *at < paths.size() ? std::optional(paths[(*at)++]) : std::nullopt;
            },
            [](const Item&) {});
        if (!warm) continue;
        walls.push_back(seconds_since(started));
        total += walls.back();
    }
    return figures("", walls).p50 * 1e3 / static_cast<double>(paths.size());
}

[[gnu::format(printf, 1, 2)]] std::string text(const char* form, ...) {
    std::array<char, 400> out{};
    va_list values;
    va_start(values, form);
    std::vsnprintf(out.data(), out.size(), form, values);
    va_end(values);
    return out.data();
}

std::string as_json(const std::vector<Figures>& one, double many, const Options& options,
                    std::size_t count) {
    std::string out = "{\"one\": {";
    for (const auto& f : one) {
        out += text("%s\"%s\": {\"mean\": %.6g, \"p50\": %.6g, \"p90\": %.6g, \"p99\": %.6g}",
                    &f == one.data() ? "" : ", ", f.name, f.mean, f.p50, f.p90, f.p99);
    }
    return out + text("}, \"many\": {\"workers\": %d, \"threads\": %d, \"ms\": %.6g, "
                      "\"per_second\": %.6g}, \"pictures\": %zu}\n",
                      options.workers, options.threads, many, 1e3 / many, count);
}

std::string as_table(const std::vector<Figures>& one, double many, const Options& options,
                     std::size_t count) {
    std::string out = text("%zu images\n\none image, one thread, ms       mean     p50     p90"
                           "     p99\n", count);
    for (const auto& f : one) {
        out += text("  %-26s%8.2f%8.2f%8.2f%8.2f\n", f.name, f.mean, f.p50, f.p90, f.p99);
    }
    return out + text("\nmany images         workers threads    ms/image   per second\n"
                      "%20s%7d %7d%12.2f%13.0f\n", "", options.workers, options.threads, many,
                      1e3 / many);
}

}  // namespace

std::string bench(const std::string& bundle, const Options& options,
                  const std::vector<std::string>& paths, double seconds, bool json) {
    std::vector<std::string> readable;
    std::vector<Figures> one;
    Options alone = options;
    alone.workers = 1;
    {
        Classifier classifier(bundle, alone);
        for (const auto& path : paths) {
            try {
                classifier.answer(path);
                readable.push_back(path);
            } catch (const ImageError&) {  // is not timed
            }
        }
        if (readable.empty()) throw Error("SOURCE", "none of the images can be read");
        one = one_at_a_time(classifier, readable, seconds);
    }
    Classifier classifier(bundle, options);
    const double many = many_at_a_time(classifier, readable, seconds);
    return (json ? as_json : as_table)(one, many, options, readable.size());
}

}  // namespace tinysight::command
