// JPEG by libjpeg-turbo: the accurate integer transform and smooth chroma, as everywhere here.
#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <string>
#include <vector>

#include <jpeglib.h>
#include <jerror.h>

#include "image.hpp"
#include "tinysight/error.hpp"

namespace tinysight {

namespace {

// libjpeg reports through this; its first member is what libjpeg sees.
struct Failure {
    jpeg_error_mgr base;
    std::jmp_buf jump;
    char what[JMSG_LENGTH_MAX];
    bool warned = true;  // whether warnings count
};

// Whether a warning leaves every pixel as it was written; see transforms/decode.py.
bool harmless(j_common_ptr info) {
    const jpeg_error_mgr& error = *info->err;
    switch (error.msg_code) {
        case JWRN_JFIF_MAJOR:
        case JWRN_NOT_SEQUENTIAL: return true;
        case JWRN_EXTRANEOUS_DATA: {
            // Padding repeats one byte; what is left of a scan that was not understood does not.
            // libjpeg has read the marker, but stands before it.
            const auto& source = *reinterpret_cast<j_decompress_ptr>(info)->src;
            const JOCTET* end = source.next_input_byte;
            const int count = error.msg_parm.i[0];
            if (error.msg_parm.i[1] != 0xd9) return false;
            return std::all_of(end - count, end, [&](JOCTET byte) { return byte == end[-1]; });
        }
        default: return false;
    }
}

extern "C" {
[[noreturn]] static void tinysight_jpeg_fail(j_common_ptr info) {
    auto* failure = reinterpret_cast<Failure*>(info->err);
    failure->base.format_message(info, failure->what);
    std::longjmp(failure->jump, 1);
}
// A level below 0 is a warning: what cannot be read was filled with grey.
static void tinysight_jpeg_warn(j_common_ptr info, int level) {
    const bool counts = reinterpret_cast<Failure*>(info->err)->warned;
    if (level < 0 && counts && !harmless(info)) tinysight_jpeg_fail(info);
}
static boolean tinysight_jpeg_at_end(j_decompress_ptr info) {
    WARNMS(info, JWRN_JPEG_EOF);
    tinysight_jpeg_fail(reinterpret_cast<j_common_ptr>(info));
}
}

// The factors that TurboJPEG knows, which decodes on Python's side; the others are decoded by OpenCV
// there, without warnings. One for all components, or 2 x 2,
// 2 x 1, 1 x 2, 4 x 1 or 1 x 4 of the first, and black's, against one of the colours'.
bool known_sampling(const jpeg_decompress_struct& info) {
    if (info.num_components == 1) return true;
    const auto same = [&](int c, int h, int v) {
        return info.comp_info[c].h_samp_factor == h && info.comp_info[c].v_samp_factor == v;
    };
    const int h = info.comp_info[0].h_samp_factor, v = info.comp_info[0].v_samp_factor;
    const auto colours = [&](int ch, int cv) {
        for (int c = 1; c < info.num_components; ++c) {
            if (c == 3 ? !same(c, h, v) : !same(c, ch, cv)) return false;
        }
        return true;
    };
    if (colours(h, v)) return h * v <= (info.num_components == 3 ? 3 : 2);
    if (h == 2 && v == 2) return colours(1, 1) || colours(1, 2) || colours(2, 1);
    return h * v <= 4 && (h == 1 || v == 1) && h != 3 && v != 3 && colours(1, 1);
}

class Decoder {
public:
    explicit Decoder(std::string_view data) {
        info_.err = jpeg_std_error(&failure_.base);
        failure_.base.error_exit = tinysight_jpeg_fail;
        failure_.base.emit_message = tinysight_jpeg_warn;
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
        failure_.warned = known_sampling(info_);
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
    std::string what() const { return failure_.what; }
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
    const auto damaged = [&]() -> ImageError {
        std::string what = decoder.what();
        const std::string prefix = "Corrupt JPEG data: ";
        if (what.rfind(prefix, 0) == 0) what.erase(0, prefix.size());
        if (what.empty()) what = "other pixels than its header says";
        return {"", "the JPEG is damaged: " + what, "copy or download the file again"};
    };
    if (!decoder.start(by) || decoder.width() != (header.width + by - 1) / by ||
        decoder.height() != (header.height + by - 1) / by) {
        throw damaged();
    }
    cv::Mat image(decoder.height(), decoder.width(), CV_8UC3);
    std::vector<unsigned char> inks(decoder.four_inks() ? 4 * image.cols : 0);
    if (!decoder.rows(image, inks.empty() ? nullptr : inks.data())) throw damaged();
    return image;
}

}  // namespace tinysight
