// The computing warps, and what they do in the kernel that serves all calls.
#pragma once

#include "csrc/attention/copier.cuh"
#include "csrc/attention/output.cuh"

namespace hogwild::cuda {

// What a CTA works with.
template <typename Traits>
struct Cta {
    const AttentionParams& p;
    const AttentionLaunch& launch;
    Plan<Traits>& plan;
    const SharedLayout<Traits>& layout;
    void* workspace;
    PlanMemory& memory = layout.memory();
    RingMemory& ring = layout.ring();
};

template <typename Traits>
__device__ inline SlabRows rows_of(const Cta<Traits>& cta, const Piece& piece, const Role& role) {
    return {cta.launch.ratio, piece, role.slab()};
}

// Ends a segment, whose last piece this is. By one of its active warps.
template <typename Traits>
__device__ inline void write_segment(const Cta<Traits>& cta, Rows<Traits>& rows, const Piece& piece,
                                     const Role& role) {
    write_rows(
        rows, role, cta.launch, cta.layout.slabs(), cta.ring,
        SegmentRows<Traits>(cta.p, Partials<Traits>(cta.launch, cta.workspace), rows_of(cta, piece, role),
                            role.slab(), !piece.began_before && !piece.goes_on, !piece.began_before));
}

// Uses the items of the ring, in the order in which they come.
template <typename Traits>
class Computation {
  public:
    __device__ explicit Computation(const Cta<Traits>& cta)
        : cta(cta), rows(cta.p, cta.launch, cta.plan.tables, cta.ring) {}

    // All items of the list of pieces, the first of them at `place`; returns the place of the next list's. By
    // one warp.
    __device__ RingPlace use_all(RingPlace place) {
        int opening =
            cta.memory.num_pieces > 0 && cta.memory.pieces[0].opens ? 0 : -1;  // a piece whose segment begins
        if (opening == 0 && cta.memory.pieces[0].segment == 0) copy_first(cta.memory.pieces[0]);
        bool is_last = cta.memory.num_items == 0;
#pragma unroll 1
        while (!is_last) {
            if (opening >= 0) open(cta.memory.pieces[opening]);
            cta.ring.full[place.index()].wait(place.phase());
            const Item& item = cta.ring.items[place.index()];
            use(item, tile_at<Traits>(place));
            const int closing = item.closes ? item.piece : -1;
            is_last = item.is_last;
            cta.ring.empty[place.index()].arrive();  // every lane for what it has read itself
            place.advance(cta.launch.ring_slots);
            opening = -1;
            if (closing >= 0) {
                close(cta.memory.pieces[closing]);
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
        copy_segment_queries<Traits>(cta.p, cta.launch, piece, shared_address(cta.layout.queries()), thread,
                                     Traits::kComputeThreads);
        if (computing_warps_copy<Traits>(cta.memory, 0) && cta.launch.slot_tokens > 0) {
            copy_angles<Traits>(cta.p, cta.launch, piece.block, piece.begin_token,
                                min(cta.launch.slot_tokens, piece.num_tokens),
                                shared_address(tile_at<Traits>(RingPlace{})), compute_warp<Traits>(),
                                Traits::kComputeWarps);
        }
    }

    // Begins a segment, before its first item is there.
    __device__ void open(const Piece& piece) {
        const QueryBuffer buffer(piece.segment, cta.launch.query_buffers);
        if (piece.segment > 0)
            sync_compute_warps<Traits>(cta.ring);  // all have left the roles of the one before
        const int warp = compute_warp<Traits>();
        if (opaque(threadIdx.x) % 32 == 0) cta.ring.roles[warp] = Role(warp, piece.slabs, piece.slices);
        __syncwarp();
        rows.open();
        if (piece.segment == 0) {
            wait_for_copies();
            sync_compute_warps<Traits>(cta.ring);
            if (warp == 0) cta.ring.queries_full[buffer.index].arrive();
        }
        cta.ring.queries_full[buffer.index].wait(buffer.phase);
    }

    __device__ void use(const Item& item, const unsigned char* slot) {
        if (item.has_angles) {
            const Piece& piece = cta.memory.pieces[item.piece];
            const Role role = cta.ring.roles[compute_warp<Traits>()];
            // Not where the warp's turn comes after the piece's last tile.
            const int wait = role.tiles_until_turn(item.slice);
            if (!role.active()) return;
            // In a short piece, others would wait for those who still have tiles of the one before.
            const bool together = cta.launch.shared_slabs > 0 && role.slices() > 1 &&
                                  (piece.num_tiles() >= role.slices() || item.piece == 0);
            if (!together && wait >= piece.num_tiles()) return;
            together ? sync_slab(cta.ring, role)
                     : __syncwarp();  // nobody reads queries of the block before any more
            unsigned char* const to =
                together ? cta.layout.slabs() + cta.launch.num_slabs * cta.launch.slab_stride +
                               role.slab() * Traits::kSlabBytes
                         : cta.layout.slabs() + compute_warp<Traits>() * cta.launch.slab_stride;
            rows.rotate(rows_of(cta, piece, role), queries_of(piece, role), slot, item.begin, item.end, to,
                        together ? role.slice() : 0, together ? role.slices() : 1);
            together ? sync_slab(cta.ring, role) : __syncwarp();
            // Complete after the last of them. Also without tiles, or the queries before would take registers
            // here.
            rows.enter(rows_of(cta, piece, role), queries_of(piece, role), piece.block);
        } else if (item.warps >> threadIdx.x / 32 & 1) {
            if (cta.launch.slot_tokens == 0) {
                const Piece& piece = cta.memory.pieces[item.piece];
                if (item.begin - piece.begin < piece.slices * kTileKeys) {
                    const Role role = cta.ring.roles[compute_warp<Traits>()];
                    rows.enter(rows_of(cta, piece, role), queries_of(piece, role), piece.block);
                }
            }
            rows.add(shared_address(slot), item.begin, item.end);
        }
    }

    __device__ const unsigned char* queries_of(const Piece& piece, const Role& role) const {
        return cta.layout.queries() +
               QueryBuffer(piece.segment, cta.launch.query_buffers).index * cta.launch.max_rows *
                   Traits::kRowBytes +
               role.slab() * Traits::kSlabBytes;
    }

    __device__ void close(const Piece& piece) {
        cta.ring.queries_free[QueryBuffer(piece.segment, cta.launch.query_buffers).index].arrive();
        const Role role = cta.ring.roles[compute_warp<Traits>()];
        rows.forget();
        if (!role.active()) return;
        write_segment(cta, rows, piece, role);
    }

    const Cta<Traits>& cta;
    Rows<Traits> rows;
};

}  // namespace hogwild::cuda
