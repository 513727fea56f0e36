// Results of a native benchmark: a table on the terminal, and the project's JSON file.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace hogwild::bench {

struct Row {
    std::string name;                                     // "case" in the file
    std::vector<std::pair<std::string, int>> parameters;  // such as tokens, kv_heads, head_dim
    std::string dtype;
    double bytes;                                           // read and written by the op
    double us;                                              // median time of the op
    double read_us;                                         // a plain read of as many bytes
    std::vector<std::pair<std::string, double>> baselines;  // microseconds
};

struct Report {
    std::string benchmark;
    std::string commit;
    std::string method;
    std::vector<Row> rows;

    void print() const;

    // Exits with an error if the file cannot be written.
    void write_json(const std::string& path) const;
};

}  // namespace hogwild::bench
