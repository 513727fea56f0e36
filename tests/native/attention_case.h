// Calls of hogwild::attention as a pool would make them, with everything poisoned that must not be read.
#pragma once

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <thread>
#include <vector>

#include "attention_shape.h"
#include "csrc/cpu/dtype.h"
#include "csrc/params.h"
#include "threads.h"

namespace hogwild {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A nearly normal number for every counter, so that threads can fill an array together.
inline float normal(std::uint64_t seed, std::uint64_t counter) {
    std::uint64_t x = seed + counter * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    const int sum = static_cast<int>((x & 0xffff) + (x >> 16 & 0xffff) + (x >> 32 & 0xffff) + (x >> 48));
    return static_cast<float>(sum - 2 * 0xffff) * (1.7320508f / 65536);  // of variance 1
}

inline cpu::Parallel all_threads() {
    return std_threads(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
}

struct AttentionCase {
    AttentionParams params{};    // the sizes; pointers are set by whoever calls an op
    std::vector<float> q, k, v;  // numbers that the dtype has
    std::vector<std::int32_t> block_table, block_lens, group_tokens, group_blocks;
    std::vector<std::int32_t> query_pos, rotary_pos, own_block;
    std::vector<float> rotation, sinks;

    // Of k and v: the row of a block's key.
    std::int64_t key_row(int block, int key, int kv_head) const {
        const Cache& cache = params.cache;
        const std::int64_t page = block_table[std::int64_t{block} * params.max_pages + key / cache.page_size];
        return (page * cache.num_kv_heads + kv_head) * cache.page_size + key % cache.page_size;
    }
    int page_of(int block, int index) const {
        return block_table[std::int64_t{block} * params.max_pages + index];
    }
    int pages_of(int block) const {
        return (block_lens[block] + params.cache.page_size - 1) / params.cache.page_size;
    }
    std::int64_t page_rows() const {
        return std::int64_t{params.cache.num_pages} * params.cache.num_kv_heads * params.cache.page_size;
    }
};

inline float rounded(float value, DType dtype) {
    return cpu::dispatch(dtype, [&](auto stored) {
        cpu::from_float(value, stored);
        return cpu::to_float(stored);
    });
}

// Numbers as they are in memory, and back.
inline std::vector<unsigned char> to_memory(const std::vector<float>& values, DType dtype) {
    return cpu::dispatch(dtype, [&](auto stored) {
        std::vector<unsigned char> memory(values.size() * sizeof stored);
        for (std::size_t i = 0; i < values.size(); ++i) {
            cpu::from_float(values[i], stored);
            std::memcpy(&memory[i * sizeof stored], &stored, sizeof stored);
        }
        return memory;
    });
}

inline std::vector<float> from_memory(const std::vector<unsigned char>& memory, DType dtype) {
    return cpu::dispatch(dtype, [&](auto stored) {
        std::vector<float> values(memory.size() / sizeof stored);
        for (std::size_t i = 0; i < values.size(); ++i) {
            std::memcpy(&stored, &memory[i * sizeof stored], sizeof stored);
            values[i] = cpu::to_float(stored);
        }
        return values;
    });
}

inline std::vector<float> frequencies(int half) {
    std::vector<float> inv_freq(half);
    for (int i = 0; i < half; ++i) inv_freq[i] = static_cast<float>(std::pow(1e4, -double(i) / half));
    return inv_freq;
}

// cos and sin of query_pos - rotary_pos. Columns beyond a group's blocks are NaN: nobody reads them.
inline void fill_rotation(AttentionCase& c) {
    const AttentionParams& p = c.params;
    const int half = p.rotary.half;
    const std::vector<float> inv_freq = frequencies(half);
    c.rotation.assign(c.query_pos.size() * 2 * half, kNaN);
    const auto fill = [&](int token, int columns) {
        for (int column = 0; column < columns; ++column) {
            const std::size_t entry = std::size_t(token) * p.num_columns + column;
            const bool seen = c.query_pos[entry] >= 0;
            const double offset = seen ? double(c.query_pos[entry]) - c.rotary_pos[token] : 0;
            float* row = c.rotation.data() + entry * 2 * half;
            for (int i = 0; i < half; ++i) {
                const double angle = offset * inv_freq[i];
                row[i] = static_cast<float>(std::cos(angle));
                row[half + i] = static_cast<float>(std::sin(angle));
            }
        }
    };
    for (int token = 0; token < c.group_tokens.front(); ++token) fill(token, p.num_columns);
    for (int token = c.group_tokens.back(); token < p.num_tokens; ++token) fill(token, p.num_columns);
    for (int group = 0; group < p.num_groups; ++group) {
        for (int token = c.group_tokens[group]; token < c.group_tokens[group + 1]; ++token)
            fill(token, c.group_blocks[group + 1] - c.group_blocks[group]);
    }
}

// Random keys and values in the first `length` entries of each block, NaN everywhere else.
inline void fill_pages(AttentionCase& c, std::uint64_t seed) {
    const Cache& cache = c.params.cache;
    const DType dtype = c.params.dtype;
    c.k.assign(c.page_rows() * cache.head_dim, kNaN);
    c.v.assign(c.page_rows() * cache.value_dim, kNaN);
    const cpu::Parallel threads = all_threads();
    for (int block = 0; block < c.params.num_blocks; ++block) {
        cpu::for_ranges(threads, c.block_lens[block], 256, [&](std::int64_t begin, std::int64_t end) {
            for (int key = static_cast<int>(begin); key < end; ++key) {
                for (int head = 0; head < cache.num_kv_heads; ++head) {
                    const std::size_t row = c.key_row(block, key, head);
                    for (std::size_t i = row * cache.head_dim; i < (row + 1) * cache.head_dim; ++i)
                        c.k[i] = rounded(normal(seed, i), dtype);
                    for (std::size_t i = row * cache.value_dim; i < (row + 1) * cache.value_dim; ++i)
                        c.v[i] = rounded(normal(~seed, i), dtype);
                }
            }
        });
    }
}

// Makes a case from a shape, in the order of the methods.
class AttentionCaseBuilder {
  public:
    explicit AttentionCaseBuilder(const AttentionShape& shape) : shape_(shape), random_(shape.seed) {
        AttentionParams& p = case_.params;
        p.dtype = shape.dtype;
        p.cache.num_kv_heads = shape.kv_heads;
        p.cache.page_size = shape.page_size;
        p.cache.head_dim = shape.head_dim;
        p.cache.value_dim = shape.value_dim;
        p.num_heads = shape.kv_heads * shape.ratio;
        p.num_groups = shape.groups;
        p.rotary = shape.rotary;
        p.window = shape.window;
        p.softcap = shape.softcap;
        p.scale = shape.scale;
    }

    AttentionCase build() {
        make_groups();
        make_positions();
        make_pages();
        make_queries();
        fill_rotation(case_);
        if (shape_.sinks) {
            const std::uint64_t seed = random_.seed();
            for (int head = 0; head < case_.params.num_heads; ++head)
                case_.sinks.push_back(2 * normal(seed, head));
        }
        return std::move(case_);
    }

  private:
    struct Token {
        int rotary_pos;
        int own_block;
        std::vector<int> query_pos;
    };

    void make_groups() {
        add_blocks_of_nobody();
        add_padding();
        for (int group = 0; group < shape_.groups; ++group) {
            case_.group_tokens.push_back(static_cast<int>(tokens_.size()));
            case_.group_blocks.push_back(static_cast<int>(case_.block_lens.size()));
            make_group(group == 0 ? shape_.long_block_tokens : 0);
        }
        case_.group_tokens.push_back(static_cast<int>(tokens_.size()));
        case_.group_blocks.push_back(static_cast<int>(case_.block_lens.size()));
        add_padding();
        if (tokens_.empty()) tokens_.push_back({0, -1, {}});
        add_blocks_of_nobody();
    }

    void add_blocks_of_nobody() {
        if (random_.one_in(6)) case_.block_lens.push_back(random_.pick(0, 40));
    }

    void add_padding() {
        if (!shape_.padding) return;
        for (int count = random_.pick(0, 3); count > 0; --count) tokens_.push_back({0, -1, {}});
    }

    // As docs/architecture.md has it: a query stands at the end of its view, all new tokens counted.
    void make_group(int long_block_tokens) {
        const int workers = random_.pick(shape_.min_workers, shape_.max_workers);
        const int blocks = workers + random_.pick(0, shape_.max_other_blocks);
        std::vector<int> order(blocks);
        std::iota(order.begin(), order.end(), 0);
        random_.shuffle(order);
        const std::vector<int> written(order.begin(), order.begin() + workers);  // by worker

        std::vector<int> lens(blocks);
        for (int& length : lens) length = random_.one_in(4) ? 0 : random_.pick(0, shape_.max_block_tokens);
        if (blocks > 0 && long_block_tokens > 0) lens[random_.pick(0, blocks - 1)] = long_block_tokens;
        std::vector<int> new_tokens(workers, 1);
        for (int& count : new_tokens)
            if (shape_.group_tokens == 0) count = random_.pick(1, shape_.max_new_tokens);
        for (int rest = shape_.group_tokens - workers; workers > 0 && rest > 0; --rest)
            ++new_tokens[random_.pick(0, workers - 1)];
        for (int worker = 0; worker < workers; ++worker) lens[written[worker]] += new_tokens[worker];

        const int first = static_cast<int>(tokens_.size());
        for (int worker = 0; worker < workers; ++worker) {
            std::vector<int> view;
            for (int block = 0; block < blocks; ++block)
                if (block == written[worker] || !random_.one_in(5)) view.push_back(block);
            random_.shuffle(view);
            std::vector<int> start(blocks, -1);
            int length = 0;
            for (const int block : view) {
                start[block] = length;
                length += lens[block];
            }
            const int far = random_.one_in(2) ? shape_.far : 0;
            const bool writes = !random_.one_in(12);  // else its last tokens are looked at once more
            for (int i = 0; i < new_tokens[worker]; ++i) {
                const int back = new_tokens[worker] - i;
                Token token{lens[written[worker]] - back, writes ? written[worker] : -1, {}};
                for (int block = 0; block < blocks; ++block)
                    token.query_pos.push_back(start[block] < 0 ? -1 : far + length - back - start[block]);
                tokens_.push_back(std::move(token));
            }
        }
        if (shape_.padding && workers > 0 && random_.one_in(2)) {
            const int at = random_.pick(first, static_cast<int>(tokens_.size()));
            tokens_.insert(tokens_.begin() + at, {0, -1, std::vector<int>(blocks, -1)});
        }
        case_.block_lens.insert(case_.block_lens.end(), lens.begin(), lens.end());
    }

    void make_positions() {
        AttentionParams& p = case_.params;
        p.num_tokens = static_cast<int>(tokens_.size());
        p.num_blocks = static_cast<int>(case_.block_lens.size());
        std::size_t columns = 0;
        for (const Token& token : tokens_) columns = std::max(columns, token.query_pos.size());
        for (int group = 0; group < p.num_groups; ++group) {
            const int blocks = case_.group_blocks[group + 1] - case_.group_blocks[group];
            columns = std::max(columns, std::size_t(blocks));
        }
        p.num_columns = static_cast<int>(columns) + random_.pick(0, 2);
        for (const Token& token : tokens_) {
            case_.rotary_pos.push_back(token.rotary_pos);
            case_.own_block.push_back(token.own_block);
            for (int column = 0; column < p.num_columns; ++column) {
                if (column < static_cast<int>(token.query_pos.size())) {
                    case_.query_pos.push_back(token.query_pos[column]);
                } else {  // -1 for padding; for others a column without a block, which may hold anything
                    case_.query_pos.push_back(token.query_pos.empty() ? -1 : random_.pick(-1, 1'000'000));
                }
            }
        }
    }

    void make_pages() {
        AttentionParams& p = case_.params;
        int needed = 0, most = 0;
        for (int block = 0; block < p.num_blocks; ++block) {
            needed += case_.pages_of(block);
            most = std::max(most, case_.pages_of(block));
        }
        p.cache.num_pages = needed + random_.pick(1, 4);
        p.max_pages = most + random_.pick(0, 2);
        std::vector<int> free(p.cache.num_pages);
        std::iota(free.begin(), free.end(), 0);
        random_.shuffle(free);
        for (int block = 0; block < p.num_blocks; ++block) {
            for (int index = 0; index < p.max_pages; ++index) {
                if (index < case_.pages_of(block)) {
                    case_.block_table.push_back(free.back());
                    free.pop_back();
                } else {
                    case_.block_table.push_back(random_.choose({1 << 30, -(1 << 30), INT_MAX, -1}));
                }
            }
        }
        fill_pages(case_, random_.seed());
    }

    // Rows farther apart than they are long, or heads before tokens in memory, as models hand them over.
    void make_queries() {
        AttentionParams& p = case_.params;
        const int row = p.cache.head_dim + 8 * random_.choose({0, 0, 1, 2});
        const bool heads_first = random_.one_in(2);
        p.q_head_stride = heads_first ? std::int64_t{p.num_tokens} * row : row;
        p.q_token_stride = heads_first ? row : std::int64_t{p.num_heads} * row;
        const std::uint64_t seed = random_.seed();
        case_.q.assign(std::size_t(p.num_tokens) * p.num_heads * row, kNaN);
        for (std::size_t i = 0; i < case_.q.size(); ++i)
            if (static_cast<int>(i % row) < p.cache.head_dim) case_.q[i] = rounded(normal(seed, i), p.dtype);
    }

    AttentionShape shape_;
    Random random_;
    AttentionCase case_;
    std::vector<Token> tokens_;
};

inline AttentionCase attention_case(const AttentionShape& shape) {
    return AttentionCaseBuilder(shape).build();
}

}  // namespace hogwild
