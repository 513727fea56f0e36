// The kernel for one session whose keys are few: all that a CTA reads has room in shared memory, and is asked
// for at once. There is no ring, no list and no warp that only copies.
#pragma once

#include "csrc/attention/few_queries.cuh"
#include "csrc/attention/few_sums.cuh"
#include "csrc/attention/merge.cuh"

namespace hogwild::cuda {

// What is known before anything is: by all threads, integers, page numbers and the rotation are asked for.
// Behind a barrier they are there.
template <typename Traits>
__device__ inline void begin_few(const AttentionParams& p, const AttentionLaunch& launch,
                                 const StagedArrays& arrays, const FewLayout<Traits>& layout,
                                 const Partials<Traits>& partials) {
    const int worker = few_worker();
    const int lane = threadIdx.x % 32;
    constexpr int kArrays = StagedArrays::kCount;  // a warp each; the others have page numbers
    static_assert(kArrays < Traits::kComputeWarps);
    if (worker < 0) {
        prefetch_few<Traits>(p, launch);
    } else {
        if (worker < kArrays) {
            const StagedArray& array = arrays.at[worker];
#pragma unroll 1
            for (int i = lane; i < array.size; i += 32) {
                copy_word_async(shared_address(layout.staged() + array.begin + i), array.from + i);
            }
        } else {
            const int size = p.num_blocks * p.max_pages;
#pragma unroll 1
            for (int i = threadIdx.x - 32 * (kArrays + 1); i < size;
                 i += Traits::kComputeThreads - 32 * kArrays) {
                copy_word_async(shared_address(layout.pages() + i), p.block_table + i);
            }
        }
        const int part = launch.head_ctas.remainder(opaque(blockIdx.x));
        partials.clear(p.num_tokens * launch.ratio.divisor(), part == 0, worker);
    }
    wait_for_copies();
}

// Asks for the keys of a part, then for its values, which are two groups of copies. By the workers, half a
// run each.
template <typename Traits>
__device__ inline void ask_for_keys(const AttentionParams& p, const FewPart<Traits>& part,
                                    const FewLayout<Traits>& layout) {
    using T = typename Traits::T;
    const int lane = threadIdx.x % 32;
    const CachePolicy policy = CachePolicy::evict_first();
    constexpr int kParts = kRun * Traits::kChunks % 64 == 0 ? 2 : 1;  // of a run
    constexpr int kCopies = kRun * Traits::kChunks / 32 / kParts;
#pragma unroll 1
    for (int pass = 0; pass < 2; ++pass) {
        const T* const cache = static_cast<const T*>(pass == 0 ? p.cache.k : p.cache.v);
#pragma unroll 1
        for (int item = few_worker(); item < kParts * part.num_runs(); item += Traits::kComputeWarps) {
            const int i = item / kParts;
            const int block = part.block_of(i);
            const int key = part.key_of(block, i);
            const int valid = part.end_of(block) - key;
            const int page =
                layout
                    .pages()[(part.first_block + block) * p.max_pages + (key >> log2_of(p.cache.page_size))];
            const std::int64_t row =
                (std::int64_t{page} * p.cache.num_kv_heads + part.head) * p.cache.page_size +
                (key & (p.cache.page_size - 1));
            const T* const from = cache + row * Traits::kHeadDim;
            const std::uint32_t to = pass == 0 ? layout.keys(i) : layout.values(i);
#pragma unroll
            for (int copy = 0; copy < kCopies; ++copy) {
                const int chunk = lane + 32 * (copy + item % kParts * kCopies);
                const int run_row = chunk / Traits::kChunks;
                copy_async(to + Traits::offset(run_row, chunk % Traits::kChunks), from + chunk * 8,
                           run_row < valid, policy);
            }
        }
        commit_copies();
    }
}

// A part's sums, for others to merge. By the workers.
template <typename Traits>
__device__ inline void add_few(const AttentionParams& p, const AttentionLaunch& launch,
                               const Tables<Traits>& tables, const FewPart<Traits>& part,
                               const FewLayout<Traits>& layout, const Partials<Traits>& partials) {
    const int blocks = part.num_blocks();
    const int most = launch.few.blocks;  // whose rotated queries there is room for
    FewQueries<Traits> queries(p, launch, part, layout);
    FewSums<Traits> sums(p, launch, tables, part, layout);
    queries.ask(0, min(blocks, most));
    ask_for_keys(p, part, layout);
    int run = 0;
#pragma unroll 1
    for (int first = 0;; first += most) {
        const bool is_last = blocks <= first + most;
        queries.rotate(first, min(blocks - first, most));
        const int end = is_last ? part.num_runs() : part.first_run_of(part.block_of_rank(first + most));
        sums.add_scores(first, run, end);
        if (is_last) break;
        run = end;
        sync_workers<Traits>();  // nobody reads the rotated queries any more
        queries.ask(first + most, min(blocks - first - most, most));
    }
    wait_for_copies();
    sync_workers<Traits>();  // values, probabilities and softmaxes are there
    sums.write(partials);
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, 1)
    few_keys_kernel(const __grid_constant__ AttentionParams p, const __grid_constant__ AttentionLaunch launch,
                    const __grid_constant__ StagedArrays arrays, void* workspace) {
    init_workers<Traits>();
    const FewLayout<Traits> layout(launch);
    const Plan<Traits> plan(p, launch, layout.plan(), nullptr, layout.staged());
    const Partials<Traits> partials(launch, workspace);
    GridBarrier barrier(launch.num_ctas.divisor());
    begin_few(p, launch, arrays, layout, partials);
    barrier.arrive();
    const FewPart<Traits> part(p, launch, plan);
    if (few_worker() >= 0 && part.num_runs() > 0) add_few(p, launch, plan.tables, part, layout, partials);
    // The length of the line is all of the plan that is asked about then, and every warp knows it.
    PlanMemory known;
    known.line.length = part.all_runs;
    RowMerge<Traits>(p, launch, plan, known, workspace).merge_all(nullptr, barrier);
}

}  // namespace hogwild::cuda
