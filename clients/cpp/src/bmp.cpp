// BMP: 1, 4, 8 (also run-length coded), 16, 24 and 32 bits a pixel, both header generations.
#include <array>
#include <cstdint>

#include "bytes.hpp"
#include "image.hpp"

namespace tinysight {

namespace {

using Color = cv::Vec3b;  // RGB

struct Layout {
    std::string_view data;
    std::uint64_t pixels = 0;  // where they begin
    int width = 0, height = 0, bits = 0;
    std::uint32_t coding = 0;
    bool top_down = false, five_six_five = false;
    std::array<Color, 256> palette{};
    std::array<int, 3> offsets{2, 1, 0};  // of red, green and blue in a pixel of 32 bits
};

// Which byte of four a mask is; -1 for one that is not a byte.
int byte_of(std::uint32_t mask) {
    for (int i = 0; i < 4; ++i) {
        if (mask == 0xffu << 8 * i) return i;
    }
    return -1;
}

bool read_masks(Layout& layout) {
    std::array<std::uint32_t, 3> masks{};
    for (int c = 0; c < 3; ++c) masks[c] = uint_at(layout.data, 54 + 4 * c, 4);
    if (layout.bits == 16) {
        layout.five_six_five = masks == std::array<std::uint32_t, 3>{0xf800, 0x7e0, 0x1f};
        return layout.five_six_five || masks == std::array<std::uint32_t, 3>{0x7c00, 0x3e0, 0x1f};
    }
    for (int c = 0; c < 3; ++c) layout.offsets[c] = byte_of(masks[c]);
    return layout.offsets[0] >= 0 && layout.offsets[1] >= 0 && layout.offsets[2] >= 0;
}

bool read_layout(Layout& layout, const Header& header) {
    const std::string_view data = layout.data;
    const std::uint32_t size = uint_at(data, 14, 4);
    layout.pixels = uint_at(data, 10, 4);
    layout.width = static_cast<int>(header.width);
    layout.height = static_cast<int>(header.height);
    std::uint64_t palette = 14 + std::uint64_t{size}, used = 0;
    int entry = 4;
    if (size == 12) {
        layout.bits = static_cast<int>(uint_at(data, 24, 2));
        entry = 3;
    } else if (size >= 36) {
        layout.bits = static_cast<int>(uint_at(data, 28, 2));
        layout.coding = uint_at(data, 30, 4);
        layout.top_down = static_cast<std::int32_t>(uint_at(data, 22, 4)) < 0;
        used = uint_at(data, 46, 4);
    } else {
        return false;
    }
    const int bits = layout.bits;
    if (layout.coding == 3 && (bits == 16 || bits == 32)) return read_masks(layout);
    const bool plain = layout.coding == 0 &&
                       (bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32);
    const bool runs = (layout.coding == 1 && bits == 8) || (layout.coding == 2 && bits == 4);
    if (!plain && !runs) return false;
    if (bits <= 8) {
        if (used > 256) return false;
        const std::uint64_t count = used ? used : std::uint64_t{1} << bits;
        if (palette + count * entry > data.size()) return false;
        for (std::uint64_t i = 0; i < count; ++i) {
            for (int c = 0; c < 3; ++c) {
                layout.palette[i][2 - c] = static_cast<std::uint8_t>(data[palette + i * entry + c]);
            }
        }
    }
    return true;
}

Color of_16(const Layout& layout, std::uint32_t v) {
    const auto byte = [](std::uint32_t x) { return static_cast<std::uint8_t>(x); };
    if (layout.five_six_five) return {byte(v >> 8 & 0xf8), byte(v >> 3 & 0xfc), byte(v << 3 & 0xf8)};
    return {byte(v >> 7 & 0xf8), byte(v >> 2 & 0xf8), byte(v << 3 & 0xf8)};
}

bool read_plain(const Layout& layout, cv::Mat& image) {
    const std::uint64_t stride = (std::uint64_t(layout.width) * layout.bits + 31) / 32 * 4;
    if (layout.pixels + stride * layout.height > layout.data.size()) return false;
    for (int y = 0; y < layout.height; ++y) {
        const int row = layout.top_down ? y : layout.height - 1 - y;
        const auto* from = reinterpret_cast<const std::uint8_t*>(layout.data.data()) +
                           layout.pixels + stride * y;
        auto* to = image.ptr<Color>(row);
        for (int x = 0; x < layout.width; ++x) {
            switch (layout.bits) {
                case 1: to[x] = layout.palette[from[x / 8] >> (7 - x % 8) & 1]; break;
                case 4: to[x] = layout.palette[from[x / 2] >> (x % 2 ? 0 : 4) & 15]; break;
                case 8: to[x] = layout.palette[from[x]]; break;
                case 16: to[x] = of_16(layout, from[2 * x] | from[2 * x + 1] << 8); break;
                case 24: to[x] = {from[3 * x + 2], from[3 * x + 1], from[3 * x]}; break;
                default:
                    for (int c = 0; c < 3; ++c) to[x][c] = from[4 * x + layout.offsets[c]];
            }
        }
    }
    return true;
}

// Runs and literal stretches; what they jump over has the first colour. False where a run leaves
// the image or the bytes end early.
bool read_runs(const Layout& layout, cv::Mat& image) {
    const auto& first = layout.palette[0];
    image.setTo(cv::Scalar(first[0], first[1], first[2]));
    const bool half = layout.bits == 4;
    std::uint64_t at = layout.pixels;
    std::int64_t x = 0, y = 0;
    const auto put = [&](std::uint32_t index) {
        if (x >= layout.width || y >= layout.height) return false;
        const auto row = layout.top_down ? y : layout.height - 1 - y;
        image.at<Color>(static_cast<int>(row), static_cast<int>(x++)) = layout.palette[index];
        return true;
    };
    while (at + 2 <= layout.data.size()) {
        const std::uint32_t count = uint_at(layout.data, at, 1), code = uint_at(layout.data, at + 1, 1);
        at += 2;
        if (count) {
            for (std::uint32_t i = 0; i < count; ++i) {
                if (!put(half ? (i % 2 ? code & 15 : code >> 4) : code)) return false;
            }
        } else if (code >= 3) {
            const std::uint64_t bytes = half ? (code + 1) / 2 : code;
            if (at + bytes > layout.data.size()) return false;
            for (std::uint32_t i = 0; i < code; ++i) {
                const std::uint32_t byte = uint_at(layout.data, at + (half ? i / 2 : i), 1);
                if (!put(half ? (i % 2 ? byte & 15 : byte >> 4) : byte)) return false;
            }
            at += bytes + (bytes & 1);
        } else if (code == 2) {
            x += uint_at(layout.data, at, 1);
            y += uint_at(layout.data, at + 1, 1);
            at += 2;
            if (y >= layout.height) return true;
        } else if (code == 1) {
            return true;
        } else {
            x = 0;
            if (++y >= layout.height) return true;
        }
    }
    return false;
}

}  // namespace

cv::Mat decode_bmp(const Header& header) {
    Layout layout;
    layout.data = header.bytes();
    if (!read_layout(layout, header)) return {};
    cv::Mat image(layout.height, layout.width, CV_8UC3);
    const bool runs = layout.coding == 1 || layout.coding == 2;
    return (runs ? read_runs(layout, image) : read_plain(layout, image)) ? image : cv::Mat();
}

}  // namespace tinysight
