// What the attention kernel, compiled once per instruction set, shares with its plan and its driver.
#pragma once

#include <algorithm>
#include <cstdint>

#include "csrc/params.h"

namespace hogwild::cpu {

class AttentionPlan;
struct RowTile;
struct Task;

// Keys of which scores are formed at a time: at most this many, and never across a page's end.
constexpr int kTileKeys = 64;

struct KeyRange {
    int begin;
    int end;
};

// The keys that a token sees in the `column`-th block of its group, of `length` tokens.
inline KeyRange visible_keys(const AttentionParams& params, int64_t token, int column, int length) {
    const int query_pos = params.query_pos[token * params.num_columns + column];
    if (query_pos < 0) return {0, 0};
    int last = std::min(query_pos, length - 1);
    if (params.own_block[token] == column) last = std::min(last, params.rotary_pos[token]);
    const bool windowed = params.window > 0 && query_pos >= params.window;
    return {windowed ? query_pos - params.window + 1 : 0, last + 1};
}

// A partial result, in floats: the rows' maxima, their denominators, and Dv vectors of their weighted values,
// each `row_stride` long.
inline int64_t partial_size(const Cache& cache, int row_stride) {
    return int64_t{row_stride} * (2 + cache.value_dim);
}

// A thread's scratch, in floats; AttentionScratch in attention_kernel.inl divides it.
inline int64_t scratch_size(const Cache& cache, int row_stride) {
    const int64_t widest = std::max(cache.head_dim, cache.value_dim);
    const int64_t row = (widest + 15) / 16 * 16;
    return row_stride * (int64_t{cache.head_dim} + kTileKeys + 3) + kTileKeys * row + row +
           partial_size(cache, row_stride);
}

struct AttentionKernel {
    // Runs one task and leaves its partial result.
    void (*accumulate)(const AttentionParams&, const AttentionPlan&, const Task&, float* scratch,
                       float* partial);
    // Merges `count` partial results of a row tile and kv head, in order, into out and lse.
    void (*finish)(const AttentionParams&, const RowTile&, int kv_head, float* partials, int count,
                   float* scratch);
};

namespace baseline {
AttentionKernel attention_kernel(DType dtype);
}
#if defined(__x86_64__)
namespace avx2 {
AttentionKernel attention_kernel(DType dtype);
}
namespace avx512 {
AttentionKernel attention_kernel(DType dtype);
}
#endif

}  // namespace hogwild::cpu
