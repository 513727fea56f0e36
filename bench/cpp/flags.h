// Command-line flags of the native benchmarks: --name value, each with a default and a line of help.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "bench/cpp/dtype.h"

namespace hogwild::bench {

struct Flag {
    std::string name;
    std::string value;  // the default, then what was given
    std::string help;
    bool is_given = false;
};

class Flags {
  public:
    // `summary` says in --help what the program does.
    Flags(int argc, char** argv, const std::string& summary, std::vector<Flag> flags)
        : program_(argv[0]), flags_(std::move(flags)) {
        if (std::any_of(argv + 1, argv + argc, [](const std::string& word) { return word == "--help"; })) {
            help(summary);
        }
        for (int i = 1; i < argc; i += 2) {
            const std::string name = argv[i];
            Flag* flag = find(name.substr(0, 2) == "--" ? name.substr(2) : "");
            if (!flag) fail("unknown flag " + name);
            if (i + 1 == argc) fail(name + " needs a value");
            flag->value = argv[i + 1];
            flag->is_given = true;
        }
    }

    const std::string& text(const std::string& name) { return find(name)->value; }

    bool is_given(const std::string& name) { return find(name)->is_given; }

    // A file that can be written, or "" for none: asked before what takes long.
    const std::string& output(const std::string& name) {
        const std::string& path = text(name);
        if (path.empty()) return path;
        std::FILE* file = std::fopen(path.c_str(), "r+");
        const bool is_new = !file;
        if (is_new) file = std::fopen(path.c_str(), "w");
        if (!file) fail("--" + name + " is " + path + "; expected a file that can be written");
        std::fclose(file);
        if (is_new) std::remove(path.c_str());
        return path;
    }

    int number(const std::string& name, int least = 1, int most = kMost) {
        return parse(name, text(name), least, most);
    }

    // Positive numbers separated by commas.
    std::vector<int> numbers(const std::string& name) {
        std::vector<int> parsed;
        std::stringstream parts(text(name));
        for (std::string part; std::getline(parts, part, ',');) parsed.push_back(parse(name, part, 1, kMost));
        if (parsed.empty()) fail("--" + name + " is empty; expected numbers separated by commas");
        return parsed;
    }

    DType dtype(const std::string& name) {
        const auto dtype = dtype_named(text(name));
        if (!dtype) fail("--" + name + " is " + text(name) + "; expected fp32, bf16 or fp16");
        return *dtype;
    }

    [[noreturn]] void fail(const std::string& message) const {
        std::fprintf(stderr, "%s: %s (--help lists the flags)\n", program_.c_str(), message.c_str());
        std::exit(2);
    }

  private:
    static constexpr int kMost = 1 << 30;

    Flag* find(const std::string& name) {
        const auto found =
            std::find_if(flags_.begin(), flags_.end(), [&](const Flag& flag) { return flag.name == name; });
        return found == flags_.end() ? nullptr : &*found;
    }

    int parse(const std::string& name, const std::string& value, int least, int most) const {
        char* end = nullptr;
        errno = 0;
        const long number = std::strtol(value.c_str(), &end, 10);
        if (value.empty() || *end != '\0' || errno != 0 || number < least || number > most) {
            const std::string range =
                std::to_string(least) + (most == kMost ? " or more" : " to " + std::to_string(most));
            fail("--" + name + " is " + value + "; expected an integer, " + range);
        }
        return static_cast<int>(number);
    }

    [[noreturn]] void help(const std::string& summary) const {
        std::printf("usage: %s [--flag value]...\n%s\n\n", program_.c_str(), summary.c_str());
        for (const Flag& flag : flags_) {
            std::printf("  --%-12s %s", flag.name.c_str(), flag.help.c_str());
            if (!flag.value.empty()) std::printf(" (default: %s)", flag.value.c_str());
            std::printf("\n");
        }
        std::exit(EXIT_SUCCESS);
    }

    std::string program_;
    std::vector<Flag> flags_;
};

}  // namespace hogwild::bench
