#include "bench/cpp/report.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sstream>

#include "bench/cpp/device.h"

namespace hogwild::bench {
namespace {

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + '"';
}

template <typename Value>
std::string object(const std::vector<std::pair<std::string, Value>>& fields) {
    std::ostringstream json;
    const char* separator = "";
    for (const auto& [name, value] : fields) {
        json << separator << quoted(name) << ": " << value;
        separator = ", ";
    }
    return "{" + json.str() + "}";
}

std::string device_name() {
    int device = 0;
    cudaDeviceProp properties;
    HOGWILD_CHECK(cudaGetDevice(&device));
    HOGWILD_CHECK(cudaGetDeviceProperties(&properties, device));
    return properties.name;
}

std::string version(int number) {  // 13020 -> 13.2
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

std::string today() {
    const std::time_t now = std::time(nullptr);
    char text[16];
    std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
    return text;
}

std::string fixed(double value, int digits) {
    char text[32];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

// A table's column: its title and one text a row.
using Column = std::vector<std::string>;

template <typename Cell>
Column column(const std::string& title, const std::vector<Row>& rows, Cell cell) {
    Column texts{title};
    for (const Row& row : rows) texts.push_back(cell(row));
    return texts;
}

bool is_constant(const Column& column) {
    return std::all_of(column.begin() + 2, column.end(), [&](const auto& text) { return text == column[1]; });
}

}  // namespace

void Report::publish(const std::string& json_path) const {
    print();
    if (!json_path.empty()) write_json(json_path);
}

void Report::print() const {
    std::printf("%s on %s; %s\n", benchmark.c_str(), device_name().c_str(), method.c_str());
    if (rows.empty()) return;
    const Row& first = rows.front();
    const bool has_data = first.bytes > 0;
    std::vector<Column> columns{column("case", rows, [](const Row& row) { return row.name; })};
    if (has_data) columns.push_back(column("dtype", rows, [](const Row& row) { return row.dtype; }));
    for (std::size_t i = 0; i < first.parameters.size(); ++i) {
        columns.push_back(column(first.parameters[i].first, rows,
                                 [i](const Row& row) { return std::to_string(row.parameters[i].second); }));
    }
    for (const Column& column : columns) {  // what all rows have in common stands above
        if (is_constant(column)) std::printf("%s %s  ", column[0].c_str(), column[1].c_str());
    }
    std::printf("\n\n");
    columns.erase(std::remove_if(columns.begin(), columns.end(), is_constant), columns.end());

    columns.push_back(column("us", rows, [](const Row& row) { return fixed(row.us, 2); }));
    if (has_data) {
        const auto rate = [](const Row& row) { return fixed(row.bytes / row.us * 1e-3, 0); };
        const auto ratio = [](const Row& row) { return fixed(row.us / row.read_us, 3); };
        columns.push_back(column("GB/s", rows, rate));
        columns.push_back(column("read us", rows, [](const Row& row) { return fixed(row.read_us, 2); }));
        columns.push_back(column("us/read", rows, ratio));
    }
    for (std::size_t i = 0; i < first.baselines.size(); ++i) {
        columns.push_back(column(first.baselines[i].first + " us", rows,
                                 [i](const Row& row) { return fixed(row.baselines[i].second, 2); }));
    }
    for (std::size_t i = 0; i < first.launch.size(); ++i) {
        columns.push_back(column(first.launch[i].first, rows,
                                 [i](const Row& row) { return std::to_string(row.launch[i].second); }));
    }
    for (std::size_t line = 0; line <= rows.size(); ++line) {
        for (const Column& column : columns) {
            std::size_t width = 0;
            for (const std::string& text : column) width = std::max(width, text.size());
            std::printf("%*s  ", static_cast<int>(width), column[line].c_str());
        }
        std::printf("\n");
    }
}

void Report::write_json(const std::string& path) const {
    int runtime = 0;
    int driver = 0;
    HOGWILD_CHECK(cudaRuntimeGetVersion(&runtime));
    HOGWILD_CHECK(cudaDriverGetVersion(&driver));
    std::ostringstream json;
    json.precision(6);
    json << "{\n  \"benchmark\": " << quoted(benchmark) << ",\n  \"device\": " << quoted(device_name())
         << ",\n  \"date\": " << quoted(today()) << ",\n  \"commit\": " << quoted(commit)
         << ",\n  \"versions\": {\"cuda_runtime\": " << quoted(version(runtime))
         << ", \"cuda_driver\": " << quoted(version(driver)) << "},\n  \"method\": " << quoted(method)
         << ",\n  \"rows\": [";
    const char* separator = "\n";
    for (const Row& row : rows) {
        json << separator << "    {\"case\": " << quoted(row.name);
        for (const auto& [name, value] : row.parameters) json << ", " << quoted(name) << ": " << value;
        if (row.bytes > 0) {
            json << ", \"dtype\": " << quoted(row.dtype)
                 << ", \"bytes\": " << static_cast<long long>(row.bytes) << ", \"read_us\": " << row.read_us;
        }
        json << ", \"us\": " << row.us << ", \"baselines\": " << object(row.baselines);
        if (!row.launch.empty()) json << ", \"launch\": " << object(row.launch);
        json << "}";
        separator = ",\n";
    }
    json << "\n  ]\n}\n";

    std::FILE* file = std::fopen(path.c_str(), "w");
    const std::string text = json.str();
    if (!file || std::fwrite(text.data(), 1, text.size(), file) != text.size() || std::fclose(file) != 0) {
        std::fprintf(stderr, "cannot write %s\n", path.c_str());
        std::exit(EXIT_FAILURE);
    }
}

}  // namespace hogwild::bench
