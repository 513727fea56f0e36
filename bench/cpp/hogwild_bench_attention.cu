// Times attention of one forward, all workers of all sessions in one call, beside a plain kernel that reads
// the keys and values once.
//
// The layout is "combined": a worker's view is the shared block, a header, the other workers' blocks, a
// second header and its own block, at the end of which its new tokens stand.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
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
#include "csrc/attention/attention.h"
#include "csrc/cache/rotation_table.h"

namespace hogwild::bench {
namespace {

// What differs from row to row.
struct Shape {
    int heads, kv_heads, head_dim;
    int sessions, shared_tokens, workers;
    LaunchedBy by = LaunchedBy::kGraph;
};

// What all rows of a run have in common.
struct Options {
    DType dtype;
    std::string dtype_name;
    int page_size;
    int header_tokens;
    int own_tokens;  // of each worker, its new ones included
    int new_tokens;  // of each worker
    int window;
    bool interleaved;
    cuda::AttentionTuning tuning;
};

// A session's blocks, in this order: shared, two headers, one of each worker.
constexpr int kShared = 0;
constexpr int kFirstHeader = 1;
constexpr int kSecondHeader = 2;
constexpr int kFirstOwn = 3;

// The integers of a forward; csrc/params.h says what they mean. All sessions are alike, but for their pages.
struct Indices {
    Indices(const Shape& shape, const Options& options) {
        std::vector<int> lens(kFirstOwn + shape.workers, options.own_tokens);
        lens[kShared] = shape.shared_tokens;
        lens[kFirstHeader] = lens[kSecondHeader] = options.header_tokens;
        num_columns = static_cast<int>(lens.size());
        for (int session = 0; session < shape.sessions; ++session) {
            block_lens.insert(block_lens.end(), lens.begin(), lens.end());
            for (int worker = 0; worker < shape.workers; ++worker) add_queries(worker, lens, options);
            group_tokens.push_back(static_cast<int>(rotary_pos.size()));
            group_blocks.push_back(static_cast<int>(block_lens.size()));
        }
        deal_pages(options.page_size);
    }

    int num_tokens() const { return static_cast<int>(rotary_pos.size()); }
    int num_blocks() const { return static_cast<int>(block_lens.size()); }

    // Entries that the queries of a session see, each counted once: all of them, unless there is a window.
    std::int64_t seen_entries(int window) const {
        std::int64_t seen = 0;
        for (int block = 0; block < num_columns; ++block) {
            for (int key = 0; key < block_lens[block]; ++key) {
                seen += any_query_sees(block, key, window);
            }
        }
        return seen;
    }

    int num_columns, num_pages, max_pages;
    std::vector<std::int32_t> block_table, block_lens, group_tokens{0}, group_blocks{0};
    std::vector<std::int32_t> query_pos, rotary_pos, own_block;

  private:
    void add_queries(int worker, const std::vector<int>& lens, const Options& options) {
        std::vector<int> view{kShared, kFirstHeader};
        for (int block = kFirstOwn; block < num_columns; ++block) {
            if (block != kFirstOwn + worker) view.push_back(block);
        }
        view.insert(view.end(), {kSecondHeader, kFirstOwn + worker});
        const int view_length = std::accumulate(lens.begin(), lens.end(), 0);
        for (int left = options.new_tokens; left > 0; --left) {
            std::vector<std::int32_t> positions(num_columns);
            int start = 0;
            for (const int block : view) {
                positions[block] = view_length - left - start;
                start += lens[block];
            }
            query_pos.insert(query_pos.end(), positions.begin(), positions.end());
            rotary_pos.push_back(options.own_tokens - left);
            own_block.push_back(kFirstOwn + worker);
        }
    }

    // Every block gets pages of its own, in random order.
    void deal_pages(int page_size) {
        const auto pages_of = [page_size](int length) { return (length + page_size - 1) / page_size; };
        max_pages = pages_of(*std::max_element(block_lens.begin(), block_lens.end()));
        num_pages = 0;
        for (const int length : block_lens) num_pages += pages_of(length);
        std::vector<std::int32_t> order(num_pages);
        std::iota(order.begin(), order.end(), 0);
        std::shuffle(order.begin(), order.end(), std::mt19937(0));
        block_table.assign(block_lens.size() * max_pages, -1);
        auto next = order.begin();
        for (std::size_t block = 0; block < block_lens.size(); ++block) {
            const int pages = pages_of(block_lens[block]);
            std::copy_n(next, pages, block_table.begin() + block * max_pages);
            next += pages;
        }
    }

