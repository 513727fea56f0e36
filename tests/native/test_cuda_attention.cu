// The CUDA attention kernels against a host reference in fp64; exits with 77 where there is no GPU.
//
//   --quick    one small case of every kind, for compute-sanitizer
//   --sample N each N-th of these and little else, for a tool that takes a second for a launch (racecheck)
//   --cases N  random cases (300)
//   --seed N   of the first of them; a case that fails names its own: repeat it with --seed THAT --cases 1
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "attention_case.h"
#include "attention_compare.h"
#include "attention_reference.h"
#include "attention_shape.h"
#include "bench/cpp/device.h"
#include "csrc/attention/attention.h"
#include "csrc/cache/append.h"
#include "csrc/cache/rotation_table.h"
#include "cuda_check.h"
#include "device_attention.h"

namespace hogwild {
namespace {

using cuda::AttentionLaunch;
using cuda::AttentionTuning;
using cuda::Calls;

double largest_error = 0;  // in units of its bound
int cases = 0;

std::string describe(const AttentionShape& shape, const AttentionTuning& tuning) {
    char text[80];
    std::snprintf(text, sizeof text, "%d CTAs, %d slots, block cost %d: ", tuning.num_ctas, tuning.ring_slots,
                  tuning.block_cost);
    return text + describe(shape);
}

// However the launch is tuned, the result is within its bounds, and the same inputs give the same bits.
void test_case(const AttentionShape& shape, const std::vector<AttentionTuning>& tunings,
               const std::vector<int>& garbage) {
    const AttentionCase c = attention_case(shape);
    const DeviceCase device(c);
    const AttentionReference reference(c);
    EXPECT(cuda::why_no_kernel(device.params) == nullptr, "%s: %s", describe(shape).c_str(),
           cuda::why_no_kernel(device.params));
    for (const AttentionTuning& tuning : tunings) {
        const std::string name = describe(shape, tuning);
        const AttentionLaunch launch = device.plan(tuning);
        const bool tensor_cores = shape.dtype != DType::kFloat32;
        EXPECT(!tensor_cores || tuning.num_ctas == 0 || launch.num_ctas.divisor() <= tuning.num_ctas,
               "%s: planned with %d CTAs", name.c_str(), launch.num_ctas.divisor());
        const Result result = device.run(launch, -1);
        const double error = compare(result, reference.expected(), shape.dtype, name);
        largest_error = std::max(largest_error, error);
        for (const int bytes : garbage) {
            EXPECT(same_bits(result, device.run(launch, bytes)), "%s: other bits in another run",
                   name.c_str());
        }
    }
    ++cases;
}

void test_every_kind(int step) {
    AttentionTuning direct, merged;
    direct.num_ctas = 1;  // one CTA has all keys of every row
    merged.num_ctas = 7;
    const std::vector<AttentionShape> shapes = every_kind();
    for (std::size_t i = 0; i < shapes.size(); i += step) {
        const AttentionShape& shape = shapes[i];
        if (shape.dtype == DType::kFloat32) {
            test_case(shape, {{}}, {});
        } else {
            test_case(shape, {direct, merged}, {});
        }
    }
    for (const AttentionShape& shape : crowds()) test_case(shape, {direct, merged, {}}, {});
}

// What the kernels of one session serve, by the one that is meant and by the one for all calls.
void test_sessions(std::uint64_t seed, bool quick) {
    for (const Calls calls : {Calls::kOneSession, Calls::kFewKeys}) {
        const bool few_keys = calls == Calls::kFewKeys;
        for (const AttentionShape& shape : few_keys ? short_sessions(seed) : sessions(seed)) {
            AttentionTuning some, others, all;
            some.num_ctas = (few_keys ? 8 : 3) * shape.kv_heads;
            some.calls = others.calls = calls;
            all.calls = Calls::kAll;
            EXPECT(DeviceCase(attention_case(shape)).plan(some).calls == calls,
                   "%s: served by another kernel", describe(shape).c_str());
            if (quick) {
                test_case(shape, {some}, {});
            } else {
                test_case(shape, {some, others, all}, {0xff, 0x5a});
            }
        }
    }
}

// A kernel of one session serves kv heads that do not divide the device up, each by as many CTAs.
void test_uneven_heads() {
    const AttentionShape shape = session_of_uneven_heads(device_attribute(cudaDevAttrMultiProcessorCount));
    const AttentionLaunch launch = DeviceCase(attention_case(shape)).plan();
    EXPECT(launch.calls != Calls::kAll && launch.num_ctas.divisor() % shape.kv_heads == 0,
           "%d kv heads are served by the kernel for all calls", shape.kv_heads);
    test_case(shape, {{}}, {0xff, 0x5a});
}

void test_random_cases(std::uint64_t seed, int count) {
    for (int i = 0; i < count; ++i) {
        Random random(~(seed + i));
        std::vector<AttentionTuning> tunings(3);  // the first is what the kernel chooses
        for (int j = 1; j < 3; ++j) {
            tunings[j].num_ctas = random.choose({1, 2, 3, 7, 64});
            tunings[j].ring_slots = random.choose({0, 2, 3});
            tunings[j].block_cost = random.choose({-1, 0, 100});
            tunings[j].shared_bytes = random.choose({0, 166912, 101376});  // all, an A100's, an L40S's
            tunings[j].calls = random.choose({Calls::kFewKeys, Calls::kOneSession, Calls::kAll});
        }
        const AttentionShape shape = random_shape(seed + i);
        if (shape.dtype == DType::kFloat32) tunings.resize(1);
        test_case(shape, tunings, {0xff, 0x5a});
    }
}

// The case with NaN for all queries, keys and values of a group.
AttentionCase with_nans(const AttentionCase& c, int group) {
    AttentionCase poisoned = c;
    const AttentionParams& p = c.params;
    for (int token = c.group_tokens[group]; token < c.group_tokens[group + 1]; ++token) {
        for (int head = 0; head < p.num_heads; ++head) {
            float* q = &poisoned.q[token * p.q_token_stride + head * p.q_head_stride];
            std::fill_n(q, p.cache.head_dim, kNaN);
        }
    }
    const std::size_t rows = std::size_t(p.cache.num_kv_heads) * p.cache.page_size;
    for (int block = c.group_blocks[group]; block < c.group_blocks[group + 1]; ++block) {
        for (int index = 0; index < c.pages_of(block); ++index) {
            const std::size_t page = c.page_of(block, index) * rows;
            std::fill_n(&poisoned.k[page * p.cache.head_dim], rows * p.cache.head_dim, kNaN);
            std::fill_n(&poisoned.v[page * p.cache.value_dim], rows * p.cache.value_dim, kNaN);
        }
    }
    return poisoned;
}

// NaNs in one group's queries, keys and values change no bit of what other groups get.
void test_nan_stays(const AttentionShape& shape, const AttentionTuning& tuning) {
    const AttentionCase c = attention_case(shape);
    const AttentionParams& p = c.params;
    const DeviceCase clean(c);
    const AttentionLaunch launch = clean.plan(tuning);
    const Result expected = clean.run(launch, 0xff);
    for (int group = 0; group < p.num_groups; ++group) {
        const int first = c.group_tokens[group], last = c.group_tokens[group + 1];
        Result result = DeviceCase(with_nans(c, group)).run(launch, 0xff);
        const std::size_t out_row = result.out.size() / p.num_tokens;
        const std::size_t lse_row = p.num_heads;
        std::copy_n(&expected.out[0] + first * out_row, (last - first) * out_row,
                    &result.out[0] + first * out_row);
        std::copy_n(&expected.lse[0] + first * lse_row, (last - first) * lse_row,
                    &result.lse[0] + first * lse_row);
        EXPECT(same_bits(result, expected), "%s: NaNs of group %d change what others get",
               describe(shape, tuning).c_str(), group);
    }
}

void test_nan_stays() {
    AttentionTuning merged;
    merged.num_ctas = 7;
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
        for (int seed = 0; seed < 4; ++seed) {
            AttentionShape shape;
            shape.dtype = dtype;
            shape.head_dim = shape.value_dim = seed % 2 == 0 ? 128 : 64;
            shape.rotary.half = shape.head_dim / 2;
            shape.groups = 4;
            shape.max_block_tokens = 200;
            shape.padding = true;
            shape.seed = seed;
            test_nan_stays(shape, {});
            if (dtype != DType::kFloat32) test_nan_stays(shape, merged);
        }
    }
}

// --- A session that grows between the replays of a captured launch
// --------------------------------------------------

constexpr int kWorkers = 3;
constexpr int kPrompt = 100;  // tokens of block 0; block 1 + w is worker w's

// Where worker w's newest token stands in a block's frame, when each worker has `length` tokens. It sees the
// prompt, what the others wrote, and last what it wrote itself.
__host__ __device__ int query_position(int worker, int block, int length) {
    const int writer = block - 1;
    const int place = writer == worker ? kWorkers - 1 : writer < worker ? writer : writer - 1;
    const int start = block == 0 ? 0 : kPrompt + place * length;
    return kPrompt + kWorkers * length - 1 - start;
}

__global__ void grow(int length, std::int32_t* block_lens, std::int32_t* query_pos,
                     std::int32_t* rotary_pos) {
    const int worker = threadIdx.x;
    block_lens[1 + worker] = length;
    rotary_pos[worker] = length - 1;
    for (int block = 0; block <= kWorkers; ++block)
        query_pos[worker * (1 + kWorkers) + block] = query_position(worker, block, length);
}

// The same on the host.
void grow(int length, AttentionCase& c) {
    std::fill(c.block_lens.begin() + 1, c.block_lens.end(), length);
    c.rotary_pos.assign(kWorkers, length - 1);
    c.query_pos.clear();
    for (int worker = 0; worker < kWorkers; ++worker) {
        for (int block = 0; block <= kWorkers; ++block)
            c.query_pos.push_back(query_position(worker, block, length));
    }
    fill_rotation(c);
}

// All keys and values that the session will have, in pages in random order.
AttentionCase growing_session(int most_tokens) {
    AttentionCase c;
    AttentionParams& p = c.params;
    p.dtype = DType::kBFloat16;
    p.num_tokens = kWorkers;
    p.num_groups = 1;
    p.num_blocks = p.num_columns = 1 + kWorkers;
    p.num_heads = 8;
    p.rotary = {64, 0, false};
    p.scale = 0.09f;
    p.cache.num_kv_heads = 2;
    p.cache.page_size = 16;
    p.cache.head_dim = p.cache.value_dim = 128;
    p.max_pages = (std::max(kPrompt, most_tokens) + p.cache.page_size - 1) / p.cache.page_size;
    p.cache.num_pages = p.num_blocks * p.max_pages;
    p.q_head_stride = p.cache.head_dim;
    p.q_token_stride = p.num_heads * p.q_head_stride;
    c.block_table.resize(p.cache.num_pages);
    std::iota(c.block_table.begin(), c.block_table.end(), 0);
    Random(1).shuffle(c.block_table);
    c.group_tokens = {0, kWorkers};
    c.group_blocks = {0, 1 + kWorkers};
    c.own_block = {1, 2, 3};
    for (int i = 0; i < kWorkers * p.q_token_stride; ++i) c.q.push_back(rounded(normal(2, i), p.dtype));
    c.block_lens.assign(1 + kWorkers, most_tokens);
    c.block_lens[0] = kPrompt;
    fill_pages(c, 3);
    return c;
}

// Keys (or values) in the order in which they are written: [tokens, workers, kv heads, D].
std::vector<float> in_order(const AttentionCase& c, const std::vector<float>& pages, int tokens) {
    std::vector<float> rows;
    const int dim = c.params.cache.head_dim;
    for (int token = 0; token < tokens; ++token) {
        for (int worker = 0; worker < kWorkers; ++worker) {
            for (int head = 0; head < c.params.cache.num_kv_heads; ++head) {
                const float* row = &pages[c.key_row(1 + worker, token, head) * dim];
                rows.insert(rows.end(), row, row + dim);
            }
        }
    }
    return rows;
}

cudaGraphExec_t capture(const DeviceCase& device, const AttentionLaunch& launch, void* workspace,
                        cudaStream_t stream) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    HOGWILD_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    HOGWILD_CHECK(cuda::attention(device.params, launch, workspace, stream));
    HOGWILD_CHECK(cudaStreamEndCapture(stream, &graph));
    HOGWILD_CHECK(cudaGraphInstantiate(&executable, graph, 0));
    HOGWILD_CHECK(cudaGraphDestroy(graph));
    return executable;
}

