#include "gallery.hpp"

#include <sqlite3.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

#include "json.hpp"
#include "text.hpp"
#include "tinysight/error.hpp"

namespace tinysight {

namespace {

constexpr const char* kFile = "gallery.db";
constexpr std::int64_t kFormat = 1;
constexpr int kWait = 30'000;  // milliseconds for which another process may hold the database
constexpr std::int64_t kLargest = 1 << 20;  // numbers of a vector

using Connection = std::unique_ptr<sqlite3, decltype(&sqlite3_close)>;

/// A statement, row after row.
class Rows {
public:
    Rows(sqlite3* database, const std::string& folder, const char* query)
        : database_(database), folder_(folder), statement_(nullptr, sqlite3_finalize) {
        sqlite3_stmt* made = nullptr;
        if (sqlite3_prepare_v2(database, query, -1, &made, nullptr) != SQLITE_OK) fail();
        statement_.reset(made);
    }

    bool next() {
        const int code = sqlite3_step(statement_.get());
        if (code != SQLITE_ROW && code != SQLITE_DONE) fail();
        return code == SQLITE_ROW;
    }

    bool null(int column) const { return kind(column) == SQLITE_NULL; }
    bool whole(int column) const { return kind(column) == SQLITE_INTEGER; }
    bool text(int column) const { return kind(column) == SQLITE_TEXT; }
    std::int64_t integer(int column) const {
        return sqlite3_column_int64(statement_.get(), column);
    }
    /// The bytes of a text or a blob.
    std::string bytes(int column) const {
        const void* data = sqlite3_column_blob(statement_.get(), column);
        const int size = sqlite3_column_bytes(statement_.get(), column);
        return data ? std::string(static_cast<const char*>(data), size) : std::string();
    }

private:
    int kind(int column) const { return sqlite3_column_type(statement_.get(), column); }
    [[noreturn]] void fail() const { throw Error(folder_, sqlite3_errmsg(database_)); }

    sqlite3* database_;
    std::string folder_;
    std::unique_ptr<sqlite3_stmt, decltype(&sqlite3_finalize)> statement_;
};

std::uint32_t checksum(const std::string& data, std::uint32_t before = 0) {
    const auto* bytes = reinterpret_cast<const Bytef*>(data.data());
    return static_cast<std::uint32_t>(crc32(before, bytes, static_cast<uInt>(data.size())));
}

}  // namespace

struct Gallery::State {
    std::string folder, metric, bundle, bundle_name;
    std::int64_t dim = 0, generation = -1;
    Connection database{nullptr, sqlite3_close};
    std::mutex mutex;
    std::optional<Decision> decision;
    std::vector<std::string> ids, labels;
    std::vector<float> numbers;       // of the vectors, one after the other
    std::vector<std::uint8_t> codes;  // of `hamming`

    explicit State(const std::string& where) : folder(where) {
        const std::string path = (std::filesystem::path(where) / kFile).string();
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(path, ignored)) {
            throw Error(where, "no gallery here", "`tinysight gallery build` makes one");
        }
        sqlite3* opened = nullptr;
        const int code = sqlite3_open_v2(path.c_str(), &opened, SQLITE_OPEN_READONLY, nullptr);
        database.reset(opened);
        if (code != SQLITE_OK) throw Error(where, opened ? sqlite3_errmsg(opened) : "no memory");
        sqlite3_busy_timeout(opened, kWait);
        read_settings();
    }

    Rows rows(const char* query) const { return {database.get(), folder, query}; }

