#include "bench/cpp/report.h"

#include <cuda_runtime_api.h>

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

double gb_per_second(double bytes, double us) { return bytes / us * 1e-3; }

}  // namespace

void Report::print() const {
    std::printf("%s on %s; %s\n\n", benchmark.c_str(), device_name().c_str(), method.c_str());
    std::printf("%-8s %-44s %10s %10s %10s", "case", "parameters", "us", "GB/s", "read us");
    if (!rows.empty()) {
        for (const auto& baseline : rows.front().baselines) std::printf(" %7s us", baseline.first.c_str());
    }
    std::printf("\n");
    for (const Row& row : rows) {
        std::string parameters = row.dtype;
        for (const auto& [name, value] : row.parameters)
            parameters += " " + name + "=" + std::to_string(value);
        std::printf("%-8s %-44s %10.2f %10.1f %10.2f", row.name.c_str(), parameters.c_str(), row.us,
                    gb_per_second(row.bytes, row.us), row.read_us);
        for (const auto& baseline : row.baselines) std::printf(" %10.2f", baseline.second);
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
        json << ", \"dtype\": " << quoted(row.dtype) << ", \"bytes\": " << static_cast<long long>(row.bytes)
             << ", \"us\": " << row.us << ", \"read_us\": " << row.read_us << ", \"baselines\": {";
        const char* comma = "";
        for (const auto& [name, us] : row.baselines) {
            json << comma << quoted(name) << ": " << us;
            comma = ", ";
        }
        json << "}}";
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
