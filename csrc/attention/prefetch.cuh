// What the kernel reads first, brought to L2 as soon as its place is known.
#pragma once

#include "csrc/attention/attention.h"
#include "csrc/attention/mma.cuh"
#include "csrc/attention/ring.cuh"

namespace hogwild::cuda {

// What everything that follows the plan reads, brought to L2 while it is made: by one CTA each line.
__device__ inline void prefetch_tables(const AttentionParams& p, const AttentionLaunch& launch) {
    const int first = blockIdx.x + launch.num_ctas.divisor() * threadIdx.x;
    constexpr int kLine = 128;
    const auto lines = [&](const void* from, std::int64_t bytes) {
        const std::int64_t at = std::int64_t{first} * kLine;
        if (from && at < bytes) prefetch_l2(static_cast<const char*>(from) + at);
    };
    lines(p.block_table, std::int64_t{p.num_blocks} * p.max_pages * sizeof(std::int32_t));
    lines(p.rotation, std::int64_t{p.num_tokens} * p.num_columns * 2 * p.rotary.half * sizeof(float));
    if (first < p.num_tokens * p.num_heads) {
        const int token = launch.num_heads.quotient(first);
        const std::int64_t at =
            token * p.q_token_stride + launch.num_heads.remainder(first) * p.q_head_stride;
        const char* row = static_cast<const char*>(p.q) + at * 2;
        for (int byte = 0; byte < p.cache.head_dim * 2; byte += kLine) prefetch_l2(row + byte);
    }
}

// Keys and values, while the list of pieces is made: device memory would have nothing to do until then. Those
// of the group's longest block with which this CTA's part begins, if all blocks are seen and all groups weigh
// the same. Where that is not so, another CTA reads them later. By the computing warps, 16 keys each.
template <typename Traits>
__device__ inline void prefetch_keys(const AttentionParams& p, const AttentionLaunch& launch,
                                     const Tables<Traits>& tables) {
    // Of a long block, a window may leave little.
    const int num_groups = Traits::kOneSession ? 1 : p.num_groups;
    if (p.window > 0 || num_groups == 0) return;
    const int lane = threadIdx.x % 32;
    const Divisor& num_ctas = launch.num_ctas;
    const int place = blockIdx.x * num_groups;  // on a line of num_ctas a group
    const int group = Traits::kOneSession ? 0 : num_ctas.quotient(place);
    const int in_group = (place - group * num_ctas.divisor()) * p.cache.num_kv_heads;
    const int head = num_ctas.quotient(in_group);
    const int in_head = in_group - head * num_ctas.divisor();
    const int first_block = tables.group_block(group);
    const int num_blocks = min(tables.group_block(group + 1) - first_block, 32);
    const int length = lane < num_blocks ? tables.block_len(first_block + lane) : 0;
    const int cost = length > 0 ? (length + kRun - 1) / kRun + launch.block_cost : 0;
    const int longest = __reduce_max_sync(~0u, length);
    const int block = __ffs(__ballot_sync(~0u, length == longest)) - 1;
    const int before = __reduce_add_sync(~0u, lane < block ? cost : 0) + launch.block_cost;
    const int weight = __reduce_add_sync(~0u, cost);
    const int warp = compute_warp<Traits>();
    const int run = max(num_ctas.quotient(weight * in_head) - before, 0) + warp;
    const int key = run * kRun;
    // More would be in the way of what is needed first, which takes longer with several sessions. A line that
    // is too long for this product gives any key.
    constexpr int kPrefetchingWarps = Traits::kOneSession ? 6 : 10;
    if (warp >= kPrefetchingWarps || key < 0 || key >= longest) return;
    const int page = __ldg(p.block_table + std::int64_t{first_block + block} * p.max_pages +
                           (key >> log2_of(p.cache.page_size)));
    const std::int64_t row = (std::int64_t{page} * p.cache.num_kv_heads + head) * p.cache.page_size +
                             (key & (p.cache.page_size - 1));
    constexpr int kRowBytes = Traits::kHeadDim * 2;  // in device memory
    prefetch_l2<kRun * kRowBytes>(static_cast<const char*>(p.cache.k) + row * kRowBytes);
    prefetch_l2<kRun * kRowBytes>(static_cast<const char*>(p.cache.v) + row * kRowBytes);
}

}  // namespace hogwild::cuda
