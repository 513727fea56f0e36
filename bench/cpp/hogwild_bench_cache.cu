// Times append (new keys and values into pages) and move (entries to other pages, keys rotated) beside plain
// kernels that read, or copy, as many bytes.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "bench/cpp/device.h"
#include "bench/cpp/flags.h"
#include "bench/cpp/report.h"
#include "bench/cpp/timing.h"
#include "csrc/cache/append.h"
#include "csrc/cache/move.h"

namespace hogwild::bench {
namespace {

struct Shape {
    int kv_heads, head_dim, page_size;
    DType dtype;
    std::string dtype_name;

    int element_size() const { return dtype == DType::kFloat32 ? 4 : 2; }
    std::size_t entry_bytes() const {
        return std::size_t{2} * kv_heads * head_dim * element_size();
    }  // K and V
};

// Pages for `tokens` entries in a random order, and the slots that fill them one page after the other.
struct Pages {
    Pages(const Shape& shape, int tokens)
        : count((tokens + shape.page_size - 1) / shape.page_size),
          k(count * shape.page_size * shape.entry_bytes() / 2),
          v(k.size()) {
        std::vector<std::int64_t> order(count);
        std::iota(order.begin(), order.end(), 0);
        std::shuffle(order.begin(), order.end(), std::mt19937(0));
        for (int i = 0; i < tokens; ++i) {
            slots.push_back(order[i / shape.page_size] * shape.page_size + i % shape.page_size);
        }
    }

    Cache cache(const Shape& shape) const {
        return {k.data(), v.data(), count, shape.kv_heads, shape.page_size, shape.head_dim, shape.head_dim};
    }

    int count;
    DeviceArray<char> k, v;
    std::vector<std::int64_t> slots;
};

Row row(const char* name, const Shape& shape, int tokens, double us, Timer& timer) {
    const std::size_t bytes = 2 * tokens * shape.entry_bytes();  // read and written
    return {name,
            {{"tokens", tokens},
             {"kv_heads", shape.kv_heads},
             {"head_dim", shape.head_dim},
             {"page_size", shape.page_size}},
            shape.dtype_name,
            static_cast<double>(bytes),
            us,
            timer.read_us(bytes),
            {{"copy", timer.copy_us(bytes)}}};
}

Row bench_append(const Shape& shape, int tokens, Timer& timer) {
    const Pages pages(shape, tokens);
    const DeviceArray<char> k(tokens * shape.entry_bytes() / 2);
    const DeviceArray<char> v(k.size());
    const DeviceArray<std::int64_t> slots(pages.slots);
    AppendParams params{};
    params.dtype = shape.dtype;
    params.cache = pages.cache(shape);
    params.k = k.data();
    params.v = v.data();
    params.k_head_stride = params.v_head_stride = shape.head_dim;
    params.k_token_stride = params.v_token_stride = std::int64_t{shape.kv_heads} * shape.head_dim;
    params.slots = slots.data();
    params.num_tokens = tokens;
    const double us = timer.median_us([&](cudaStream_t stream) { return cuda::append(params, stream); });
    return row("append", shape, tokens, us, timer);
}

Row bench_move(const Shape& shape, int tokens, Timer& timer) {
    const Pages pages(shape, 2 * tokens);  // the first half moves into the second
    const auto middle = pages.slots.begin() + tokens;
    const DeviceArray<std::int64_t> from(std::vector<std::int64_t>(pages.slots.begin(), middle));
    const DeviceArray<std::int64_t> to(std::vector<std::int64_t>(middle, pages.slots.end()));
    const DeviceArray<std::int32_t> shift(std::vector<std::int32_t>(tokens, 4096));
    std::vector<float> frequencies(shape.head_dim / 2);
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        frequencies[i] = std::pow(10000.f, -static_cast<float>(i) / frequencies.size());
    }
    const DeviceArray<float> inv_freq(frequencies);
    MoveParams params{};
    params.dtype = shape.dtype;
    params.cache = pages.cache(shape);
    params.src_slots = from.data();
    params.dst_slots = to.data();
    params.shift = shift.data();
    params.inv_freq = inv_freq.data();
    params.rotary.half = shape.head_dim / 2;
    params.num_entries = tokens;
    const double us = timer.median_us([&](cudaStream_t stream) { return cuda::move(params, stream); });
    return row("move", shape, tokens, us, timer);
}

DType parse_dtype(Flags& flags) {
    const std::string& name = flags.text("dtype");
    if (name == "fp32") return DType::kFloat32;
    if (name == "fp16") return DType::kFloat16;
    if (name == "bf16") return DType::kBFloat16;
    flags.fail("--dtype is " + name + "; expected fp32, fp16 or bf16");
}

int run(int argc, char** argv) {
    Flags flags(argc, argv,
                {{"tokens", "1,4,16,64,256,2048,16384", "new or moved tokens, separated by commas"},
                 {"kv-heads", "8", "key/value heads"},
                 {"head-dim", "128", "elements of a head"},
                 {"page-size", "32", "tokens of a page"},
                 {"dtype", "bf16", "fp32, fp16 or bf16"},
                 {"repetitions", "200", "replays per median"},
                 {"json", "", "file for the results"},
                 {"commit", "unknown", "recorded in the file"}});
    const Shape shape{flags.number("kv-heads"), flags.number("head-dim"), flags.number("page-size"),
                      parse_dtype(flags), flags.text("dtype")};
    const std::vector<int> lengths = flags.numbers("tokens");
    if (!has_device()) {
        std::fprintf(stderr, "no CUDA device: nothing to measure\n");
        return EXIT_FAILURE;
    }
    Timer timer(flags.number("repetitions"));
    Report report{"cache", flags.text("commit"), Timer::method(), {}};
    for (const int tokens : lengths) report.rows.push_back(bench_append(shape, tokens, timer));
    for (const int tokens : lengths) report.rows.push_back(bench_move(shape, tokens, timer));
    report.print();
    if (!flags.text("json").empty()) report.write_json(flags.text("json"));
    return EXIT_SUCCESS;
}

}  // namespace
}  // namespace hogwild::bench

int main(int argc, char** argv) { return hogwild::bench::run(argc, argv); }
