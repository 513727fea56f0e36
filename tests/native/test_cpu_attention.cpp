// csrc/cpu's attention, for every instruction set of this machine, against plain loops in fp64.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "csrc/cpu/attention_plan.h"
#include "csrc/cpu/dtype.h"
#include "csrc/cpu/ops.h"
#include "threads.h"

using namespace hogwild;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// One call, with its tensors. Pages and tails that no block holds are NaN.
template <typename T>
struct Case {
    explicit Case(int seed) : random(seed) {
        AttentionParams& p = params;
        p.cache.num_kv_heads = pick(1, 3);
        p.cache.page_size = pick(1, 40);
        p.cache.head_dim = pick(2, 70);
        p.cache.value_dim = pick(1, 70);
        p.num_heads = p.cache.num_kv_heads * pick(1, 9);
        p.num_groups = pick(1, 3);
        p.rotary = {pick(0, p.cache.head_dim / 2), 0, pick(0, 1) == 1};
        p.rotary.start = pick(0, p.cache.head_dim - 2 * p.rotary.half);
        p.scale = 1 / std::sqrt(static_cast<float>(p.cache.head_dim));
        p.window = pick(0, 2) == 0 ? pick(1, 60) : 0;
        p.softcap = pick(0, 2) == 0 ? 3.0f : 0;
        p.num_columns = 4;
        make_groups();
        make_pages();
        fill(q, int64_t{p.num_tokens} * p.num_heads * p.cache.head_dim);
        p.q_head_stride = p.cache.head_dim;
        p.q_token_stride = int64_t{p.num_heads} * p.cache.head_dim;
        for (int64_t i = 0; i < int64_t{p.num_tokens} * p.num_columns; ++i) {
            for (int row = 0; row < 2; ++row) {
                for (int j = 0; j < p.rotary.half; ++j) {
                    const double angle = 0.7 * i + 1.3 * j;
                    rotation.push_back(static_cast<float>(row == 0 ? std::cos(angle) : std::sin(angle)));
                }
            }
        }
        if (pick(0, 1) == 1) {
            for (int head = 0; head < p.num_heads; ++head) sinks.push_back(number());
            p.sinks = sinks.data();
        }
        p.dtype = std::is_same_v<T, float> ? DType::kFloat32
                                           : (std::is_same_v<T, BFloat> ? DType::kBFloat16 : DType::kFloat16);
        p.q = q.data();
        p.cache.k = k.data();
        p.cache.v = v.data();
        p.block_table = table.data();
        p.block_lens = lens.data();
        p.group_tokens = group_tokens.data();
        p.group_blocks = group_blocks.data();
        p.query_pos = query_pos.data();
        p.rotary_pos = rotary_pos.data();
        p.own_block = own_block.data();
        p.rotation = p.rotary.half > 0 ? rotation.data() : nullptr;
        out.resize(int64_t{p.num_tokens} * p.num_heads * p.cache.value_dim);
        lse.resize(int64_t{p.num_tokens} * p.num_heads);
        p.out = out.data();
        p.lse = lse.data();
    }

    using BFloat = cpu::BFloat16;

    int pick(int first, int last) { return std::uniform_int_distribution<int>(first, last)(random); }

    float number() { return std::normal_distribution<float>()(random); }

    void fill(std::vector<T>& values, int64_t count) {
        values.resize(count);
        for (T& value : values) cpu::from_float(number(), value);
    }

    void make_groups() {
        group_tokens = group_blocks = {0};
        for (int group = 0; group < params.num_groups; ++group) {
            const int num_blocks = pick(0, params.num_columns);
            for (int block = 0; block < num_blocks; ++block)
                lens.push_back(pick(0, 3) == 0 ? 0 : pick(1, 700));
            const int num_tokens = pick(0, 1) == 0 ? pick(0, 4) : pick(0, 60);
            for (int token = 0; token < num_tokens; ++token) {
                for (int column = 0; column < params.num_columns; ++column)
                    query_pos.push_back(pick(-1, 800));
                rotary_pos.push_back(pick(0, 700));
                own_block.push_back(pick(-1, num_blocks - 1));
            }
            group_tokens.push_back(group_tokens.back() + num_tokens);
            group_blocks.push_back(static_cast<int>(lens.size()));
        }
        params.num_blocks = static_cast<int>(lens.size());
        params.num_tokens = group_tokens.back();
    }