void test_graph(int replays, int replays_per_check) {
    AttentionCase c = growing_session(replays);
    const AttentionParams& p = c.params;
    const DeviceArray<unsigned char> new_k(to_memory(in_order(c, c.k, replays), p.dtype));
    const DeviceArray<unsigned char> new_v(to_memory(in_order(c, c.v, replays), p.dtype));
    std::vector<std::int64_t> slots;
    for (int token = 0; token < replays; ++token) {
        for (int worker = 0; worker < kWorkers; ++worker) {
            const std::int64_t page = c.page_of(1 + worker, token / p.cache.page_size);
            slots.push_back(page * p.cache.page_size + token % p.cache.page_size);
        }
    }
    const DeviceArray<std::int64_t> device_slots(slots);
    const DeviceArray<float> inv_freq(frequencies(p.rotary.half));

    AttentionCase start = c;  // pages are NaN until they are written
    grow(0, start);
    fill_pages(start, 3);
    const DeviceCase device(start);
    const AttentionLaunch launch = device.plan();
    const DeviceArray<unsigned char> workspace(launch.workspace_bytes);
    HOGWILD_CHECK(cudaMemset(workspace.data(), 0xff, workspace.bytes()));
    HOGWILD_CHECK(cudaDeviceSynchronize());
    cudaStream_t stream;
    HOGWILD_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    const cudaGraphExec_t graph = capture(device, launch, workspace.data(), stream);

    AppendParams append{};
    append.dtype = p.dtype;
    append.cache = device.params.cache;
    append.k_head_stride = append.v_head_stride = p.cache.head_dim;
    append.k_token_stride = append.v_token_stride = std::int64_t{p.cache.num_kv_heads} * p.cache.head_dim;
    append.num_tokens = kWorkers;
    const RotationTableParams rotation{device.query_pos.data(),
                                       device.rotary_pos.data(),
                                       inv_freq.data(),
                                       device.rotation.data(),
                                       p.num_tokens,
                                       p.num_columns,
                                       p.rotary.half};
    for (int length = 1; length <= replays; ++length) {
        const std::size_t written = std::size_t(length - 1) * kWorkers;
        append.k = new_k.data() + written * append.k_token_stride * 2;
        append.v = new_v.data() + written * append.v_token_stride * 2;
        append.slots = device_slots.data() + written;
        HOGWILD_CHECK(cuda::append(append, stream));
        grow<<<1, kWorkers, 0, stream>>>(length, device.block_lens.data(), device.query_pos.data(),
                                         device.rotary_pos.data());
        HOGWILD_CHECK(cudaGetLastError());
        HOGWILD_CHECK(cuda::rotation_table(rotation, stream));
        device.clear_result(stream);
        HOGWILD_CHECK(cudaGraphLaunch(graph, stream));
        if (length % replays_per_check != 0 && length != replays) continue;
        HOGWILD_CHECK(cudaStreamSynchronize(stream));
        grow(length, c);
        const std::string name = "replay " + std::to_string(length);
        const double error = compare(device.result(), AttentionReference(c).expected(), p.dtype, name);
        largest_error = std::max(largest_error, error);
    }
    HOGWILD_CHECK(cudaGraphExecDestroy(graph));
    HOGWILD_CHECK(cudaStreamDestroy(stream));
}

