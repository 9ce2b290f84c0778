// JPEG by libjpeg-turbo: the accurate integer transform and smooth chroma, as everywhere here.
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <vector>

#include <jpeglib.h>

#include "image.hpp"

namespace tinysight {

namespace {

// libjpeg reports through this; its first member is what libjpeg sees.
struct Failure {
    jpeg_error_mgr base;
    std::jmp_buf jump;
};

extern "C" {
[[noreturn]] static void tinysight_jpeg_fail(j_common_ptr info) {
    std::longjmp(reinterpret_cast<Failure*>(info->err)->jump, 1);
}
static void tinysight_jpeg_quiet(j_common_ptr, int) {}
static boolean tinysight_jpeg_at_end(j_decompress_ptr info) {
    tinysight_jpeg_fail(reinterpret_cast<j_common_ptr>(info));
}
}

class Decoder {
public:
    explicit Decoder(std::string_view data) {
        info_.err = jpeg_std_error(&failure_.base);
        failure_.base.error_exit = tinysight_jpeg_fail;
        failure_.base.emit_message = tinysight_jpeg_quiet;
        data_ = data;
    }
    ~Decoder() { jpeg_destroy_decompress(&info_); }
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;

    // `setjmp` is returned to from libjpeg: nothing with a destructor lives in these two.
    bool start(int by) {
        if (setjmp(failure_.jump)) return false;
        jpeg_create_decompress(&info_);
        jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(data_.data()), data_.size());
        info_.src->fill_input_buffer = tinysight_jpeg_at_end;
        jpeg_read_header(&info_, TRUE);
        info_.out_color_space = info_.num_components == 4 ? JCS_CMYK : JCS_EXT_RGB;
        info_.scale_num = 1;
        info_.scale_denom = static_cast<unsigned>(by);
        info_.dct_method = JDCT_ISLOW;
        jpeg_start_decompress(&info_);
        return true;
    }

    /// @param inks  a row of four inks, where the image has these; else null
    bool rows(cv::Mat& image, unsigned char* inks) {
        if (setjmp(failure_.jump)) return false;
        while (info_.output_scanline < info_.output_height) {
            unsigned char* row = image.ptr(static_cast<int>(info_.output_scanline));
            unsigned char* target = inks ? inks : row;
            if (jpeg_read_scanlines(&info_, &target, 1) != 1) return false;
            if (inks) to_rgb(inks, row, image.cols);
        }
        jpeg_finish_decompress(&info_);
        return true;
    }

    int width() const { return static_cast<int>(info_.output_width); }
    int height() const { return static_cast<int>(info_.output_height); }
    bool four_inks() const { return info_.out_color_space == JCS_CMYK; }

private:
    // Adobe's inverted inks, with OpenCV's rounding.
    static void to_rgb(const unsigned char* inks, unsigned char* rgb, int width) {
        for (int x = 0; x < width; ++x, inks += 4, rgb += 3) {
            for (int c = 0; c < 3; ++c) {
                rgb[c] = static_cast<unsigned char>(inks[3] - ((255 - inks[c]) * inks[3] >> 8));
            }
        }
    }

    jpeg_decompress_struct info_{};
    Failure failure_{};
    std::string_view data_;
};

}  // namespace

cv::Mat decode_jpeg(const Header& header, int by) {
    Decoder decoder(header.bytes());
    if (!decoder.start(by) || decoder.width() != (header.width + by - 1) / by ||
        decoder.height() != (header.height + by - 1) / by) {
        return {};
    }
    cv::Mat image(decoder.height(), decoder.width(), CV_8UC3);
    std::vector<unsigned char> inks(decoder.four_inks() ? 4 * image.cols : 0);
    return decoder.rows(image, inks.empty() ? nullptr : inks.data()) ? image : cv::Mat();
}

}  // namespace tinysight