    void read_settings() {
        std::optional<std::string> model;
        std::int64_t format = -1, check = -1;
        Rows found = rows("SELECT key, value FROM settings");
        while (found.next()) {
            const std::string key = found.bytes(0);
            if (key == "metric") metric = found.bytes(1);
            if (key == "dim") dim = found.integer(1);
            if (key == "model" && !found.null(1)) model = found.bytes(1);
            if (key == "format") format = found.integer(1);
            if (key == "check") check = found.integer(1);
        }
        if (format != kFormat) {
            throw Error(folder, "of format " + std::to_string(format) + ", this version reads " +
                                    std::to_string(kFormat));
        }
        // As Python writes the three.
        const std::string text = "(" + python_repr(metric) + ", " + std::to_string(dim) + ", " +
                                 (model ? python_repr(*model) : "None") + ")";
        const bool known = metric == "cosine" || metric == "inner_product" || metric == "l2" ||
                           metric == "hamming";
        if (checksum(text) != check || !known || dim < 1 || dim > kLargest) {
            throw Error(folder, std::string(kFile) + " is damaged in its settings",
                        "restore a snapshot");
        }
        if (!model) return;
        try {
            const Json about = parse_json(*model);
            for (const auto& [key, target] : {std::pair{"sha256", &bundle}, {"name", &bundle_name}}) {
                const Json* value = about.find(key);
                if (value && value->text()) *target = *value->text();
            }
        } catch (const std::invalid_argument& error) {
            throw Error(folder, std::string("its settings cannot be read: ") + error.what());
        }
    }

    std::size_t width() const { return metric == "hamming" ? dim / 8 : dim; }

    /// Read all vectors, unless none has changed since.
    void refresh() {
        const auto run = [&](const char* query) { rows(query).next(); };
        run("BEGIN");
        try {
            Rows now = rows("SELECT value FROM settings WHERE key = 'generation'");
            const std::int64_t latest = now.next() ? now.integer(0) : 0;
            if (latest != generation) {
                read_decision();
                read_items();
            }
            generation = latest;
        } catch (...) {
            sqlite3_exec(database.get(), "ROLLBACK", nullptr, nullptr, nullptr);
            throw;
        }
        run("ROLLBACK");
    }

    void read_decision() {
        decision.reset();
        Rows found = rows("SELECT value FROM settings WHERE key = 'decision'");
        if (!found.next() || found.null(0)) return;
        const auto wrong = [&] { return Error(folder, "its decision is none", "calibrate it again"); };
        Json json;
        try {
            json = parse_json(found.bytes(0));
        } catch (const std::invalid_argument&) {
            throw wrong();
        }
        const Json* k = json.find("k");
        const Json* threshold = json.find("threshold");
        const Json* limits = json.find("by_label");
        if (!k || k->integer().value_or(0) < 1 || !threshold || !limits || !limits->object()) {
            throw wrong();
        }
        Decision made;
        made.k = static_cast<std::size_t>(*k->integer());
        made.threshold = threshold->number();
        for (const auto& [label, limit] : *limits->object()) {
            if (!limit.number()) throw wrong();
            made.by_label[label] = *limit.number();
        }
        if (made.threshold || !made.by_label.empty()) decision = std::move(made);
    }

    void read_items() {
        ids.clear();
        labels.clear();
        numbers.clear();
        codes.clear();
        const std::size_t size = width() * (metric == "hamming" ? 1 : sizeof(float));
        Rows found = rows("SELECT id, label, vector, content, pixels, source, metadata, crc FROM items "
                          "WHERE vector IS NOT NULL");
        while (found.next()) {
            const std::string blob = found.bytes(2);
            std::string rest = found.bytes(0);
            for (const int column : {1, 3, 4, 5, 6}) rest += '\0' + found.bytes(column);
            if (checksum(rest, checksum(blob)) != found.integer(7) || blob.size() != size) {
                continue;  // damaged: `tinysight gallery verify` names it
            }
            ids.push_back(found.bytes(0));
            labels.push_back(found.bytes(1));
            if (metric == "hamming") {
                codes.insert(codes.end(), blob.begin(), blob.end());
                continue;
            }
            std::vector<float> vector(width());
            std::memcpy(vector.data(), blob.data(), size);
            const std::vector<double> wide(vector.begin(), vector.end());
            for (const double value : comparable(wide)) {
                numbers.push_back(static_cast<float>(value));
            }
        }
    }

    /// Of length 1 for `cosine`, in single precision.
    std::vector<double> comparable(std::span<const double> vector) const {
        double sum = 0;
        for (const double value : vector) sum += value * value;
        const double length = metric == "cosine" ? std::max(std::sqrt(sum), 1e-30) : 1;
        std::vector<double> out;
        for (const double value : vector) out.push_back(static_cast<float>(value / length));
        return out;
    }

