#include "image.hpp"

#include <webp/decode.h>

#include <cerrno>
#include <system_error>

#include "files.hpp"
#include "tinysight/error.hpp"

namespace tinysight {

namespace {

// The largest of 8, 4, 2 and 1 by which a JPEG may be divided without falling below `enough`.
int denominator(const Header& header, cv::Size enough) {
    if (header.orientation >= 5) std::swap(enough.width, enough.height);
    for (const int by : {8, 4, 2}) {
        if ((header.width + by - 1) / by >= enough.width &&
            (header.height + by - 1) / by >= enough.height) {
            return by;
        }
    }
    return 1;
}

// Undo an EXIF orientation; 5 to 8 swap width and height.
cv::Mat upright(const cv::Mat& image, int orientation) {
    cv::Mat out;
    switch (orientation) {
        case 2: cv::flip(image, out, 1); break;
        case 3: cv::rotate(image, out, cv::ROTATE_180); break;
        case 4: cv::flip(image, out, 0); break;
        case 5: cv::transpose(image, out); break;
        case 6: cv::rotate(image, out, cv::ROTATE_90_CLOCKWISE); break;
        case 7:
            cv::transpose(image, out);
            cv::rotate(out, out, cv::ROTATE_180);
            break;
        case 8: cv::rotate(image, out, cv::ROTATE_90_COUNTERCLOCKWISE); break;
        default: return image;
    }
    return out;
}

}  // namespace

cv::Mat decode_webp(const Header& header) {
    const auto data = header.bytes();
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(data.data());
    int width = 0, height = 0;
    if (!WebPGetInfo(bytes, data.size(), &width, &height) || width != header.width ||
        height != header.height) {
        return {};
    }
    cv::Mat image(height, width, CV_8UC3);
    const std::size_t stride = image.step[0];
    if (!WebPDecodeRGBInto(bytes, data.size(), image.data, stride * height,
                           static_cast<int>(stride))) {
        return {};
    }
    return image;
}

cv::Mat decode(std::string_view data, std::optional<cv::Size> enough, std::int64_t max_pixels) {
    const Header header = read_header(data);
    if (header.width * header.height > max_pixels) {
        throw ImageError("", std::to_string(header.width) + " x " + std::to_string(header.height) +
                                 " pixels are more than the limit of " + std::to_string(max_pixels),
                         "reduce the image or raise max_pixels");
    }
    cv::Mat image;
    switch (header.format) {
        case Format::jpeg:
            image = decode_jpeg(header, enough ? denominator(header, *enough) : 1);
            break;
        case Format::png: image = decode_png(header); break;
        case Format::bmp: image = decode_bmp(header); break;
        case Format::webp: image = decode_webp(header); break;
    }
    if (image.empty()) {
        throw ImageError("", std::string("the ") + name_of(header.format) + " is damaged",
                         "copy or download the file again");
    }
    return upright(image, header.orientation);
}

cv::Mat decode_file(const std::string& path, std::optional<cv::Size> enough) {
    std::string data;
    try {
        data = read_file(path);
    } catch (const std::system_error& error) {
        switch (error.code().value()) {
            case ENOENT: throw ImageError(path, "no such file", "check the path");
            case EISDIR: throw ImageError(path, "is a folder", "name an image in it");
            case ENOTSUP: throw ImageError(path, "is not a regular file");
            default: throw ImageError(path, "cannot be read: " + error.code().message());
        }
    }
    try {
        return decode(data, enough);
    } catch (const ImageError& error) {
        throw ImageError(path, error.problem(), error.hint());
    }
}

}  // namespace tinysight