// --- Two problems at a time
// -----------------------------------------------------------------------------------------

// Launches of one problem on a stream of its own, each with a result of its own.
class Launches {
  public:
    Launches(const AttentionShape& shape, int count)
        : device_(attention_case(shape)),
          launch_(device_.plan()),
          alone_(device_.run(launch_, 0xff)),
          workspace_(launch_.workspace_bytes),
          out_(count * device_.out.size()),
          lse_(count * device_.lse.size()) {
        HOGWILD_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
        HOGWILD_CHECK(cudaMemset(workspace_.data(), 0xff, workspace_.bytes()));
        HOGWILD_CHECK(cudaMemset(out_.data(), 0xff, out_.bytes()));
        HOGWILD_CHECK(cudaMemset(lse_.data(), 0xff, lse_.bytes()));
        HOGWILD_CHECK(cudaDeviceSynchronize());
    }
    Launches(const Launches&) = delete;
    ~Launches() { cudaStreamDestroy(stream_); }

    void start(int index) const {
        AttentionParams params = device_.params;
        params.out = out_.data() + index * device_.out.size();
        params.lse = lse_.data() + index * device_.lse.size();
        HOGWILD_CHECK(cuda::attention(params, launch_, workspace_.data(), stream_));
    }

    // How many results are not those of a launch alone.
    int differing() const {
        const std::vector<unsigned char> out = out_.download();
        const std::vector<float> lse = lse_.download();
        int count = 0;
        for (std::size_t i = 0; i * alone_.lse.size() < lse.size(); ++i) {
            const auto out_row = out.begin() + i * alone_.out.size();
            const auto lse_row = lse.begin() + i * alone_.lse.size();
            const Result result{{out_row, out_row + alone_.out.size()},
                                {lse_row, lse_row + alone_.lse.size()}};
            count += !same_bits(result, alone_);
        }
        return count;
    }