    double score(std::span<const double> query, std::size_t row) const {
        double sum = 0;
        if (metric == "hamming") {
            const std::uint8_t* code = codes.data() + row * width();
            for (std::size_t i = 0; i < query.size(); ++i) {
                sum += std::popcount(static_cast<std::uint8_t>(code[i] ^ static_cast<int>(query[i])));
            }
            return sum;
        }
        const float* vector = numbers.data() + row * width();
        if (metric == "l2") {
            for (std::size_t i = 0; i < query.size(); ++i) {
                const double difference = vector[i] - query[i];
                sum += difference * difference;
            }
            return sum;
        }
        for (std::size_t i = 0; i < query.size(); ++i) sum += vector[i] * query[i];
        return sum;
    }
};

Gallery::Gallery(const std::string& folder) : state_(std::make_unique<State>(folder)) {}
Gallery::~Gallery() = default;

const std::string& Gallery::metric() const { return state_->metric; }
const std::string& Gallery::bundle() const { return state_->bundle; }
const std::string& Gallery::bundle_name() const { return state_->bundle_name; }
bool Gallery::is_distance() const {
    return state_->metric == "l2" || state_->metric == "hamming";
}

std::vector<Match> Gallery::search(std::span<const double> vector, std::size_t k) {
    std::optional<Decision> ignored;
    std::vector<Match> found = search(vector, k, ignored);
    found.resize(std::min(found.size(), k));
    return found;
}

std::optional<Match> Gallery::decide(const std::vector<Match>& matches,
                                     const Decision& decision) const {
    const std::size_t voters = std::min(decision.k, matches.size());
    std::map<std::string, double> weights;
    for (std::size_t i = 0; i < voters; ++i) {
        const double score = matches[i].score;
        weights[matches[i].label] += is_distance() ? 1 / (score + 1e-9) : std::max(score, 0.0);
    }
    const auto lighter = [&](const Match& a, const Match& b) {
        return weights[a.label] < weights[b.label];
    };
    // Of labels with equal weights the one whose first match is nearer.
    const auto end = matches.begin() + static_cast<std::ptrdiff_t>(voters);
    const auto best = std::max_element(matches.begin(), end, lighter);
    if (best == end) return std::nullopt;
    const auto own = decision.by_label.find(best->label);
    if (own == decision.by_label.end() && !decision.threshold) return *best;
    const double limit = own == decision.by_label.end() ? *decision.threshold : own->second;
    const bool near = is_distance() ? best->score <= limit : best->score >= limit;
    return near ? std::optional(*best) : std::nullopt;
}

std::vector<Match> Gallery::search(std::span<const double> vector, std::size_t k,
                                   std::optional<Decision>& decision) {
    State& state = *state_;
    const std::lock_guard lock(state.mutex);
    if (vector.size() != state.width()) {
        throw Error(state.folder, "its vectors have " + std::to_string(state.width()) +
                                      " numbers, the query " + std::to_string(vector.size()));
    }
    state.refresh();
    decision = state.decision;
    if (decision) k = std::max(k, decision->k);
    const bool codes = state.metric == "hamming";
    const std::vector<double> query =
        codes ? std::vector<double>(vector.begin(), vector.end()) : state.comparable(vector);
    std::vector<std::pair<double, std::size_t>> order;  // the nearest have the lowest
    for (std::size_t i = 0; i < state.ids.size(); ++i) {
        order.emplace_back((is_distance() ? 1 : -1) * state.score(query, i), i);
    }
    const auto nearer = [&](const auto& a, const auto& b) {
        return a.first != b.first ? a.first < b.first : state.ids[a.second] < state.ids[b.second];
    };
    const std::size_t count = std::min(k, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                      nearer);
    std::vector<Match> found;
    for (std::size_t i = 0; i < count; ++i) {
        const auto& [key, row] = order[i];
        found.push_back({state.ids[row], state.labels[row], is_distance() ? key : -key});
    }
    return found;
}

}  // namespace tinysight
