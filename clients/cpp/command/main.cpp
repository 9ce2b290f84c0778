// tinysight-cpp: parse, call, render.
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>

#include "arguments.hpp"
#include "bench.hpp"
#include "tinysight/recognizer.hpp"

namespace tinysight::command {

namespace {

// Standard output is ours alone: what libraries write to it goes to the error stream.
std::FILE* answers = stdout;

void own_stdout() {
    const int copy = ::dup(STDOUT_FILENO);
    std::FILE* file = copy < 0 ? nullptr : ::fdopen(copy, "w");
    if (!file) throw Error("standard output", std::strerror(errno));
    answers = file;
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
}

void print(std::FILE* file, const std::string& text) {
    const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    if ((!written || std::fflush(file) != 0) && file == answers) {
        if (errno == EPIPE) std::_Exit(0);  // the reader has seen enough
        throw Error("standard output", std::strerror(errno));
    }
}

Paths all_of(const Arguments& args) {
    std::vector<Paths> each;
    for (const auto& source : args.sources) each.push_back(images(source, args.root));
    return chained(std::move(each));
}

int predict(const Arguments& args) {
    if (args.sources.empty()) {
        throw Error("SOURCE", "no image given", "tinysight-cpp predict IMAGE --model FOLDER");
    }
    if (args.bundle.empty()) throw Error("--model", "which bundle?", "a bundle's folder");
    const Paths found = all_of(args);
    if (args.bench) {
        std::vector<std::string> paths;
        while (auto path = found()) paths.push_back(*path);
        print(answers, bench(args.bundle, args.options, paths, args.seconds, args.json));
        return 0;
    }
    check(args.options);
    // A single image needs neither threads nor streams of the network for more.
    Options options = args.options;
    const auto first = found();
    const auto second = found();
    if (!second) options.workers = 1;
    std::size_t taken = 0;
    const Paths all = [&]() -> std::optional<std::string> {
        ++taken;
        return taken == 1 ? first : taken == 2 ? second : found();
    };
    Classifier classifier(args.bundle, options);
    std::size_t answered = 0, failed = 0;
    classifier.stream(all, [&](const Item& item) {
        if (const auto* bad = std::get_if<Unreadable>(&item)) {
            ++failed;
            print(stderr, bad->filename + ": " + bad->reason + "\n");
            if (args.json) print(answers, as_json(item) + "\n");
            return;
        }
        ++answered;
        const auto& answer = std::get<Answer>(item);
        print(answers, (args.json ? as_json(answer) : as_line(answer)) + "\n");
    });
    if (failed) {
        print(stderr, std::to_string(failed) + " of " + std::to_string(answered + failed) +
                          " images could not be read\n");
    }
    return failed ? 1 : 0;
}

int recognize(const Arguments& args) {
    if (args.sources.empty()) {
        throw Error("SOURCE", "no image given",
                    "tinysight-cpp recognize IMAGE --system FOLDER --gallery FOLDER");
    }
    if (!args.gallery) throw Error("--gallery", "which gallery?", "its folder");
    if (args.system.has_value() == !args.bundle.empty()) {
        throw Error("--system", "give it, or with --no-detector --model");
    }
    if (!args.system && !args.no_detector) {
        throw Error("--model", "is an embedder alone", "add --no-detector, or give --system");
    }
    if (args.options.topk || args.options.exact || args.bench) {
        throw Error("recognize", "takes no --topk, --exact or --bench");
    }
    check(args.options);
    const RecognizerOptions options{args.options.threads, args.options.workers, !args.no_detector,
                                    args.options.threshold};
    Recognizer recognizer(args.system.value_or(args.bundle), *args.gallery, options);
    std::size_t answered = 0, failed = 0;
    recognizer.stream(all_of(args), [&](const Recognizer::Item& item) {
        if (const auto* bad = std::get_if<Unreadable>(&item)) {
            ++failed;
            print(stderr, bad->filename + ": " + bad->reason + "\n");
            if (args.json) print(answers, as_json(*bad) + "\n");
            return;
        }
        ++answered;
        const auto& found = std::get<Recognition>(item);
        print(answers, (args.json ? as_json(found) : as_line(found)) + "\n");
    });
    if (failed) {
        print(stderr, std::to_string(failed) + " of " + std::to_string(answered + failed) +
                          " images could not be read\n");
    }
    return failed ? 1 : 0;
}

int run(const std::vector<std::string>& words) {
    const Arguments args = parse(words);
    if (args.help || words.empty()) {
        print(answers, kUsage);
        return 0;
    }
    if (args.version) {
        print(answers, "tinysight-cpp " TINYSIGHT_VERSION "\n");
        return 0;
    }
    return args.recognize ? recognize(args) : predict(args);
}

}  // namespace

}  // namespace tinysight::command

int main(int count, char** words) {
    std::signal(SIGPIPE, SIG_IGN);
    try {
        tinysight::command::own_stdout();
        return tinysight::command::run({words + 1, words + count});
    } catch (const tinysight::Error& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
    } catch (const std::bad_alloc&) {
        std::fprintf(stderr, "error: there is not enough memory\n");
    } catch (const std::system_error& error) {  // no thread, no file
        std::fprintf(stderr, "error: %s\n", error.what());
    }
    return 2;
}
