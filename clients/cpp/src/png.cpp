// PNG by libpng: eight bits, RGB, no alpha, no gamma.
#include <png.h>

#include <cstring>
#include <vector>

#include "image.hpp"

namespace tinysight {

namespace {

struct Rest {
    const unsigned char* at;
    std::size_t size;
};

extern "C" {
static void tinysight_png_read(png_structp png, png_bytep out, std::size_t count) {
    auto& rest = *static_cast<Rest*>(png_get_io_ptr(png));
    if (count > rest.size) png_error(png, "no more bytes");
    std::memcpy(out, rest.at, count);
    rest.at += count;
    rest.size -= count;
}
[[noreturn]] static void tinysight_png_fail(png_structp png, png_const_charp) { png_longjmp(png, 1); }
static void tinysight_png_quiet(png_structp, png_const_charp) {}
}

class Decoder {
public:
    explicit Decoder(std::string_view data)
        : rest_{reinterpret_cast<const unsigned char*>(data.data()), data.size()},
          png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, tinysight_png_fail,
                                      tinysight_png_quiet)),
          info_(png_ ? png_create_info_struct(png_) : nullptr) {}
    ~Decoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;

    // `setjmp` is returned to from libpng: nothing with a destructor lives in these two.
    bool start() {
        if (!info_ || setjmp(png_jmpbuf(png_))) return false;
        png_set_read_fn(png_, &rest_, tinysight_png_read);
        png_read_info(png_, info_);
        const int color = png_get_color_type(png_, info_);
        if (png_get_bit_depth(png_, info_) == 16) png_set_strip_16(png_);
        png_set_strip_alpha(png_);
        if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
        if (!(color & PNG_COLOR_MASK_COLOR)) {
            if (png_get_bit_depth(png_, info_) < 8) png_set_expand_gray_1_2_4_to_8(png_);
            png_set_gray_to_rgb(png_);
        }
        png_set_interlace_handling(png_);
        png_read_update_info(png_, info_);
        return true;
    }

    bool rows(unsigned char** rows) {
        if (setjmp(png_jmpbuf(png_))) return false;
        png_read_image(png_, rows);
        png_read_end(png_, nullptr);
        return true;
    }

    std::int64_t width() const { return png_get_image_width(png_, info_); }
    std::int64_t height() const { return png_get_image_height(png_, info_); }
    std::size_t row_bytes() const { return png_get_rowbytes(png_, info_); }

private:
    Rest rest_;
    png_structp png_;
    png_infop info_;
};

}  // namespace

cv::Mat decode_png(const Header& header) {
    Decoder decoder(header.bytes());
    if (!decoder.start() || decoder.width() != header.width || decoder.height() != header.height ||
        decoder.row_bytes() != 3 * static_cast<std::size_t>(header.width)) {
        return {};
    }
    cv::Mat image(static_cast<int>(header.height), static_cast<int>(header.width), CV_8UC3);
    std::vector<unsigned char*> rows(image.rows);
    for (int y = 0; y < image.rows; ++y) rows[y] = image.ptr(y);
    return decoder.rows(rows.data()) ? image : cv::Mat();
}

}  // namespace tinysight