  private:
    DeviceCase device_;
    AttentionLaunch launch_;
    Result alone_;
    DeviceArray<unsigned char> workspace_, out_;
    DeviceArray<float> lse_;
    cudaStream_t stream_;
};

void test_streams(int count) {
    AttentionShape shape;
    shape.long_block_tokens = 2000;
    shape.sinks = true;
    AttentionShape other;
    other.dtype = DType::kFloat16;
    other.head_dim = other.value_dim = 64;
    other.rotary = {16, 32, true};
    other.groups = 5;
    other.max_block_tokens = 700;
    const Launches first(shape, count), second(other, count);
    for (int i = 0; i < count; ++i) {
        first.start(i);
        second.start(i);
    }
    HOGWILD_CHECK(cudaDeviceSynchronize());
    EXPECT(first.differing() == 0 && second.differing() == 0,
           "of %d launches on each of two streams, %d and %d differ from one alone", count, first.differing(),
           second.differing());
}

// What has no kernel is named; fp32 of any shape has one.
void test_why_no_kernel() {
    AttentionParams good{};
    good.dtype = DType::kBFloat16;
    good.cache.num_kv_heads = good.num_heads = 1;
    good.cache.page_size = 16;
    good.cache.head_dim = good.cache.value_dim = 128;
    good.num_tokens = good.num_groups = good.num_blocks = good.num_columns = good.max_pages = 1;
    EXPECT(cuda::why_no_kernel(good) == nullptr, "%s", cuda::why_no_kernel(good));
    const struct {
        int page_size, head_dim, value_dim;
    } none[] = {{16, 72, 72}, {16, 128, 64}, {8, 128, 128}, {24, 128, 128}, {16, 192, 128}};
    for (const auto& sizes : none) {
        AttentionParams params = good;
        params.cache.page_size = sizes.page_size;
        params.cache.head_dim = sizes.head_dim;
        params.cache.value_dim = sizes.value_dim;
        EXPECT(cuda::why_no_kernel(params) != nullptr, "page size %d, D %d, Dv %d: a kernel is claimed",
               sizes.page_size, sizes.head_dim, sizes.value_dim);
        params.dtype = DType::kFloat32;
        EXPECT(cuda::why_no_kernel(params) == nullptr, "fp32: %s", cuda::why_no_kernel(params));
    }
}

