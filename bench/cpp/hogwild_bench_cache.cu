// Times append (new keys and values into pages) and move (entries to other pages, keys rotated) beside plain
// kernels that read, or copy, as many bytes.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "bench/cpp/baselines.h"
#include "bench/cpp/device.h"
#include "bench/cpp/flags.h"
#include "bench/cpp/random.h"
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

    // K and V
    std::size_t entry_bytes() const { return std::size_t{2} * kv_heads * head_dim * element_size(dtype); }
};

// Pages for `tokens` entries in a random order, and the slots that fill them one page after the other.
struct Pages {
    Pages(const Shape& shape, int tokens)
        : count((tokens + shape.page_size - 1) / shape.page_size),
          k(count * shape.page_size * shape.entry_bytes() / 2),
          v(k.size()) {
        fill_random(k.data(), shape.dtype, k.size() / element_size(shape.dtype), 1);
        fill_random(v.data(), shape.dtype, v.size() / element_size(shape.dtype), 2);
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

Row measure(const char* name, const Shape& shape, int tokens, const Launch& op, const Timer& timer) {
    const std::size_t bytes = 2 * tokens * shape.entry_bytes();  // read and written
    const std::vector<double> us = timer.medians_us({op, read_launch(bytes), copy_launch(bytes)});
    return {name,
            {{"tokens", tokens},
             {"kv_heads", shape.kv_heads},
             {"head_dim", shape.head_dim},
             {"page_size", shape.page_size}},
            shape.dtype_name,
            static_cast<double>(bytes),
            us[0],
            us[1],
            {{"copy", us[2]}},
            {}};
}

Row bench_append(const Shape& shape, int tokens, const Timer& timer) {
    const Pages pages(shape, tokens);
    const DeviceArray<char> k(tokens * shape.entry_bytes() / 2);
    const DeviceArray<char> v(k.size());
    fill_random(k.data(), shape.dtype, k.size() / element_size(shape.dtype), 3);
    fill_random(v.data(), shape.dtype, v.size() / element_size(shape.dtype), 4);
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
    const Launch op = [&](cudaStream_t stream) { return cuda::append(params, stream); };
    return measure("append", shape, tokens, op, timer);
}

Row bench_move(const Shape& shape, int tokens, const Timer& timer) {
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
    const Launch op = [&](cudaStream_t stream) { return cuda::move(params, stream); };
    return measure("move", shape, tokens, op, timer);
}

int run(int argc, char** argv) {
    Flags flags(
        argc, argv,
        "Times append (new keys and values into pages) and move (entries to other pages, keys rotated).",
        {{"tokens", "1,4,16,64,256,2048,16384", "new or moved tokens, separated by commas"},
         {"kv-heads", "8", "key/value heads"},
         {"head-dim", "128", "elements of a head"},
         {"page-size", "32", "tokens of a page"},
         {"dtype", "bf16", "fp32, bf16 or fp16"},
         {"repetitions", "200", "replays per median"},
         {"json", "", "file for the results"},
         {"commit", "unknown", "recorded in the file"}});
    const Shape shape{flags.number("kv-heads"), flags.number("head-dim"), flags.number("page-size"),
                      flags.dtype("dtype"), flags.text("dtype")};
    const std::vector<int> lengths = flags.numbers("tokens");
    if (!has_device()) {
        std::fprintf(stderr, "no CUDA device: nothing to measure\n");
        return EXIT_FAILURE;
    }
    const std::string path = flags.output("json");
    const Timer timer(flags.number("repetitions"));
    Report report{"cache", flags.text("commit"), Timer::method(), {}};
    for (const int tokens : lengths) report.rows.push_back(bench_append(shape, tokens, timer));
    for (const int tokens : lengths) report.rows.push_back(bench_move(shape, tokens, timer));
    report.publish(path);
    return EXIT_SUCCESS;
}

}  // namespace
}  // namespace hogwild::bench

int main(int argc, char** argv) { return hogwild::bench::run(argc, argv); }
