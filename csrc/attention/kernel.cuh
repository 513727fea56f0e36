// The kernel: plan, pipeline over the tiles of a CTA's pieces, reduction over splits. docs/kernel.md explains
// it.
#pragma once

#include <cooperative_groups.h>

#include "csrc/attention/attention.h"
#include "csrc/attention/copier.cuh"
#include "csrc/attention/merge.cuh"
#include "csrc/attention/prefetch.cuh"

namespace hogwild::cuda {

// Uses the items of the ring, in the order in which they come.
template <typename Traits>
class Computation {
  public:
    __device__ Computation(const AttentionParams& params, const AttentionLaunch& launch, const Plan& plan,
                           const PlanMemory& memory, RingMemory& ring, void* workspace, unsigned char* slots,
                           unsigned char* queries, unsigned char* slabs)
        : p(params),
          launch(launch),
          plan(plan),
          m(memory),
          ring(ring),
          workspace(workspace),
          slots(slots),
          queries(queries),
          slabs(slabs),
          rows(params, launch, plan.tables, ring) {}

    // All items of the list of pieces, the first of them at `place`; returns the place of the next list's. By
    // one warp.
    __device__ RingPlace use_all(RingPlace place) {
        if (m.num_pieces > 0 && m.pieces[0].opens && m.pieces[0].segment == 0) copy_first_queries();
        bool is_last = m.num_items == 0;
#pragma unroll 1
        while (!is_last) {
            ring.full[place.index()].wait(place.phase());
            const Item& item = ring.items[place.index()];
            if (item.opens) {
                const Piece& piece = m.pieces[item.piece];
                const QueryBuffer buffer(piece.segment, launch.query_buffers);
                ring.queries_full[buffer.index].wait(buffer.phase);
                if (piece.segment > 0) sync_compute_warps();  // all have left the roles of the one before
                role = Role(plan.units[piece.unit].num_rows, launch.max_slices);
                rows.open();
            }
            use(item, slots + place.index() * Traits::kTileBytes);
            const int closes = item.closes ? item.piece : -1;
            is_last = item.is_last;
            ring.empty[place.index()].arrive();  // every lane for what it has read itself
            place.advance(launch.ring_slots);
            if (closes >= 0) close(m.pieces[closes]);
        }
        return place;
    }

  private:
    // With nothing else to do yet, all computing warps fetch the queries of the first segment.
    __device__ void copy_first_queries() {
        copy_segment_queries<Traits>(p, launch, plan, m.pieces[0], shared_address(queries), threadIdx.x,
                                     kComputeThreads);
        wait_for_copies();
        sync_compute_warps();
        if (threadIdx.x < 32) ring.queries_full[0].arrive();
    }

    __device__ void use(const Item& item, const unsigned char* slot) {
        if (item.has_angles) {
            const Piece& piece = m.pieces[item.piece];
            // Not where the warp's turn comes after the piece's last tile.
            const int wait = role.slice() - item.slice + (role.slice() < item.slice ? role.slices() : 0);
            if (!role.active()) return;
            const bool together =
                launch.shared_slabs > 0 && role.slices() > 1 && piece.num_tiles() >= role.slices();
            if (!together && wait >= piece.num_tiles()) return;
            together ? sync_slab(role) : __syncwarp();  // nobody reads queries of the block before any more
            const int to = together ? launch.num_slabs + role.slab() : threadIdx.x / 32;
            rows.rotate(rows_of(piece), queries_of(piece), slot, item.begin, item.end,
                        slabs + to * Traits::kSlabBytes, together ? role.slice() : 0,
                        together ? role.slices() : 1);
            together ? sync_slab(role) : __syncwarp();
            rows.enter(rows_of(piece), queries_of(piece), piece.block);  // complete after the last of them
        } else if (item.slice == role.slice()) {
            if (launch.slot_tokens == 0) {
                const Piece& piece = m.pieces[item.piece];
                if (item.begin - piece.begin < role.slices() * kTileKeys) {
                    rows.enter(rows_of(piece), queries_of(piece), piece.block);
                }
            }
            rows.add(shared_address(slot), item.begin, item.end);
        }
    }

