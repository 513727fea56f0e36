// The kernel: plan, pipeline over the tiles of a CTA's pieces, reduction over splits. docs/kernel.md explains
// it.
#pragma once

#include "csrc/attention/attention.h"
#include "csrc/attention/copier.cuh"
#include "csrc/attention/lister.cuh"
#include "csrc/attention/merge.cuh"
#include "csrc/attention/prefetch.cuh"

namespace hogwild::cuda {

// Uses the items of the ring, in the order in which they come.
template <typename Traits>
class Computation {
  public:
    __device__ Computation(const AttentionParams& params, const AttentionLaunch& launch, const Plan& plan,
                           const PlanMemory& memory, RingMemory& ring, void* workspace,
                           unsigned char* queries, unsigned char* slabs)
        : p(params),
          launch(launch),
          m(memory),
          ring(ring),
          workspace(workspace),
          queries(queries),
          slabs(slabs),
          rows(params, launch, plan.tables, ring) {}

    // All items of the list of pieces, the first of them at `place`; returns the place of the next list's. By
    // one warp.
    __device__ RingPlace use_all(RingPlace place) {
        int opening = m.num_pieces > 0 && m.pieces[0].opens ? 0 : -1;  // a piece whose segment begins
        if (opening == 0 && m.pieces[0].segment == 0) copy_first(m.pieces[0]);
        bool is_last = m.num_items == 0;
#pragma unroll 1
        while (!is_last) {
            if (opening >= 0) open(m.pieces[opening]);
            ring.full[place.index()].wait(place.phase());
            const Item& item = ring.items[place.index()];
            use(item, shared_memory + place.index() * Traits::kTileBytes);
            const int closing = item.closes ? item.piece : -1;
            is_last = item.is_last;
            ring.empty[place.index()].arrive();  // every lane for what it has read itself
            place.advance(launch.ring_slots);
            opening = -1;
            if (closing >= 0) {
                close(m.pieces[closing]);
                opening = closing + 1;
            }
        }
        return place;
    }

  private:
    // With nothing else to do yet, all computing warps fetch the queries of the first segment and their first
    // rotation.
    __device__ void copy_first(const Piece& piece) {
        const int thread = opaque(threadIdx.x);
        copy_segment_queries<Traits>(p, launch, piece, shared_address(queries), thread,
                                     Traits::kComputeThreads);
        if (computing_warps_copy<Traits>(m, 0) && launch.slot_tokens > 0) {
            copy_angles(p, launch, piece.block, piece.begin_token, min(launch.slot_tokens, piece.num_tokens),
                        shared_address(shared_memory), thread / 32, Traits::kComputeWarps);
        }
    }

    // Begins a segment, before its first item is there.
    __device__ void open(const Piece& piece) {
        const QueryBuffer buffer(piece.segment, launch.query_buffers);
        if (piece.segment > 0) sync_compute_warps<Traits>(ring);  // all have left the roles of the one before
        const int warp = opaque(threadIdx.x) / 32;
        if (opaque(threadIdx.x) % 32 == 0) ring.roles[warp] = Role(warp, piece.slabs, piece.slices);
        __syncwarp();
        rows.open();
        if (piece.segment == 0) {
            wait_for_copies();
            sync_compute_warps<Traits>(ring);
            if (warp == 0) ring.queries_full[buffer.index].arrive();
        }
        ring.queries_full[buffer.index].wait(buffer.phase);
    }

    __device__ void use(const Item& item, const unsigned char* slot) {
        if (item.has_angles) {
            const Piece& piece = m.pieces[item.piece];
            const Role role = ring.roles[opaque(threadIdx.x) / 32];
            // Not where the warp's turn comes after the piece's last tile.
            const int wait = role.slice() - item.slice + (role.slice() < item.slice ? role.slices() : 0);
            if (!role.active()) return;
            // In a short piece, others would wait for those who still have tiles of the one before.
            const bool together = launch.shared_slabs > 0 && role.slices() > 1 &&
                                  (piece.num_tiles() >= role.slices() || item.piece == 0);
            if (!together && wait >= piece.num_tiles()) return;
            together ? sync_slab(ring, role)
                     : __syncwarp();  // nobody reads queries of the block before any more
            unsigned char* const to =
                together ? slabs + launch.num_slabs * launch.slab_stride + role.slab() * Traits::kSlabBytes
                         : slabs + threadIdx.x / 32 * launch.slab_stride;
            rows.rotate(rows_of(piece, role), queries_of(piece, role), slot, item.begin, item.end, to,
                        together ? role.slice() : 0, together ? role.slices() : 1);
            together ? sync_slab(ring, role) : __syncwarp();
            // Complete after the last of them. Also without tiles, or the queries before would take registers
            // here.
            rows.enter(rows_of(piece, role), queries_of(piece, role), piece.block);
        } else if (item.warps >> threadIdx.x / 32 & 1) {
            if (launch.slot_tokens == 0) {
                const Piece& piece = m.pieces[item.piece];
                if (item.begin - piece.begin < piece.slices * kTileKeys) {
                    const Role role = ring.roles[opaque(threadIdx.x) / 32];
                    rows.enter(rows_of(piece, role), queries_of(piece, role), piece.block);
                }
            }
            rows.add(shared_address(slot), item.begin, item.end);
        }
    }