    bool any_query_sees(int block, int key, int window) const {
        for (int token = 0; token < group_tokens[1]; ++token) {
            const int position = query_pos[token * num_columns + block];
            if (key <= position && (window == 0 || position - key < window)) return true;
        }
        return false;
    }
};

// A call of the op with all that it needs in device memory.
class Call {
  public:
    Call(const Shape& shape, const Options& options)
        : indices_(shape, options),
          element_size_(element_size(options.dtype)),
          q_(std::size_t(indices_.num_tokens()) * shape.heads * shape.head_dim * element_size_),
          k_(std::size_t(indices_.num_pages) * shape.kv_heads * options.page_size * shape.head_dim *
             element_size_),
          v_(k_.size()),
          out_(q_.size()),
          lse_(std::size_t(indices_.num_tokens()) * shape.heads),
          rotation_(std::size_t(indices_.num_tokens()) * indices_.num_columns * shape.head_dim),
          block_table_(indices_.block_table),
          block_lens_(indices_.block_lens),
          group_tokens_(indices_.group_tokens),
          group_blocks_(indices_.group_blocks),
          query_pos_(indices_.query_pos),
          rotary_pos_(indices_.rotary_pos),
          own_block_(indices_.own_block) {
        fill_random(q_.data(), options.dtype, q_.size() / element_size_, 1);
        fill_random(k_.data(), options.dtype, k_.size() / element_size_, 2);
        fill_random(v_.data(), options.dtype, v_.size() / element_size_, 3);
        make_rotation_table(shape.head_dim);
        fill_in_params(shape, options);
    }

    const AttentionParams& params() const { return params_; }
    std::int64_t seen_entries(int window) const { return indices_.seen_entries(window); }

    // Ends the program if the result of `launch` cannot be right.
    void check_result(const Launch& launch) const {
        HOGWILD_CHECK(cudaMemset(out_.data(), 0xff, out_.bytes()));  // NaN in all dtypes
        HOGWILD_CHECK(cudaMemset(lse_.data(), 0xff, lse_.bytes()));
        HOGWILD_CHECK(launch(nullptr));
        HOGWILD_CHECK(cudaDeviceSynchronize());
        // Values are below sqrt(3), so averages of them are below 2; in all three dtypes the highest bit of
        // the exponent is then 0, and it is 1 in infinities and NaN.
        const std::vector<unsigned char> out = out_.download();
        bool right = true;
        for (std::size_t i = element_size_ - 1; i < out.size(); i += element_size_) right &= !(out[i] & 0x40);
        for (const float lse : lse_.download()) right &= std::isfinite(lse);
        if (right) return;
        std::fprintf(stderr, "attention gave values that are no averages of what it was given\n");
        std::exit(EXIT_FAILURE);
    }

  private:
    void make_rotation_table(int head_dim) {
        std::vector<float> frequencies(head_dim / 2);
        for (std::size_t i = 0; i < frequencies.size(); ++i) {
            frequencies[i] = std::pow(1e6f, -static_cast<float>(i) / frequencies.size());
        }
        const DeviceArray<float> inv_freq(frequencies);
        RotationTableParams params{};
        params.query_pos = query_pos_.data();
        params.rotary_pos = rotary_pos_.data();
        params.inv_freq = inv_freq.data();
        params.table = rotation_.data();
        params.num_tokens = indices_.num_tokens();
        params.num_columns = indices_.num_columns;
        params.half = head_dim / 2;
        HOGWILD_CHECK(cuda::rotation_table(params, nullptr));
        HOGWILD_CHECK(cudaDeviceSynchronize());
    }

    void fill_in_params(const Shape& shape, const Options& options) {
        params_.dtype = options.dtype;
        params_.cache = {k_.data(),         v_.data(),      indices_.num_pages, shape.kv_heads,
                         options.page_size, shape.head_dim, shape.head_dim};
        params_.q = q_.data();
        params_.q_token_stride = std::int64_t{shape.heads} * shape.head_dim;
        params_.q_head_stride = shape.head_dim;
        params_.block_table = block_table_.data();
        params_.block_lens = block_lens_.data();
        params_.group_tokens = group_tokens_.data();
        params_.group_blocks = group_blocks_.data();
        params_.query_pos = query_pos_.data();
        params_.rotary_pos = rotary_pos_.data();
        params_.own_block = own_block_.data();
        params_.rotation = rotation_.data();
        params_.out = out_.data();
        params_.lse = lse_.data();
        params_.rotary = {shape.head_dim / 2, 0, options.interleaved};
        params_.num_tokens = indices_.num_tokens();
        params_.num_groups = shape.sessions;
        params_.num_blocks = indices_.num_blocks();
        params_.num_columns = indices_.num_columns;
        params_.max_pages = indices_.max_pages;
        params_.num_heads = shape.heads;
        params_.window = options.window;
        params_.scale = 1.f / std::sqrt(static_cast<float>(shape.head_dim));
    }

