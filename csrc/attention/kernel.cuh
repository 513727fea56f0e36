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
    Plan plan(p, launch.num_ctas, launch.max_rows, launch.max_units, launch.block_cost, memory);
    plan.make();

    Loader<Traits> loader(p, plan, memory);
    Rows<Traits> rows(p, plan.tables);
    Role role(1, Traits::kTileKeys);
    const auto load_piece_queries = [&](const Piece& piece) {
        const Unit& unit = memory.units[piece.unit];
        load_queries<Traits>(p, unit, plan.first_token(unit), piece.head, queries);
    };
    for (;;) {  // over lists of pieces
        loader.start();
        for (int i = 0; i < num_stages - 1; ++i) {
            loader.issue(stage(i));
            commit_copies();
        }
        if (memory.num_pieces > 0 && memory.pieces[0].opens) load_piece_queries(memory.pieces[0]);

        TileCursor tile;
        tile.start(memory);
        int current = 0;
        bool enters = true;  // a block
        while (!tile.done(memory)) {
            wait_for_tile(num_stages);
            __syncthreads();  // the tile is there for all, and nobody reads the one before it any more
            loader.issue(stage(current == 0 ? num_stages - 1 : current - 1));
            commit_copies();

            const Piece piece = memory.pieces[tile.piece];
            const Unit unit = memory.units[piece.unit];
            if (enters) {
                if (piece.opens) {
                    if (tile.piece > 0) {
                        load_piece_queries(piece);
                        __syncthreads();
                    }
                    role = Role(unit.num_rows, Traits::kTileKeys);
                    rows.open(unit, plan.first_token(unit), role);
                }
                if (role.active()) rows.enter(piece.block, queries, role);
            }
            if (role.active()) rows.add(stage(current), tile.key, piece.end, role);

            const int before = tile.piece;
            tile.advance(memory, Traits::kTileKeys);
            enters = tile.piece != before;
            if (enters && piece.closes) {
                merge_slices(rows, role, stage(current));
                const std::int64_t start = unit.start + std::int64_t{piece.head} * unit.weight;
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
            current = current + 1 == num_stages ? 0 : current + 1;
        }
        wait_copies<0>();
        if (!memory.more_pieces) break;
        plan.next();
    }

    RowMerge<Traits> merge(p, plan, memory, partials);
    const std::int64_t num_rows = std::int64_t{p.num_tokens} * p.num_heads;
    std::int64_t row = std::int64_t{threadIdx.x / 32} * launch.num_ctas + blockIdx.x;
    if (row < num_rows) merge.find(row);
    if (launch.num_ctas > 1) cooperative_groups::this_grid().sync();
    while (row < num_rows) {
        merge.merge();
        row += std::int64_t{kWarps} * launch.num_ctas;
        if (row < num_rows) merge.find(row);
    }
}

}  // namespace hogwild::cuda
