// Lengths and positions, which everything else waits for.
#pragma once

#include <cstdint>

#include "csrc/attention/attention.h"
#include "csrc/attention/config.h"
#include "csrc/params.h"

namespace hogwild::cuda {

// The integers of a call. They are copied to shared memory if they are few, since everything else waits for
// them.
struct Tables {
    const std::int32_t* group_tokens;
    const std::int32_t* group_blocks;
    const std::int32_t* block_lens;
    const std::int32_t* query_pos;
    const std::int32_t* rotary_pos;
    const std::int32_t* own_block;
};

// The tables of a call; in shared memory, at `to`, if there is room for them. All loads are under way before
// the first is waited for. By all threads; ends with a barrier, which the ring needs too.
__device__ inline Tables stage_tables(const AttentionParams& p, const AttentionLaunch& launch, int* to) {
    const std::int32_t* from[] = {p.group_tokens, p.group_blocks, p.block_lens,
                                  p.query_pos,    p.rotary_pos,   p.own_block};
    if (launch.staged_ints == 0) {
        __syncthreads();
        return {from[0], from[1], from[2], from[3], from[4], from[5]};
    }
    const int bounds = p.num_groups + 1;
    const int sizes[] = {bounds,       bounds,      p.num_blocks, p.num_tokens * p.num_columns,
                         p.num_tokens, p.num_tokens};
    int ends[6];
    int size = 0;
#pragma unroll
    for (int i = 0; i < 6; ++i) ends[i] = size += sizes[i];
    constexpr int kPerThread = kMaxStagedInts / kThreads;
    int staged[kPerThread];
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
        const int index = threadIdx.x + j * kThreads;
        const std::int32_t* array = from[0] + index;
#pragma unroll
        for (int i = 1; i < 6; ++i) {
            if (index >= ends[i - 1]) array = from[i] + (index - ends[i - 1]);
        }
        staged[j] = index < size ? __ldg(array) : 0;
    }
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
        const int index = threadIdx.x + j * kThreads;
        if (index < size) to[index] = staged[j];
    }
    __syncthreads();
    return {to, to + ends[0], to + ends[1], to + ends[2], to + ends[3], to + ends[4]};
}

}  // namespace hogwild::cuda