    Indices indices_;
    std::size_t element_size_;
    DeviceArray<unsigned char> q_, k_, v_, out_;
    DeviceArray<float> lse_, rotation_;
    DeviceArray<std::int32_t> block_table_, block_lens_, group_tokens_, group_blocks_;
    DeviceArray<std::int32_t> query_pos_, rotary_pos_, own_block_;
    AttentionParams params_{};
};

// What of a launch its kernel uses. "calls": 0 is the kernel for all, 1 that for one session, 2 that for few
// keys.
NamedInts chosen_launch(const cuda::AttentionLaunch& plan, DType dtype) {
    const bool is_plain = dtype == DType::kFloat32;
    const bool has_ring = !is_plain && plan.calls != cuda::Calls::kFewKeys;
    return {{"ctas", is_plain ? 0 : plan.num_ctas.divisor()},
            {"calls", static_cast<int>(plan.calls)},
            {"slots", has_ring ? plan.ring_slots : 0},
            {"block_cost", has_ring ? plan.block_cost : 0}};
}

Row measure(const Shape& shape, const Options& options, const Timer& timer, const Flags& flags) {
    const Call call(shape, options);
    if (const char* reason = cuda::why_no_kernel(call.params())) {
        flags.fail(std::string("no kernel serves this: ") + reason);
    }
    cuda::AttentionLaunch plan{};
    HOGWILD_CHECK(cuda::plan_attention(call.params(), &plan, options.tuning));
    const DeviceArray<uint4> workspace((plan.workspace_bytes + sizeof(uint4) - 1) / sizeof(uint4));
    const Launch op = [&](cudaStream_t stream) {
        return cuda::attention(call.params(), plan, workspace.data(), stream);
    };
    call.check_result(op);

    const std::size_t bytes = shape.sessions * call.seen_entries(options.window) * shape.kv_heads *
                              shape.head_dim * 2 * element_size(options.dtype);
    const std::vector<double> us = timer.medians_us({op, read_launch(bytes), empty_launch()}, shape.by);
    return {shape.by == LaunchedBy::kGraph ? "decode" : "decode-on-stream",
            {{"L", shape.shared_tokens},
             {"W", shape.workers},
             {"q_heads", shape.heads},
             {"kv_heads", shape.kv_heads},
             {"head_dim", shape.head_dim},
             {"page_size", options.page_size},
             {"sessions", shape.sessions},
             {"new_tokens", options.new_tokens},
             {"window", options.window}},
            options.dtype_name,
            static_cast<double>(bytes),
            us[0],
            us[1],
            {{"empty launch", us[2]}},
            chosen_launch(plan, options.dtype)};
}

// All lengths and numbers of workers of one shape.
std::vector<Shape> product(Shape shape, const std::vector<int>& lengths, const std::vector<int>& workers) {
    std::vector<Shape> shapes;
    for (const int length : lengths) {
        for (const int count : workers) {
            shape.shared_tokens = length;
            shape.workers = count;
            shapes.push_back(shape);
        }
    }
    return shapes;
}

// What the README and docs/kernel.md claim something about.
std::vector<Shape> claims() {
    std::vector<Shape> shapes;
    for (const auto& [heads, kv_heads, head_dim] :
         {std::array{40, 8, 128}, {32, 8, 128}, {64, 8, 128}, {40, 8, 64}, {40, 8, 256}}) {
        const auto more =
            product({heads, kv_heads, head_dim, 1, 0, 0}, {300, 4096, 16384, 65536}, {1, 2, 4, 8});
        shapes.insert(shapes.end(), more.begin(), more.end());
    }
    shapes.push_back({40, 8, 128, 16, 4096, 2});
    const auto on_stream =
        product({40, 8, 128, 1, 0, 0, LaunchedBy::kStream}, {300, 4096, 16384, 65536}, {1, 2, 4, 8});
    shapes.insert(shapes.end(), on_stream.begin(), on_stream.end());
    return shapes;
}

LaunchedBy chosen_way(Flags& flags) {
    const std::string& name = flags.text("launch");
    if (name == "stream") return LaunchedBy::kStream;
    if (name != "graph") flags.fail("--launch is " + name + "; expected graph or stream");
    return LaunchedBy::kGraph;
}

std::vector<Shape> chosen_shapes(Flags& flags) {
    const std::string& preset = flags.text("preset");
    if (preset == "claims") return claims();
    if (!preset.empty()) flags.fail("--preset is " + preset + "; expected claims");
    const Shape shape{flags.number("heads"),
                      flags.number("kv-heads"),
                      flags.number("head-dim"),
                      flags.number("sessions"),
                      0,
                      0,
                      chosen_way(flags)};
    if (shape.heads % shape.kv_heads != 0) {
        flags.fail("--heads is " + flags.text("heads") + "; expected a multiple of --kv-heads (" +
                   flags.text("kv-heads") + ")");
    }
    if (shape.head_dim % 2 != 0) {
        flags.fail("--head-dim is " + flags.text("head-dim") + "; expected an even number");
    }
    return product(shape, flags.numbers("tokens"), flags.numbers("workers"));
}

cuda::Calls chosen_kernel(Flags& flags) {
    const std::string& name = flags.text("kernel");
    if (name == "all-calls") return cuda::Calls::kAll;
    if (name == "one-session") return cuda::Calls::kOneSession;
    if (name != "few-keys") {
        flags.fail("--kernel is " + name + "; expected all-calls, one-session or few-keys");
    }
    return cuda::Calls::kFewKeys;
}

Options chosen_options(Flags& flags) {
    Options options{};
    options.dtype = flags.dtype("dtype");
    options.dtype_name = flags.text("dtype");
    options.page_size = flags.number("page-size");
    options.header_tokens = flags.number("header", 0);
    options.own_tokens = flags.number("own");
    options.new_tokens = flags.number("new-tokens");
    options.window = flags.number("window", 0);
    options.interleaved = flags.number("interleaved", 0, 1) == 1;
    options.tuning = {flags.number("ctas", 0), flags.number("slots", 0), flags.number("block-cost", -1),
                      chosen_kernel(flags)};
    for (const char* name : {"ctas", "slots", "block-cost", "kernel"}) {
        if (options.dtype == DType::kFloat32 && flags.is_given(name)) {
            flags.fail(std::string("--") + name + " is for bf16 and fp16; fp32 has a kernel without choices");
        }
    }
    if (options.new_tokens > options.own_tokens) {
        flags.fail("--new-tokens is " + flags.text("new-tokens") + "; expected at most --own (" +
                   flags.text("own") + "), which counts them");
    }
    return options;
}

std::string method(const Options& options) {
    return Timer::method("CUDA-graph replays, or where the case says so of launches on a stream,") +
           "; combined layout, L shared tokens, two headers of " + std::to_string(options.header_tokens) +
           " and " + std::to_string(options.own_tokens) + " tokens of each of W workers" +
           (options.interleaved ? "; interleaved pairs" : "");
}

int run(int argc, char** argv) {
    Flags flags(argc, argv,
                "Times attention of one forward, all workers of all sessions in one call, beside a plain "
                "kernel that\n"
                "reads their keys and values once. Each combination of --tokens and --workers is a row.",
                {{"tokens", "300,4096,16384,65536", "tokens that all workers of a session share"},
                 {"workers", "1,2,4,8", "workers of a session"},
                 {"heads", "40", "query heads"},
                 {"kv-heads", "8", "key/value heads"},
                 {"head-dim", "128", "elements of a head"},
                 {"sessions", "1", "sessions in the call, all alike"},
                 {"preset", "", "claims: the README's tables, instead of what the flags above say"},
                 {"page-size", "32", "tokens of a page"},
                 {"dtype", "bf16", "fp32, bf16 or fp16"},
                 {"header", "5", "tokens of each of the two headers"},
                 {"own", "20", "tokens of each worker's own block, the new ones included"},
                 {"new-tokens", "1", "new tokens of each worker: its queries"},
                 {"window", "0", "tokens that a query sees; 0: all"},
                 {"interleaved", "0", "1: rotary pairs are neighbouring dims"},
                 {"ctas", "0", "CTAs of the launch; 0: as the op chooses"},
                 {"slots", "0",
                  "places of the ring in shared memory, a tile of 32 keys and values each; "
                  "0: as the op chooses"},
                 {"block-cost", "-1", "runs of 16 keys that entering a block costs; -1: as the op chooses"},
                 {"kernel", "few-keys",
                  "all-calls, one-session or few-keys: no kernel that serves fewer calls than this one does"},
                 {"launch", "graph", "graph: replayed from a CUDA graph; stream: launched on a stream"},
                 {"repetitions", "200", "launches per median"},
                 {"json", "", "file for the results"},
                 {"commit", "unknown", "recorded in the file"}});
    const std::vector<Shape> shapes = chosen_shapes(flags);
    const Options options = chosen_options(flags);
    const int repetitions = flags.number("repetitions");
    if (!has_device()) {
        std::fprintf(stderr, "no CUDA device: nothing to measure\n");
        return EXIT_FAILURE;
    }
    const std::string path = flags.output("json");
    const Timer timer(repetitions);
    Report report{"attention", flags.text("commit"), method(options), {}};
    for (const Shape& shape : shapes) report.rows.push_back(measure(shape, options, timer, flags));
    report.publish(path);
    return EXIT_SUCCESS;
}

}  // namespace
}  // namespace hogwild::bench

int main(int argc, char** argv) { return hogwild::bench::run(argc, argv); }
