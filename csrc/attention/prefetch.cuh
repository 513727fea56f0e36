// What the kernel reads first, brought to L2 at its very beginning.
#pragma once

#include "csrc/attention/attention.h"
#include "csrc/attention/mma.cuh"

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
    const int token = launch.num_heads.quotient(first);
    if (token < p.num_tokens) {
        const std::int64_t at =
            token * p.q_token_stride + launch.num_heads.remainder(first) * p.q_head_stride;
        const char* row = static_cast<const char*>(p.q) + at * 2;
        for (int byte = 0; byte < p.cache.head_dim * 2; byte += kLine) prefetch_l2(row + byte);
    }
}

}  // namespace hogwild::cuda
