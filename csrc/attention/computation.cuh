// The computing warps of the kernel that serves all calls.
#pragma once

#include "csrc/attention/copier.cuh"
#include "csrc/attention/output.cuh"

namespace hogwild::cuda {

// Uses the items of the ring, in the order in which they come.
template <typename Traits>
class Computation {
  public:
    __device__ Computation(const AttentionParams& params, const AttentionLaunch& launch,
                           const Plan<Traits>& plan, const PlanMemory& memory, RingMemory& ring,
                           const SharedLayout<Traits>& layout, void* workspace)
        : p(params),
          launch(launch),
          m(memory),
          ring(ring),
          layout(layout),
          workspace(workspace),
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
            use(item, tile_at<Traits>(place));
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
        copy_segment_queries<Traits>(p, launch, piece, shared_address(layout.queries()), thread,
                                     Traits::kComputeThreads);
        if (computing_warps_copy<Traits>(m, 0) && launch.slot_tokens > 0) {
            copy_angles<Traits>(
                p, launch, piece.block, piece.begin_token, min(launch.slot_tokens, piece.num_tokens),
                shared_address(tile_at<Traits>(RingPlace{})), thread / 32, Traits::kComputeWarps);
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
            unsigned char* const to = together ? layout.slabs() + launch.num_slabs * launch.slab_stride +
                                                     role.slab() * Traits::kSlabBytes
                                               : layout.slabs() + threadIdx.x / 32 * launch.slab_stride;
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
        return layout.queries() +
               QueryBuffer(piece.segment, launch.query_buffers).index * launch.max_rows * Traits::kRowBytes +
               role.slab() * Traits::kSlabBytes;
    }

    __device__ void close(const Piece& piece) {
        ring.queries_free[QueryBuffer(piece.segment, launch.query_buffers).index].arrive();
        const Role role = ring.roles[opaque(threadIdx.x) / 32];
        rows.forget();
        if (!role.active()) return;
        write_rows(
            rows, role, layout.slabs(), launch.slab_stride, launch.sum_passes, ring,
            SegmentRows<Traits>(p, Partials<Traits>(launch, workspace), rows_of(piece, role), role.slab(),
                                !piece.began_before && !piece.goes_on, !piece.began_before));
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const PlanMemory& m;
    RingMemory& ring;
    const SharedLayout<Traits>& layout;
    void* const workspace;
    Rows<Traits> rows;
};

}  // namespace hogwild::cuda