    __device__ SlabRows rows_of(const Piece& piece, const Role& role) const {
        return {launch.ratio, piece, role.slab()};
    }
    __device__ const unsigned char* queries_of(const Piece& piece, const Role& role) const {
        return queries +
               QueryBuffer(piece.segment, launch.query_buffers).index * launch.max_rows * Traits::kRowBytes +
               role.slab() * Traits::kSlabBytes;
    }

    __device__ void close(const Piece& piece) {
        ring.queries_free[QueryBuffer(piece.segment, launch.query_buffers).index].arrive();
        const Role role = ring.roles[opaque(threadIdx.x) / 32];
        rows.forget();
        if (!role.active()) return;
        write_rows(
            rows, role, slabs, launch.slab_stride, launch.sum_passes, ring,
            SegmentRows<Traits>(p, Partials<Traits>(launch, workspace), rows_of(piece, role), role.slab(),
                                !piece.began_before && !piece.goes_on, !piece.began_before));
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const PlanMemory& m;
    RingMemory& ring;
    void* const workspace;
    unsigned char* const queries;
    unsigned char* const slabs;
    Rows<Traits> rows;
};

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, 1)
    attention_kernel(const __grid_constant__ AttentionParams p,
                     const __grid_constant__ AttentionLaunch launch,
                     const __grid_constant__ StagedArrays arrays, void* workspace) {
    unsigned char* const slabs = shared_memory + launch.ring_slots * Traits::kTileBytes;
    unsigned char* const queries =
        slabs + launch.num_slabs * launch.slab_stride + launch.shared_slabs * Traits::kSlabBytes;
    auto& ring =
        *reinterpret_cast<RingMemory*>(queries + launch.query_buffers * launch.max_rows * Traits::kRowBytes);
    auto& memory = *reinterpret_cast<PlanMemory*>(&ring + 1);

    const int warp = threadIdx.x / 32;
    Plan plan(p, launch, memory);
    plan.template make<Traits::kWarps>(arrays, [&] {
        ring.init<Traits>(launch.ring_slots);
        if (warp != Traits::kPlanningWarp) prefetch_tables(p, launch);
    });

    // The two kinds of warps have loops of their own, so that neither keeps the other's registers. Each round
    // is a list of pieces; `listed` and `list_free` hand it over and back.
    RingPlace place;  // of the list's first item
    unsigned phase = 0;
    if (warp < Traits::kComputeWarps) {
        Computation<Traits> computation(p, launch, plan, memory, ring, workspace, queries, slabs);
        prefetch_keys<Traits>(p, launch, plan.tables);
        while (true) {
            ring.listed.wait(phase);
            place = computation.use_all(place);
            if (!memory.more_pieces) break;
            phase = memory.num_lists % 2;
            ring.list_free.arrive();
        }
    } else {
        Copier<Traits> copier(p, launch, memory, ring, queries);
        Lister lister(p, launch, plan, memory);
        if (warp == Traits::kPlanningWarp) lister.begin();
        while (true) {
            if (warp == Traits::kPlanningWarp) {
                ring.list_free.wait(phase ^ 1);  // at first, the phase before counts as over
                lister.list();
                ring.listed.arrive();  // by each lane, for what it has written itself
            }
            ring.listed.wait(phase);
            place = copier.copy_all(place, warp - Traits::kComputeWarps);
            if (!memory.more_pieces) break;
            phase = memory.num_lists % 2;
            ring.list_free.arrive();
        }
    }

    // Each warp merges a part of a row. Which splits its row has is looked up by a copying warp, since those
    // are there before the others.
    const RowMerge<Traits> merge(p, launch, plan, memory, workspace);
    const int lane = threadIdx.x % 32;
    if (warp == Traits::kWarps - 1 && lane < Traits::kWarps) merge.find_first(lane, &ring.found[lane]);
    merge.merge_all(ring.found);
}

}  // namespace hogwild::cuda
