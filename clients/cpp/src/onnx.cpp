// The protobuf wire format, as far as finding tensors of an ONNX file goes; graph/onnx_file.py does the same.
#include "onnx.hpp"

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "tinysight/error.hpp"

namespace tinysight {

namespace {

constexpr const char* kAgain = "export the bundle again, or copy it again from where it came";

enum Kind { kModel, kTraining, kGraph, kSparse, kFunction, kNode, kAttribute, kTensor };

struct Inside {
    Kind outer;
    std::uint64_t field;
    Kind inner;
};

// Where tensors are.
constexpr std::array<Inside, 19> kInside{{{kModel, 7, kGraph}, {kModel, 20, kTraining},
                                          {kModel, 25, kFunction}, {kTraining, 1, kGraph},
                                          {kTraining, 2, kGraph}, {kGraph, 1, kNode},
                                          {kGraph, 5, kTensor}, {kGraph, 15, kSparse},
                                          {kSparse, 1, kTensor}, {kSparse, 2, kTensor},
                                          {kFunction, 7, kNode}, {kFunction, 11, kAttribute},
                                          {kNode, 5, kAttribute}, {kAttribute, 5, kTensor},
                                          {kAttribute, 6, kGraph}, {kAttribute, 10, kTensor},
                                          {kAttribute, 11, kGraph}, {kAttribute, 22, kSparse},
                                          {kAttribute, 23, kSparse}}};

class Reader {
public:
    Reader(std::string_view data, const std::string& where) : left_(data), where_(where) {}

    bool done() const { return left_.empty(); }

    std::uint64_t number() {
        std::uint64_t value = 0;
        for (unsigned index = 0; index < 10; ++index) {
            if (left_.empty()) fail("truncated inside a number");
            const auto byte = static_cast<unsigned char>(left_.front());
            left_.remove_prefix(1);
            value |= std::uint64_t{byte & 0x7fU} << (7 * index);
            if (byte < 0x80) return value;
        }
        fail("a number longer than 10 bytes");
    }

    std::string_view bytes(std::uint64_t size) {
        if (size > left_.size()) {
            fail("truncated: a field of " + std::to_string(size) + " bytes, " +
                 std::to_string(left_.size()) + " left");
        }
        const std::string_view out = left_.substr(0, size);
        left_.remove_prefix(size);
        return out;
    }

    [[noreturn]] void fail(const std::string& what) const {
        throw BundleError(where_, what, kAgain);
    }

private:
    std::string_view left_;
    const std::string& where_;
};

}  // namespace

void refuse_external_data(std::string_view data, const std::string& where) {
    if (data.find("location") == std::string_view::npos) return;  // the key of the name
    std::vector<std::pair<Kind, std::string_view>> left{{kModel, data}};
    while (!left.empty()) {
        const Kind kind = left.back().first;
        Reader reader(left.back().second, where);
        left.pop_back();
        while (!reader.done()) {
            const std::uint64_t key = reader.number(), field = key >> 3, wire = key & 7;
            bool external = kind == kTensor && field == 13;
            if (wire == 0) {
                external = (reader.number() != 0 && kind == kTensor && field == 14) || external;
            } else if (wire == 2) {
                const std::string_view part = reader.bytes(reader.number());
                external = external || (kind == kTensor && field == 14 && !part.empty());
                for (const auto& inside : kInside) {
                    if (inside.outer == kind && inside.field == field) {
                        left.emplace_back(inside.inner, part);
                    }
                }
            } else if (wire == 1 || wire == 5) {
                reader.bytes(wire == 1 ? 8 : 4);
            } else {
                reader.fail("wire type " + std::to_string(wire));
            }
            if (external) {
                throw BundleError(where, "its weights lie in another file, which a bundle never reads",
                                  kAgain);
            }
        }
    }
}

}  // namespace tinysight