    void make_pages() {
        Cache& cache = params.cache;
        params.max_pages = 700 / cache.page_size + 2;
        table.assign(int64_t{params.num_blocks} * params.max_pages, std::numeric_limits<int32_t>::min());
        cache.num_pages = 1;  // the first one belongs to nobody
        for (int block = 0; block < params.num_blocks; ++block) {
            for (int page = 0; page * cache.page_size < lens[block]; ++page) {
                table[block * params.max_pages + page] = cache.num_pages++;
            }
        }
        const int64_t rows = int64_t{cache.num_pages} * cache.num_kv_heads * cache.page_size;
        T poison;
        cpu::from_float(kNaN, poison);
        k.assign(rows * cache.head_dim, poison);
        v.assign(rows * cache.value_dim, poison);
        for (int block = 0; block < params.num_blocks; ++block) {
            for (int key = 0; key < lens[block]; ++key) {
                for (int head = 0; head < cache.num_kv_heads; ++head) {
                    const int64_t row = key_row(block, key, head);
                    for (int d = 0; d < cache.head_dim; ++d)
                        cpu::from_float(number(), k[row * cache.head_dim + d]);
                    for (int d = 0; d < cache.value_dim; ++d)
                        cpu::from_float(number(), v[row * cache.value_dim + d]);
                }
            }
        }
    }

    int64_t key_row(int block, int key, int kv_head) const {
        const Cache& cache = params.cache;
        const int64_t page = table[block * params.max_pages + key / cache.page_size];
        return (page * cache.num_kv_heads + kv_head) * cache.page_size + key % cache.page_size;
    }

    std::mt19937 random;
    AttentionParams params{};
    std::vector<T> q, k, v, out;
    std::vector<float> rotation, sinks, lse;
    std::vector<int32_t> table, lens, group_tokens, group_blocks, query_pos, rotary_pos, own_block;
};

std::vector<double> rotated(const AttentionParams& p, std::vector<double> x, const float* table) {
    const int step = p.rotary.interleaved ? 2 : 1, other = p.rotary.interleaved ? 1 : p.rotary.half;
    for (int i = 0; i < p.rotary.half; ++i) {
        double& a = x[p.rotary.start + i * step];
        double& b = x[p.rotary.start + i * step + other];
        const double cos = table[i], sin = table[p.rotary.half + i], first = a;
        a = first * cos - b * sin;
        b = first * sin + b * cos;
    }
    return x;
}

struct Expected {
    std::vector<double> out;
    double lse;
};

template <typename T>
Expected expected(const Case<T>& c, int group, int token, int head) {
    const AttentionParams& p = c.params;
    const Cache& cache = p.cache;
    const int kv_head = head / (p.num_heads / cache.num_kv_heads);
    std::vector<double> query;
    for (int d = 0; d < cache.head_dim; ++d) {
        query.push_back(cpu::to_float(c.q[token * p.q_token_stride + head * p.q_head_stride + d]));
    }
    std::vector<double> out(cache.value_dim);
    double denominator = p.sinks ? std::exp(static_cast<double>(p.sinks[head])) : 0;
    for (int block = p.group_blocks[group]; block < p.group_blocks[group + 1]; ++block) {
        const int column = block - p.group_blocks[group];
        const int64_t entry = int64_t{token} * p.num_columns + column;
        const std::vector<double> turned = rotated(p, query, c.rotation.data() + entry * 2 * p.rotary.half);
        for (int key = 0; key < p.block_lens[block] && key <= p.query_pos[entry]; ++key) {
            if (p.window > 0 && p.query_pos[entry] - key >= p.window) continue;
            if (p.own_block[token] == column && key > p.rotary_pos[token]) continue;
            const int64_t row = c.key_row(block, key, kv_head);
            double score = 0;
            for (int d = 0; d < cache.head_dim; ++d)
                score += turned[d] * cpu::to_float(c.k[row * cache.head_dim + d]);
            score *= p.scale;
            if (p.softcap > 0) score = std::tanh(score / p.softcap) * p.softcap;
            const double weight = std::exp(score);
            denominator += weight;
            for (int d = 0; d < cache.value_dim; ++d)
                out[d] += weight * cpu::to_float(c.v[row * cache.value_dim + d]);
        }
    }
    for (double& value : out) value = denominator > 0 ? value / denominator : 0;
    return {out, std::log(denominator)};
}

