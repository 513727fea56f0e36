// Command-line flags of the native benchmarks: --name value, each with a default and a line of help.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

namespace hogwild::bench {

struct Flag {
    std::string name;
    std::string value;  // the default, then what was given
    std::string help;
};

class Flags {
  public:
    Flags(int argc, char** argv, std::vector<Flag> flags) : program_(argv[0]), flags_(std::move(flags)) {
        for (int i = 1; i < argc; i += 2) {
            const std::string name = argv[i];
            if (name == "--help") usage(stdout, EXIT_SUCCESS);
            Flag* flag = find(name.substr(0, 2) == "--" ? name.substr(2) : "");
            if (!flag) fail("unknown flag " + name);
            if (i + 1 == argc) fail(name + " needs a value");
            flag->value = argv[i + 1];
        }
    }

    const std::string& text(const std::string& name) { return find(name)->value; }

    int number(const std::string& name) { return parse(name, text(name)); }

    // Numbers separated by commas.
    std::vector<int> numbers(const std::string& name) {
        std::vector<int> parsed;
        std::stringstream parts(text(name));
        for (std::string part; std::getline(parts, part, ',');) parsed.push_back(parse(name, part));
        return parsed;
    }

    [[noreturn]] void fail(const std::string& message) {
        std::fprintf(stderr, "%s: %s\n", program_.c_str(), message.c_str());
        usage(stderr, 2);
    }

  private:
    Flag* find(const std::string& name) {
        for (Flag& flag : flags_) {
            if (flag.name == name) return &flag;
        }
        return nullptr;
    }

    int parse(const std::string& name, const std::string& value) {
        char* end = nullptr;
        const long number = std::strtol(value.c_str(), &end, 10);
        if (value.empty() || *end != '\0' || number < 1 || number > 1 << 30) {
            fail("--" + name + " is " + value + "; expected a positive number");
        }
        return static_cast<int>(number);
    }

    [[noreturn]] void usage(std::FILE* file, int status) {
        for (const Flag& flag : flags_) {
            std::fprintf(file, "  --%-12s %s (%s)\n", flag.name.c_str(), flag.help.c_str(),
                         flag.value.c_str());
        }
        std::exit(status);
    }

    std::string program_;
    std::vector<Flag> flags_;
};

}  // namespace hogwild::bench
