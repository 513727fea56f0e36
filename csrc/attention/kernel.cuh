// The kernel: plan, pipeline over the tiles of a CTA's pieces, reduction over splits. docs/kernel.md explains
// it.
#pragma once

#include <cooperative_groups.h>

#include "csrc/attention/attention.h"
#include "csrc/attention/merge.cuh"
#include "csrc/attention/ring.cuh"

namespace hogwild::cuda {

// What everything that follows the plan reads, brought to L2 while it is made: by one CTA each line.
__device__ inline void prefetch_tables(const AttentionParams& p, const AttentionLaunch& launch) {
    const int first = blockIdx.x + launch.num_ctas * threadIdx.x;
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

// Uses the items of the ring, in the order in which they come.
template <typename Traits>
class Computation {
  public:
    __device__ Computation(const AttentionParams& params, const AttentionLaunch& launch, const Plan& plan,
                           const PlanMemory& memory, RingMemory& ring, const Partials& partials,
                           unsigned char* slots, unsigned char* queries, unsigned char* slabs)
        : p(params),
          launch(launch),
          plan(plan),
          m(memory),
          ring(ring),
          partials(partials),
          slots(slots),
          queries(queries),
          slabs(slabs),
          rows(params, launch, plan.tables, slabs + threadIdx.x / 32 * Traits::kSlabBytes,
               ring.limits[min(threadIdx.x / 32, kComputeWarps - 1)]) {}

    // All items of the list of pieces. By one warp.
    __device__ void use_all() {
#pragma unroll 1
        for (int i = 0; i < m.num_items; ++i) {
            ring.full[place.index].wait(place.phase);
            const Item item = ring.items[place.index];
            const unsigned char* slot = slots + place.index * Traits::kTileBytes;
            const Piece& piece = m.pieces[item.piece];
            if (item.index == 0 && piece.opens) open(piece);
            if (item.has_angles()) {
                if (has_tile_of(piece)) {
                    rows.rotate(rows_of(piece), queries_of_segment(), slot, item.begin, -item.end);
                    rows.enter(rows_of(piece), queries_of_segment(),
                               piece.block);  // after the last, complete
                }
            } else {
                if (turn == role.slice) {
                    if (item.index < role.slices && piece.num_angles == 0)
                        rows.enter(rows_of(piece), queries_of_segment(), piece.block);
                    rows.add(shared_address(slot), item.begin, item.end);
                }
                turn = turn + 1 == role.slices ? 0 : turn + 1;
            }
            __syncwarp();
            if (threadIdx.x % 32 == 0) ring.empty[place.index].arrive();
            place.advance(launch.ring_slots);
            if (piece.closes && item.index + 1 == piece.num_angles + piece.num_tiles()) close(piece);
        }
    }

  private:
    __device__ void open(const Piece& piece) {
        const Unit& unit = plan.units[piece.unit];
        role = Role(unit.num_rows);
        turn = 0;
        rows.open();
    }

    __device__ SlabRows rows_of(const Piece& piece) const {
        const Unit& unit = plan.units[piece.unit];
        return {launch.ratio, unit, plan.first_token(unit), piece.head, role.slab};
    }
    __device__ const unsigned char* queries_of_segment() const {
        return queries + buffer * launch.max_rows * Traits::kRowBytes + role.slab * Traits::kSlabBytes;
    }

    // Whether the warp's turn comes among the tiles of a piece that begins now.
    __device__ bool has_tile_of(const Piece& piece) const {
        const int wait = role.slice - turn + (role.slice < turn ? role.slices : 0);
        return role.active() && wait < piece.num_tiles();
    }

    __device__ void close(const Piece& piece) {
        __syncwarp();
        if (threadIdx.x % 32 == 0) ring.queries_free[buffer].arrive();
        buffer = buffer + 1 == launch.query_buffers ? 0 : buffer + 1;
        merge_slices(rows, role, slabs);
        const Unit& unit = plan.units[piece.unit];
        const int start = unit.start + piece.head * unit.weight;
        const bool began_before = start < m.begin;
        const bool goes_on = start + unit.weight > m.end;
        if (role.slice == 0) {
            if (began_before || goes_on) {
                write_partial(partials, rows, rows_of(piece), !began_before, role.slab);
            } else {
                write_output(p, rows, rows_of(piece));
            }
        }
        if (role.slices > 1) sync_compute_warps();  // the slabs are the warps' own again
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const Plan& plan;
    const PlanMemory& m;
    RingMemory& ring;
    const Partials& partials;
    unsigned char* const slots;
    unsigned char* const queries;
    unsigned char* const slabs;
    Rows<Traits> rows;
    Role role{1};
    RingPlace place;
    int buffer = 0;  // of the segment's queries
    int turn = 0;    // the slice that has the next tile
};

template <typename Traits>
__global__ void __launch_bounds__(kThreads, 1)
    attention_kernel(const __grid_constant__ AttentionParams p,
                     const __grid_constant__ AttentionLaunch launch, void* workspace) {
    extern __shared__ __align__(1024) unsigned char shared[];
    unsigned char* const slots = shared;
    unsigned char* const slabs = slots + launch.ring_slots * Traits::kTileBytes;
    unsigned char* const queries = slabs + kComputeWarps * Traits::kSlabBytes;
    auto& ring =
        *reinterpret_cast<RingMemory*>(queries + launch.query_buffers * launch.max_rows * Traits::kRowBytes);
    auto& memory = *reinterpret_cast<PlanMemory*>(&ring + 1);
    const Partials partials(workspace, launch.num_ctas, launch.max_rows, Traits::kHeadDim);

    prefetch_tables(p, launch);
    if (threadIdx.x == kComputeThreads) ring.init();
    Plan plan(p, launch, memory);
    plan.make();

    const int warp = threadIdx.x / 32;
    Copier<Traits> copier(p, launch, plan, memory, ring, slots, queries);
    Computation<Traits> computation(p, launch, plan, memory, ring, partials, slots, queries, slabs);
    for (;;) {
        plan.list_pieces();
        if (warp >= kComputeWarps) {
            copier.copy_all();
        } else {
            computation.use_all();
        }
        if (!memory.more_pieces) break;
        __syncthreads();  // all have done with the list
    }

    RowMerge<Traits> merge(p, launch, plan, memory, partials);
    const int num_rows = p.num_tokens * p.num_heads;
    bool waited = launch.num_ctas == 1;
    for (int row = warp * launch.num_ctas + blockIdx.x;; row += kWarps * launch.num_ctas) {
        if (row < num_rows) merge.find(row);
        if (!waited) cooperative_groups::this_grid().sync();
        waited = true;
        if (row >= num_rows) break;
        merge.merge();
    }
}

}  // namespace hogwild::cuda