void run(const AttentionParams& params, const cpu::Parallel& threads, cpu::Isa isa) {
    const cpu::AttentionPlan plan(params);
    std::vector<float> workspace(cpu::attention_workspace(plan, threads) + 16, kNaN);
    void* aligned = workspace.data();
    size_t space = workspace.size() * sizeof(float);
    std::align(64, 1, aligned, space);
    cpu::attention(params, plan, threads, static_cast<float*>(aligned), isa);
}

template <typename T>
void compare(Case<T>& c, int seed, cpu::Isa isa, double rounding) {
    const AttentionParams& p = c.params;
    const char* name = cpu::isa_name(isa);
    run(p, std_threads(3, 1), isa);  // however small the tasks are
    for (int group = 0; group < p.num_groups; ++group) {
        for (int token = p.group_tokens[group]; token < p.group_tokens[group + 1]; ++token) {
            for (int head = 0; head < p.num_heads; ++head) {
                const Expected e = expected(c, group, token, head);
                const int64_t row = int64_t{token} * p.num_heads + head;
                for (int d = 0; d < p.cache.value_dim; ++d) {
                    const double actual = cpu::to_float(c.out[row * p.cache.value_dim + d]);
                    const double tolerance = 2e-6 + rounding * std::abs(e.out[d]);
                    CHECK(std::abs(actual - e.out[d]) <= tolerance,
                          "%s, seed %d: out[%d, %d, %d] is %g, not %g", name, seed, token, head, d, actual,
                          e.out[d]);
                }
                CHECK(p.lse[row] == e.lse || std::abs(p.lse[row] - e.lse) <= 4e-6,
                      "%s, seed %d: lse[%d, %d] is %g, not %g", name, seed, token, head, p.lse[row], e.lse);
            }
        }
    }
    const std::vector<T> out = c.out;
    const std::vector<float> lse = c.lse;
    for (const cpu::Parallel& threads : {std_threads(1), std_threads(2)}) {
        run(p, threads, isa);
        CHECK(std::memcmp(out.data(), c.out.data(), out.size() * sizeof(T)) == 0 &&
                  std::memcmp(lse.data(), c.lse.data(), lse.size() * sizeof(float)) == 0,
              "%s, seed %d: %d threads give other bits than three", name, seed, threads.num_threads);
    }
}

template <typename T>
void test_type(double rounding) {
    for (cpu::Isa isa : {cpu::Isa::kBaseline, cpu::Isa::kAvx2, cpu::Isa::kAvx512}) {
        if (!cpu::isa_supported(isa)) continue;
        for (int seed = 0; seed < 40; ++seed) {
            Case<T> c(seed);
            compare(c, seed, isa, rounding);
        }
    }
}

// Threads are woken for enough work only: the caller of `run` counts them.
void test_number_of_threads() {
    static int woken;
    const auto run_here = [](int count, const std::function<void(int)>& body) {
        woken = count;
        for (int i = 0; i < count; ++i) body(i);
    };
    int seed = 0;
    while (cpu::AttentionPlan(Case<float>(seed).params).tasks().size() < 3) ++seed;
    Case<float> c(seed);
    const int64_t work = cpu::AttentionPlan(c.params).multiply_adds();
    const struct {
        int64_t min_work;
        int expected;
    } limits[] = {{1, 3}, {work / 2, 2}, {work, 1}, {work + 1, 1}};
    for (const auto& limit : limits) {
        run(c.params, {3, run_here, limit.min_work}, cpu::Isa::kBaseline);
        CHECK(woken == limit.expected, "%d threads, not %d", woken, limit.expected);
    }
}

}  // namespace

void test_attention() {
    test_number_of_threads();
    test_type<float>(0);
    test_type<cpu::BFloat16>(1.0 / 256);
    test_type<cpu::Float16>(1.0 / 2048);
}
