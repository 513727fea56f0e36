// The kernel: plan, pipeline over the tiles of a CTA's pieces, reduction over splits. docs/kernel.md explains
// it.
#pragma once

#include <cooperative_groups.h>

#include "csrc/attention/attention.h"
#include "csrc/attention/loader.cuh"
#include "csrc/attention/merge.cuh"

namespace hogwild::cuda {

__device__ inline void wait_for_tile(int num_stages) {
    switch (num_stages) {  // all but the newest num_stages - 2
        case 2:
            return wait_copies<0>();
        case 3:
            return wait_copies<1>();
        case 4:
            return wait_copies<2>();
        case 5:
            return wait_copies<3>();
        default:
            static_assert(kMaxStages == 6);
            return wait_copies<4>();
    }
}

// What everything that follows the plan reads, brought to L2 while it is made: by one CTA each line.
__device__ inline void prefetch_tables(const AttentionParams& p, int num_ctas) {
    const int first = blockIdx.x + num_ctas * threadIdx.x;
    constexpr int kLine = 128;
    const auto lines = [&](const void* from, std::int64_t bytes) {
        if (from && std::int64_t{first} * kLine < bytes)
            prefetch_l2(static_cast<const char*>(from) + first * kLine);
    };
    lines(p.block_table, std::int64_t{p.num_blocks} * p.max_pages * sizeof(std::int32_t));
    lines(p.rotation, std::int64_t{p.num_tokens} * p.num_columns * 2 * p.rotary.half * sizeof(float));
    const int head_lines = (p.cache.head_dim * 2 + kLine - 1) / kLine;
    const int token = first / head_lines / p.num_heads;
    const int head = first / head_lines % p.num_heads;
    if (token < p.num_tokens) {
        const std::int64_t at = token * p.q_token_stride + head * p.q_head_stride;
        prefetch_l2(static_cast<const char*>(p.q) + at * 2 + first % head_lines * kLine);
    }
}

template <typename Traits>
__global__ void __launch_bounds__(kThreads, 1)
    attention_kernel(const __grid_constant__ AttentionParams p,
                     const __grid_constant__ AttentionLaunch launch, void* workspace) {
    extern __shared__ __align__(1024) unsigned char shared[];
    const int num_stages = launch.num_stages;
    unsigned char* queries = shared + num_stages * Traits::kStageBytes;
    auto& memory = *reinterpret_cast<PlanMemory*>(queries + launch.max_rows * Traits::kRowBytes);
    const auto stage = [&](int index) { return shared + index * Traits::kStageBytes; };
    const Partials partials(workspace, launch.num_ctas, launch.max_rows, Traits::kHeadDim);

    prefetch_tables(p, launch.num_ctas);
    Plan plan(p, launch, memory);
    plan.make();

    Rows<Traits> rows(p, plan.tables);
    Role role(1, Traits::kTileKeys);
    do {
        plan.list_pieces();
        Loader<Traits> loader(p, plan, memory);
        TileCursor tile(memory);
        bool enters = true;  // a block
        // The loader looks a tile up, issues its copies in the next round, and is num_stages rounds ahead of
        // the tile that is used.
        int issued_to = num_stages - 1;
        int used = 0;
        for (int round = -num_stages; !tile.done(memory); ++round) {
            const Piece piece = memory.pieces[tile.piece];
            const Unit unit = memory.units[piece.unit];
            if (round >= 0) {
                if (enters) {
                    if (round > 0) __syncthreads();  // nobody reads the queries of the block before any more
                    rotate_queries<Traits>(p, unit, plan.first_token(unit), piece.head, piece.block, queries);
                }
                wait_for_tile(num_stages);
                __syncthreads();  // the tile is there for all, and nobody reads the one before it any more
            }
            loader.issue(stage(issued_to));
            commit_copies();
            issued_to = issued_to + 1 == num_stages ? 0 : issued_to + 1;
            if (round < 0) continue;

            if (enters && piece.opens) {
                role = Role(unit.num_rows, Traits::kTileKeys);
                rows.open(unit, plan.first_token(unit), role);
            }
            if (role.active()) {
                if (enters) rows.enter(piece.block, queries, role);
                rows.add(stage(used), tile.key, piece.end, role);
            }
            const int before = tile.piece;
            tile.advance(memory, Traits::kTileKeys);
            enters = tile.piece != before;
            if (enters && piece.closes) {
                merge_slices(rows, role, stage(used));
                const int start = unit.start + piece.head * unit.weight;
                const bool began_before = start < memory.begin;
                const bool goes_on = start + unit.weight > memory.end;
                if (role.slice == 0) {
                    if (began_before || goes_on) {
                        write_partial(partials, rows, !began_before, role);
                    } else {
                        write_output(p, rows, unit, piece.head, role);
                    }
                }
            }
            used = used + 1 == num_stages ? 0 : used + 1;
        }
        wait_copies<0>();
        __syncthreads();
    } while (memory.more_pieces);

    RowMerge<Traits> merge(p, plan, memory, partials);
    const int num_rows = p.num_tokens * p.num_heads;
    bool waited = launch.num_ctas == 1;
    for (int row = threadIdx.x / 32 * launch.num_ctas + blockIdx.x;; row += kWarps * launch.num_ctas) {
        if (row < num_rows) merge.find(row);
        if (!waited) cooperative_groups::this_grid().sync();
        waited = true;
        if (row >= num_rows) break;
        merge.merge();
    }
}

}  // namespace hogwild::cuda
