// Lengths and positions, which everything else waits for.
#pragma once

#include <cstdint>

#include "csrc/attention/attention.h"
#include "csrc/attention/config.h"
#include "csrc/attention/mma.cuh"
#include "csrc/attention/traits.cuh"
#include "csrc/params.h"

namespace hogwild::cuda {

// An array of integers that is copied to shared memory, and its place there.
struct StagedArray {
    const std::int32_t* from;
    int begin;
    int size;
};

// All of a call's, for the kernel: looked up by index, so that each warp copies one by the same few
// instructions.
struct StagedArrays {
    static constexpr int kCount = 6;
    StagedArray at[kCount];

    explicit StagedArrays(const AttentionParams& p) {
        // Of a call that is too large to be staged, it does not matter.
        const auto columns = static_cast<int>(std::int64_t{p.num_tokens} * p.num_columns);
        int begin = 0;
        int i = 0;
        const auto add = [&](const std::int32_t* from, int size) {
            at[i++] = {from, begin, size};
            begin += size;
        };
        add(p.group_tokens, p.num_groups + 1);
        add(p.group_blocks, p.num_groups + 1);
        add(p.block_lens, p.num_blocks);
        add(p.rotary_pos, p.num_tokens);
        add(p.own_block, p.num_tokens);
        add(p.query_pos, columns);
    }
};

// The integers of a call. They are copied to shared memory if they are few, since everything else waits for
// them.
template <typename Traits>
class Tables {
  public:
    // `memory` is shared memory for launch.staged_ints integers.
    __device__ Tables(const AttentionParams& params, const AttentionLaunch& launch, int* memory)
        : p(params), launch(launch), memory(memory) {}

    // Copies them, and does what else there is to do, `meanwhile`, before it waits for them. By all threads,
    // before a barrier.
    template <typename Meanwhile>
    __device__ void stage(const StagedArrays& arrays, Meanwhile meanwhile) {
        if (is_staged()) {
            // Each array by some warps: one after the other they would take longer to ask for than to come.
            constexpr int kEach = 32 * (Traits::kWarps / StagedArrays::kCount);
            static_assert(kEach > 0);
            const int index = threadIdx.x / kEach;
            if (index < StagedArrays::kCount) {
                const StagedArray& array = arrays.at[index];
#pragma unroll 1
                for (int i = threadIdx.x % kEach; i < array.size; i += kEach) {
                    copy_word_async(shared_address(memory + array.begin + i), array.from + i);
                }
            }
        }
        meanwhile();
        wait_for_copies();
    }

    __device__ int group_token(int group) const { return get(p.group_tokens, 0, group); }
    __device__ int group_block(int group) const { return get(p.group_blocks, groups_end(), group); }
    __device__ int block_len(int block) const { return get(p.block_lens, block_lens_at(), block); }
    __device__ int rotary_pos(int token) const { return get(p.rotary_pos, rotary_pos_at(), token); }
    __device__ int own_block(int token) const { return get(p.own_block, own_block_at(), token); }
    __device__ int query_pos(int token, int column) const {
        return is_staged() ? memory[query_pos_at() + token * p.num_columns + column]
                           : __ldg(p.query_pos + std::int64_t{token} * p.num_columns + column);
    }

    __device__ bool is_staged() const { return Traits::kOneSession || launch.staged_ints != 0; }
    // Those of a call of one session, which are in shared memory.
    __device__ const int* staged_group_tokens() const { return memory; }
    __device__ const int* staged_group_blocks() const { return memory + 2; }
    __device__ const int* staged_block_lens() const { return memory + 4; }
    __device__ const int* staged_query_pos() const { return memory + query_pos_at(); }

  private:
    __device__ int get(const std::int32_t* array, int begin, int index) const {
        return is_staged() ? memory[begin + index] : __ldg(array + index);
    }

    __device__ int groups_end() const { return p.num_groups + 1; }
    __device__ int block_lens_at() const { return 2 * (p.num_groups + 1); }
    __device__ int rotary_pos_at() const { return block_lens_at() + p.num_blocks; }
    __device__ int own_block_at() const { return rotary_pos_at() + p.num_tokens; }
    __device__ int query_pos_at() const { return own_block_at() + p.num_tokens; }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    int* const memory;
};

}  // namespace hogwild::cuda
