#include "header.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "bytes.hpp"
#include "tinysight/error.hpp"

namespace tinysight {

namespace {

using namespace std::string_view_literals;

constexpr std::int64_t kMostScanned = 700'000'000;  // scans times pixels

struct Magic {
    std::size_t at;
    std::string_view bytes;
    const char* name;
};

constexpr std::array<Magic, 10> kOthers{{{0, "GIF8"sv, "a GIF"},
                                         {0, "II*\0"sv, "a TIFF"},
                                         {0, "MM\0*"sv, "a TIFF"},
                                         {4, "ftyphei"sv, "a HEIC"},
                                         {4, "ftypmif1"sv, "a HEIC"},
                                         {4, "ftypavi"sv, "an AVIF"},
                                         {0, "\0\0\0\x0cjP"sv, "a JPEG 2000"},
                                         {0, "\xff\x0a"sv, "a JPEG XL"},
                                         {0, "8BPS"sv, "a Photoshop"},
                                         {0, "%PDF"sv, "a PDF"}}};

[[noreturn]] void refuse(const std::string& what, const std::string& hint = {}) {
    throw ImageError("", what, hint);
}

[[noreturn]] void cut(const std::string& kind, const std::string& missing) {
    refuse("the " + kind + " is cut short: " + missing, "copy or download the file again");
}

// EXIF orientation, 1 (upright) to 8; 1 also where the block does not say or is damaged.
int orientation_of(std::string_view tiff) {
    const bool big = starts_with(tiff, "MM");
    if (!big && !starts_with(tiff, "II")) return 1;
    const std::uint64_t table = uint_at(tiff, 4, 4, big);
    const std::uint32_t count = uint_at(tiff, table, 2, big);
    for (std::uint32_t index = 0; index < count; ++index) {
        const std::uint64_t entry = table + 2 + 12 * std::uint64_t{index};
        if (entry + 12 > tiff.size()) break;
        if (uint_at(tiff, entry, 2, big) == 0x0112) {
            // Any whole number, of several the first; what is longer than the field lies elsewhere.
            const std::uint32_t type = uint_at(tiff, entry + 2, 2, big);
            const int size = type == 3 || type == 8                 ? 2
                             : type == 4 || type == 9 || type == 13 ? 4
                             : type == 6                            ? 1
                                                                    : 0;
            const std::uint64_t bytes = std::uint64_t{uint_at(tiff, entry + 4, 4, big)} * size;
            const std::uint64_t place = bytes > 4 ? uint_at(tiff, entry + 8, 4, big) : entry + 8;
            const std::uint32_t value = uint_at(tiff, place, size, big);
            return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
        }
    }
    return 1;
}

// Where the next marker ends, 0 if there is none. Stuffed bytes and restarts belong to a scan.
std::size_t next_marker(std::string_view data, std::size_t at) {
    while ((at = data.find('\xff', at)) != std::string_view::npos && at + 1 < data.size()) {
        const auto code = static_cast<unsigned char>(data[at + 1]);
        if (code != 0x00 && code != 0xff && !(code >= 0xd0 && code <= 0xd7)) return at + 2;
        ++at;
    }
    return 0;
}

// How often the pixels are gone over, at most: once, unless it is progressive or its first scan lacks a
// colour. `frame` and `scan` are where the contents of these two headers begin.
std::int64_t scans_of(std::string_view data, std::uint64_t frame, std::uint64_t scan) {
    const bool progressive = data[frame - 1] == '\xc2';
    if (!progressive && uint_at(data, scan + 2, 1) >= uint_at(data, frame + 7, 1)) return 1;
    std::int64_t count = 0;
    for (std::size_t at = 0; (at = data.find("\xff\xda"sv, at)) != std::string_view::npos; at += 2) {
        ++count;
    }
    return count;
}

// Walk the segments up to the end marker; without one the image is cut short.
Header jpeg(std::string_view data) {
    Header header{Format::jpeg, 0, 0, 1, data, {}};
    bool sized = false, ended = false, turned = false;
    std::uint64_t frame_at = 0, scan = 0, at = 2;
    while (at <= data.size() && (at = next_marker(data, at))) {
        const auto code = static_cast<unsigned char>(data[at - 1]);
        if (code == 0xd9) {
            ended = true;
            break;
        }
        if (code == 0xd8 || code == 0x01) continue;
        const std::uint32_t length = uint_at(data, at, 2, true);
        if (length < 2 || at + length > data.size()) cut("JPEG", "a segment is incomplete");
        const bool frame = code >= 0xc0 && code <= 0xc2;
        const bool rare = code >= 0xc3 && code <= 0xcf && code != 0xc4 && code != 0xc8 && code != 0xcc;
        if (rare || (frame && uint_at(data, at + 2, 1) != 8)) {
            refuse("a JPEG of a kind that is not read here", "save it as baseline JPEG, 8 bits");
        }
        if (frame && !sized) {
            sized = true;
            frame_at = at;
            header.width = uint_at(data, at + 5, 2, true);
            header.height = uint_at(data, at + 3, 2, true);
        } else if (code == 0xe1 && !turned && starts_with(data, "Exif\0\0"sv, at + 2)) {
            turned = true;  // of several blocks the first counts
            header.orientation = orientation_of(part(data, at + 8, at + length));
        } else if (code == 0xda && sized) {
            if (!scan) scan = at;
            if (data.substr(data.size() - 2) != "\xff\xd9"sv) {
                at += length;
                continue;
            }
            ended = true;  // inside a scan these two bytes are the end marker and nothing else
            break;
        }
        at += length;
    }
    if (!ended) cut("JPEG", "the end marker is missing");
    if (!sized) refuse("the JPEG holds no image");
    const std::int64_t scans = scans_of(data, frame_at, scan);
    if (scans * header.width * header.height > kMostScanned) {
        refuse(std::to_string(scans) + " scans of " + std::to_string(header.width) + " x " +
                   std::to_string(header.height) + " pixels are more than the limit of " +
                   std::to_string(kMostScanned),
               "save it as baseline JPEG");
    }
    return header;
}

// Check the chunks; keep those that determine pixels, so no animation and no profile.
Header png(std::string_view data) {
    Header header{Format::png, 0, 0, 1, data, {}};
    bool sized = false, complete = false, ancillary = false, turned = false;
    std::vector<std::string_view> kept{data.substr(0, 8)};
    std::uint64_t at = 8;
    while (!complete) {
        const std::uint64_t length = uint_at(data, at, 4, true), end = at + 12 + length;
        const std::string_view name = part(data, at + 4, at + 8);
        if (end > data.size()) cut("PNG", "its last chunk is incomplete");
        const std::string_view body = part(data, at + 4, end - 4);
        if (name == "IHDR" || name == "PLTE" || name == "tRNS" || name == "IDAT" || name == "IEND") {
            const auto* bytes = reinterpret_cast<const Bytef*>(body.data());
            if (crc32_z(0, bytes, body.size()) != uint_at(data, end - 4, 4, true)) {
                refuse("the PNG is damaged: wrong checksum in " + std::string(name));
            }
            kept.push_back(part(data, at, end));
        } else if (name[0] < 'a' || name[0] > 'z') {
            refuse("the PNG holds an unknown critical chunk");
        } else {
            ancillary = true;
        }
        if (name == "IHDR" && at == 8 && length == 13) {
            sized = true;
            header.width = uint_at(data, at + 8, 4, true);
            header.height = uint_at(data, at + 12, 4, true);
        } else if (name == "eXIf" && !turned) {
            turned = true;
            header.orientation = orientation_of(body.substr(4));
        }
        complete = name == "IEND";
        at = end;
    }
    if (!sized) refuse("the PNG does not begin with its header");
    if (ancillary) {
        for (const auto& chunk : kept) header.kept += chunk;
    }
    return header;
}

Header bmp(std::string_view data) {
    if (data.size() < 26) cut("BMP", "the header is incomplete");
    const std::int64_t pixels = uint_at(data, 10, 4);
    std::int64_t width = 0, height = 0, bits = 0, coding = 0;
    if (uint_at(data, 14, 4) > 0x7fffffff) refuse("the BMP is damaged: the length of its header");
    if (uint_at(data, 14, 4) == 12) {
        width = uint_at(data, 18, 2), height = uint_at(data, 20, 2), bits = uint_at(data, 24, 2);
    } else {
        width = static_cast<std::int32_t>(uint_at(data, 18, 4));
        height = static_cast<std::int32_t>(uint_at(data, 22, 4));
        height = height < 0 ? -height : height;
        bits = uint_at(data, 28, 2), coding = uint_at(data, 30, 4);
    }
    const bool uncompressed = coding == 0 || coding == 3;
    const std::int64_t row = (width * bits + 31) / 32 * 4;
    if (uncompressed && width > 0 && height > 0 && row > 0 &&
        row > (static_cast<std::int64_t>(data.size()) - pixels) / height) {
        cut("BMP", "there are fewer bytes than pixels");
    }
    return {Format::bmp, width, height, 1, data, {}};
}

std::optional<std::string_view> riff_chunk(std::string_view data, std::string_view wanted) {
    for (std::uint64_t at = 12; at + 8 <= data.size();) {
        const std::uint64_t length = uint_at(data, at + 4, 4);
        if (data.substr(at, 4) == wanted) return part(data, at + 8, at + 8 + length);
        at += 8 + length + (length & 1);
    }
    return std::nullopt;
}

Header webp(std::string_view data) {
    if (data.size() < 30 || 8 + std::uint64_t{uint_at(data, 4, 4)} > data.size()) {
        cut("WebP", "there are fewer bytes than the header says");
    }
    Header header{Format::webp, 0, 0, 1, data, {}};
    const std::string_view kind = data.substr(12, 4);
    if (kind == "VP8X") {
        if (data[20] & 0x02) refuse("an animated WebP", "save its first frame as JPEG or PNG");
        header.width = uint_at(data, 24, 3) + 1;
        header.height = uint_at(data, 27, 3) + 1;
        if (const auto exif = data[20] & 0x08 ? riff_chunk(data, "EXIF") : std::nullopt) {
            const bool marked = starts_with(*exif, "Exif\0\0"sv);
            header.orientation = orientation_of(marked ? exif->substr(6) : *exif);
        }
    } else if (kind == "VP8L") {
        const std::uint32_t packed = uint_at(data, 21, 4);
        header.width = (packed & 0x3fff) + 1;
        header.height = (packed >> 14 & 0x3fff) + 1;
    } else if (kind == "VP8 ") {
        header.width = uint_at(data, 26, 2) & 0x3fff;
        header.height = uint_at(data, 28, 2) & 0x3fff;
    } else {
        refuse("the WebP holds no image");
    }
    return header;
}

}  // namespace

const char* name_of(Format format) {
    switch (format) {
        case Format::jpeg: return "JPEG";
        case Format::png: return "PNG";
        case Format::bmp: return "BMP";
        default: return "WebP";
    }
}

Header read_header(std::string_view data) {
    if (data.empty()) refuse("the file is empty");
    Header header;
    if (starts_with(data, "\xff\xd8\xff"sv)) {
        header = jpeg(data);
    } else if (starts_with(data, "\x89PNG\r\n\x1a\n"sv)) {
        header = png(data);
    } else if (starts_with(data, "BM"sv)) {
        header = bmp(data);
    } else if (starts_with(data, "RIFF"sv) && starts_with(data, "WEBP"sv, 8)) {
        header = webp(data);
    } else {
        for (const auto& other : kOthers) {
            if (starts_with(data, other.bytes, other.at)) {
                refuse(std::string(other.name) + " file, which is not read here",
                       "`tinysight data convert` makes copies that are");
            }
        }
        refuse("not a JPEG, PNG, BMP or WebP image");
    }
    if (header.width < 1 || header.height < 1) {
        refuse("the header says " + std::to_string(header.width) + " x " +
               std::to_string(header.height) + " pixels");
    }
    return header;
}

}  // namespace tinysight