    __device__ SlabRows rows_of(const Piece& piece) const {
        const Unit& unit = plan.units[piece.unit];
        return {launch.ratio, unit, plan.first_token(unit), piece.head, role.slab()};
    }
    __device__ const unsigned char* queries_of(const Piece& piece) const {
        return queries +
               QueryBuffer(piece.segment, launch.query_buffers).index * launch.max_rows * Traits::kRowBytes +
               role.slab() * Traits::kSlabBytes;
    }

    __device__ void close(const Piece& piece) {
        ring.queries_free[QueryBuffer(piece.segment, launch.query_buffers).index].arrive();
        if (!role.active()) return;
        const Unit& unit = plan.units[piece.unit];
        const int start = unit.start + piece.head * unit.weight;
        const bool began_before = start < m.begin;
        const bool goes_on = start + unit.weight > m.end;
        write_rows(rows, role, slabs, ring.softmaxes,
                   SegmentRows<Traits>(p, Partials<Traits>(launch, workspace), rows_of(piece), role.slab(),
                                       !began_before && !goes_on, !began_before));
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const Plan& plan;
    const PlanMemory& m;
    RingMemory& ring;
    void* const workspace;
    unsigned char* const slots;
    unsigned char* const queries;
    unsigned char* const slabs;
    Rows<Traits> rows;
    Role role{1, 1};
};

template <typename Traits>
__global__ void __launch_bounds__(kThreads, 1)
    attention_kernel(const __grid_constant__ AttentionParams p,
                     const __grid_constant__ AttentionLaunch launch, void* workspace) {
    extern __shared__ __align__(1024) unsigned char shared[];
    unsigned char* const slots = shared;
    unsigned char* const slabs = slots + launch.ring_slots * Traits::kTileBytes;
    unsigned char* const queries = slabs + (launch.num_slabs + launch.shared_slabs) * Traits::kSlabBytes;
    auto& ring =
        *reinterpret_cast<RingMemory*>(queries + launch.query_buffers * launch.max_rows * Traits::kRowBytes);
    auto& memory = *reinterpret_cast<PlanMemory*>(&ring + 1);

    const int warp = threadIdx.x / 32;
    Plan plan(p, launch, memory);
    plan.make([&] {
        prefetch_tables(p, launch);
        if (warp == kComputeWarps) ring.init();
    });

    // The two kinds of warps have loops of their own, so that neither keeps the other's registers.
    RingPlace place;  // of the list's first item
    if (warp < kComputeWarps) {
        Computation<Traits> computation(p, launch, plan, memory, ring, workspace, slots, queries, slabs);
        unsigned phase = 0;
        while (true) {
            if (warp == 0) {
                ring.list_free.wait(phase ^ 1);  // at first, the phase before counts as over
                plan.list_pieces();
                ring.listed.arrive();  // by each lane, for what it has written itself
            }
            ring.listed.wait(phase);
            place = computation.use_all(place);
            if (!memory.more_pieces) break;
            phase = memory.num_lists % 2;
            ring.list_free.arrive();
        }
    } else {
        Copier<Traits> copier(p, launch, plan, memory, ring, slots, queries);
        for (unsigned phase = 0;; phase ^= 1) {
            ring.listed.wait(phase);
            place = copier.copy_all(place, warp - kComputeWarps);
            if (!memory.more_pieces) break;
            ring.list_free.arrive();
        }
    }

    // Each warp merges a row of the output. Which parts it has is looked up by a copying warp, since those
    // are there before the others.
    RowMerge<Traits> merge(p, launch, plan, memory, workspace);
    const int num_ctas = launch.num_ctas.divisor();
    const int num_rows = p.num_tokens * p.num_heads;
    const int lane = threadIdx.x % 32;
    const int lane_row = lane * num_ctas + blockIdx.x;
    if (warp == kWarps - 1 && lane < kWarps && lane_row < num_rows) ring.found[lane] = merge.find(lane_row);
    if (num_ctas > 1) {
        cooperative_groups::this_grid().sync();
    } else {
        __syncthreads();
    }
    for (int row = warp * num_ctas + blockIdx.x, i = 0; row < num_rows; row += kWarps * num_ctas, ++i) {
        merge.merge(i == 0 ? ring.found[warp] : merge.find(row));
    }
}

}  // namespace hogwild::cuda
