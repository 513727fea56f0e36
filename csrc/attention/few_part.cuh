// What the CTAs of the kernel for few keys have in shared memory, and of the keys.
#pragma once

#include "csrc/attention/barrier.cuh"
#include "csrc/attention/layout.cuh"
#include "csrc/attention/plan.cuh"
#include "csrc/attention/softmax.cuh"

namespace hogwild::cuda {

// The first warp, whose first thread is busy with the grid's barrier for long, is no worker: -1. The others
// are counted from 0.
__device__ inline int few_worker() { return static_cast<int>(threadIdx.x / 32) - 1; }

// Between the workers alone. racecheck loses track of named barriers, see barrier.cuh.
template <typename Traits>
__device__ inline void init_workers() {
#ifdef HOGWILD_RACECHECK
    if (threadIdx.x == 0) reinterpret_cast<Barrier*>(shared_memory)->init(Traits::kComputeThreads);
#endif
}
template <typename Traits>
__device__ inline void sync_workers() {
#ifdef HOGWILD_RACECHECK
    reinterpret_cast<Barrier*>(shared_memory)->sync();
#else
    asm volatile("bar.sync 1, %0;" ::"n"(Traits::kComputeThreads) : "memory");
#endif
}

// Shared memory: keys, values, rotated queries of some blocks, and for each slab of rows and run of keys what
// softmax has made of their scores.
template <typename Traits>
class FewLayout {
  public:
    __device__ explicit FewLayout(const AttentionLaunch& launch) : launch(launch) {}

    __device__ static PlanMemory& plan() { return *reinterpret_cast<PlanMemory*>(shared_memory); }
    __device__ std::uint32_t keys(int run) const {
        return shared_address(shared_memory + kFewKeysAt) + run * kRun * Traits::kRowBytes;
    }
    __device__ std::uint32_t values(int run) const { return keys(launch.few.runs + run); }
    // Those of a block.
    __device__ unsigned char* queries(int rank) const {
        return shared_memory + launch.queries_at + rank * launch.few.slabs * Traits::kSlabBytes;
    }
    // Four registers of each lane, as mma wants its A.
    __device__ uint4* probabilities(int slab, int run) const {
        return reinterpret_cast<uint4*>(shared_memory + launch.few.probabilities_at) + index(slab, run) * 32 +
               threadIdx.x % 32;
    }
    __device__ Softmax* softmaxes(int slab, int run) const {  // of each row
        return reinterpret_cast<Softmax*>(shared_memory + launch.few.softmaxes_at) + index(slab, run) * kSlab;
    }
    __device__ int* pages() const { return reinterpret_cast<int*>(shared_memory + launch.few.pages_at); }
    __device__ int* staged() const { return reinterpret_cast<int*>(shared_memory + launch.staged_at); }

  private:
    __device__ int index(int slab, int run) const { return slab * launch.few.runs + run; }

    const AttentionLaunch& launch;
};

// The runs of a kv head stand one after the other, block by block, and are divided evenly among its CTAs:
// entering a block costs next to nothing here. What this CTA has of them; a lane knows of a block.
template <typename Traits>
class FewPart {
  public:
    __device__ FewPart(const AttentionParams& p, const AttentionLaunch& launch, const Plan<Traits>& plan) {
        const int lane = threadIdx.x % 32;
        const auto& tables = plan.tables;
        const int cta = launch.head_ctas.remainder(opaque(blockIdx.x));
        head = launch.head_ctas.quotient(opaque(blockIdx.x));
        first_token = tables.staged_group_tokens()[0];
        num_tokens = tables.staged_group_tokens()[1] - first_token;
        first_block = tables.staged_group_blocks()[0];
        KeyRange keys{0, 0};
        if (lane < tables.staged_group_blocks()[1] - first_block) {
            const int* position = tables.staged_query_pos() + first_token * p.num_columns + lane;
            keys = plan.seen(tables.staged_block_lens()[first_block + lane], num_tokens,
                             [&](int t) { return position[t * p.num_columns]; });
        }
        const int runs = keys.runs();
        end_run = inclusive_sum(runs);
        first_run = end_run - runs;
        first_key = keys.begin - first_run * kRun;
        end_key = keys.end;
        all_runs = __shfl_sync(~0u, end_run, 31);
        const Line line(all_runs, launch.head_ctas);
        begin = line.begin_of(cta, launch.head_ctas);
        end = line.begin_of(cta + 1, launch.head_ctas);
        used = __ballot_sync(~0u, max(first_run, begin) < min(end_run, end));
    }

    int head;  // kv head
    int first_token;
    int num_tokens;
    int first_block;
    int all_runs;  // of a head; of fewer than it has CTAs, the first ones have one each

    __device__ int num_runs() const { return end - begin; }
    __device__ int num_blocks() const { return __popc(used); }  // that have runs in the part

    // Of the part's i-th run, by all lanes of a warp.
    __device__ int block_of(int i) const { return __popc(__ballot_sync(~0u, end_run <= begin + i)); }
    __device__ int key_of(int block, int i) const {
        return __shfl_sync(~0u, first_key, block) + (begin + i) * kRun;
    }
    // Of a block: where its keys end, and the first of its runs in the part.
    __device__ int end_of(int block) const { return __shfl_sync(~0u, end_key, block); }
    __device__ int first_run_of(int block) const { return __shfl_sync(~0u, first_run, block) - begin; }

    // How many blocks of the part come before one, and the other way round.
    __device__ int rank_of(int block) const { return __popc(used & ((1u << block) - 1)); }
    __device__ int block_of_rank(int rank) const {
        unsigned left = used;
        for (; rank > 0; --rank) left &= left - 1;
        return __ffs(left) - 1;
    }

  private:
    // Of the lane's block: its runs among those of the head, the first key of the head's first run if that
    // were the block's, and the end of what is seen of it.
    int first_run;
    int end_run;
    int first_key;
    int end_key;
    // Of the part, among the head's runs.
    int begin;
    int end;
    unsigned used;  // a bit for each block
};

}  // namespace hogwild::cuda