struct Options {
    bool quick = false;
    unsigned long long seed = 0;
    int cases = 300;
    int step = 1;

    Options(int argc, char** argv) {
        for (int i = 1; i < argc; ++i) {
            const std::string flag = argv[i];
            if (flag == "--quick") {
                quick = true;
            } else if (flag == "--sample" && i + 1 < argc && std::atoi(argv[i + 1]) > 0) {
                quick = true;
                step = std::atoi(argv[++i]);
            } else if (flag == "--seed" && i + 1 < argc) {
                seed = std::strtoull(argv[++i], nullptr, 10);
            } else if (flag == "--cases" && i + 1 < argc) {
                cases = std::atoi(argv[++i]);
            } else {
                std::fprintf(stderr, "usage: %s [--quick | --sample N] [--seed N] [--cases N]\n", argv[0]);
                std::exit(2);
            }
        }
    }
};

int run(const Options& options) {
    if (!has_device()) {
        std::printf("skipped: no CUDA device\n");
        return kSkipped;
    }
    test_why_no_kernel();
    test_every_kind(options.step);
    test_sessions(options.seed, options.quick);
    test_uneven_heads();
    if (options.step == 1) test_nan_stays();
    if (options.quick) {
        test_graph(40, 20);
        test_streams(10);
    } else {
        for (int i = 1; i < 10; ++i) test_sessions(options.seed + i, false);
        test_random_cases(options.seed, options.cases);
        test_graph(10'000, 500);
        test_streams(300);
    }
    HOGWILD_CHECK(cudaDeviceSynchronize());
    std::printf("%s: %d cases, the largest error is %.2f of its bound\n",
                failures ? "FAILED" : "attention agrees with the host", cases, largest_error);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace
}  // namespace hogwild

int main(int argc, char** argv) { return hogwild::run(hogwild::Options(argc, argv)); }
