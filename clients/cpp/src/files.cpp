#include "files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace tinysight {

namespace {

class Handle {
public:
    explicit Handle(int fd) : fd_(fd) {}
    ~Handle() { ::close(fd_); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    int get() const { return fd_; }

private:
    int fd_;
};

[[noreturn]] void fail(int code) { throw std::system_error(code, std::generic_category()); }

}  // namespace

std::string read_file(const std::string& path, std::uint64_t most) {
    if (path.find('\0') != std::string::npos) fail(EINVAL);
    // Not blocking: opening a pipe that nobody writes to would wait forever.
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) fail(errno);
    const Handle handle(fd);
    struct stat about {};
    if (::fstat(fd, &about) != 0) fail(errno);
    if (S_ISDIR(about.st_mode)) fail(EISDIR);
    if (!S_ISREG(about.st_mode)) fail(ENOTSUP);
    if (static_cast<std::uint64_t>(about.st_size) > most) fail(EFBIG);
    std::string data(static_cast<std::size_t>(about.st_size), '\0');
    std::size_t at = 0;
    while (at < data.size()) {
        const ssize_t count = ::read(fd, data.data() + at, data.size() - at);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail(errno);
        if (count == 0) break;  // shorter than a moment ago
        at += static_cast<std::size_t>(count);
    }
    data.resize(at);
    return data;
}

}  // namespace tinysight
