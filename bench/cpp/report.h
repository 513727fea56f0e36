// Results of a native benchmark: a table on the terminal, and the project's JSON file.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace hogwild::bench {

using NamedInts = std::vector<std::pair<std::string, int>>;
using NamedTimes = std::vector<std::pair<std::string, double>>;  // microseconds

struct Row {
    std::string name;      // "case" in the file
    NamedInts parameters;  // such as tokens, kv_heads, head_dim; the same names in all rows
    std::string dtype;
    double bytes;          // read and written by the op; 0 in all rows: no data, so no dtype and read_us
    double us;             // median time of the op
    double read_us;        // a plain read of as many bytes
    NamedTimes baselines;  // the same names in all rows
    NamedInts launch;      // how the op chose to run, or was told to; the same names in all rows
};

struct Report {
    std::string benchmark;
    std::string commit;
    std::string method;
    std::vector<Row> rows;

    // A table on the terminal, and the file if one is named. Exits with an error if it cannot be written.
    void publish(const std::string& json_path) const;

  private:
    void print() const;
    void write_json(const std::string& path) const;
};

}  // namespace hogwild::bench
