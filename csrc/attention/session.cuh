// What a CTA does in a call of one session, where it has keys of one kv head: one list, one segment at most,
// and queries that are known before the list is there. Less to do and less code than for all calls.
#pragma once

#include "csrc/attention/copier.cuh"
#include "csrc/attention/layout.cuh"
#include "csrc/attention/output.cuh"
#include "csrc/attention/pieces.cuh"

namespace hogwild::cuda {

// What all pieces of the CTA have in common.
template <typename Traits>
__device__ inline Piece session_piece(const AttentionLaunch& launch, const Tables<Traits>& tables) {
    Piece piece{};
    piece.head = launch.head_ctas.quotient(blockIdx.x);
    piece.first_token = piece.begin_token = tables.staged_group_tokens()[0];
    piece.num_tokens = tables.staged_group_tokens()[1] - piece.first_token;
    piece.num_rows = piece.num_tokens * launch.ratio.divisor();
    piece.slabs = num_slabs(piece.num_rows);
    piece.slices = num_slices(piece.slabs, launch);
    return piece;
}

// Lists the pieces. By the planning warp, a lane a block.
template <typename Traits>
__device__ inline void list_session(const AttentionParams& p, const AttentionLaunch& launch,
                                    const Plan<Traits>& plan, PlanMemory& memory) {
    const int lane = threadIdx.x % 32;
    const Tables<Traits>& tables = plan.tables;
    Piece piece = session_piece(launch, tables);
    const int first_block = tables.staged_group_blocks()[0];
    KeyRange keys{0, 0};
    if (lane < tables.staged_group_blocks()[1] - first_block) {
        const int* position = tables.staged_query_pos() + piece.first_token * p.num_columns + lane;
        keys = plan.seen(tables.staged_block_lens()[first_block + lane], piece.num_tokens,
                         [&](int t) { return position[t * p.num_columns]; });
    }
    const int cost = plan.cost(keys);
    const int last = inclusive_sum(cost);
    const int weight = __shfl_sync(~0u, last, 31);
    const Line line(weight, launch.head_ctas);  // of one kv head
    const int part = blockIdx.x - piece.head * launch.head_ctas.divisor();
    PieceList pieces(launch, memory);
    pieces.begin_at = line.begin_of(part, launch.head_ctas);
    pieces.end_at = line.begin_of(part + 1, launch.head_ctas);
    if (pieces.begin_at < pieces.end_at) {
        piece.num_angles = pieces.num_angles(piece.num_tokens);
        piece.opens = piece.closes = true;
        piece.began_before = pieces.begin_at > 0;
        piece.goes_on = pieces.end_at < weight;
        piece.block = lane;
        piece.table_row = first_block + lane;
        pieces.add<!Traits::kRotatesRegisters>(piece, keys, last - cost);
        if (pieces.size() == 0) {
            if (Traits::kRotatesRegisters) piece.num_angles = 0;
            pieces.add_without_keys(piece);
        }
    }
    if (lane == 0) memory.line = line;
    pieces.end(false);
}

// Uses the items of the ring, in the order in which they come. By the computing warps.
template <typename Traits>
class SessionComputation {
  public:
    __device__ SessionComputation(const AttentionParams& params, const AttentionLaunch& launch,
                                  const Plan<Traits>& plan, const PlanMemory& memory, RingMemory& ring,
                                  const SharedLayout<Traits>& layout, void* workspace)
        : p(params),
          launch(launch),
          plan(plan),
          m(memory),
          ring(ring),
          layout(layout),
          workspace(workspace),
          rows(params, launch, plan.tables, ring) {}

    __device__ void run() {
        copy_segment_queries<Traits>(p, launch, session_piece(launch, plan.tables),
                                     shared_address(layout.queries()), opaque(threadIdx.x),
                                     Traits::kComputeThreads);
        ring.listed.wait(0);
        if (m.num_items == 0) return;
        const Piece& first = m.pieces[0];
        if constexpr (Traits::kRotatesRegisters) {
            if (launch.slot_tokens > 0) {
                copy_angles<Traits>(p, launch, first.block, first.first_token, first.num_tokens,
                                    shared_address(layout.first_angles()), opaque(threadIdx.x) / 32,
                                    Traits::kComputeWarps);
            }
        }
        if (threadIdx.x % 32 == 0)
            ring.roles[threadIdx.x / 32] = Role(threadIdx.x / 32, first.slabs, first.slices);
        rows.open();
        wait_for_copies();
        sync_compute_warps<Traits>(ring);
        use_items();
        close(m.pieces[m.num_pieces - 1]);
    }

  private:
    __device__ Role role() const { return ring.roles[opaque(threadIdx.x) / 32]; }

    __device__ void use_items() {
        RingPlace place;
        // The first rotation is there before the ring's first item, and used by the same instructions.
        bool in_ring = !Traits::kRotatesRegisters || launch.slot_tokens == 0;
        bool is_last = false;
#pragma unroll 1
        while (!is_last) {
            if (in_ring) ring.full[place.index()].wait(place.phase());
            const Item& item = ring.items[place.index()];
            const unsigned char* const slot = tile_at<Traits>(place);
            if (!in_ring || item.has_angles) {
                const Piece& piece = m.pieces[in_ring ? item.piece : 0];
                if (has_tile(piece, in_ring ? item.slice : 0)) {
                    rotate(piece, item, in_ring ? slot : layout.first_angles());
                }
            } else if (item.warps >> threadIdx.x / 32 & 1) {
                add(item, slot);
            }
            if (in_ring) {
                is_last = item.is_last;
                ring.empty[place.index()].arrive();  // every lane for what it has read itself
                place.advance(launch.ring_slots);
            }
            in_ring = true;
        }
    }

    // Whether the warp has any of a piece's tiles, of which `slice` has the first.
    __device__ bool has_tile(const Piece& piece, int slice) const {
        const Role mine = role();
        const int wait = mine.slice() - slice + (mine.slice() < slice ? mine.slices() : 0);
        return mine.active() && wait < piece.num_tiles();
    }

    __device__ void rotate(const Piece& piece, const Item& item, const unsigned char* angles) {
        if constexpr (Traits::kRotatesRegisters) {
            rows.enter_rotated(rows_of(piece), queries_of(), angles, piece.first_token, piece.block);
        } else {
            __syncwarp();  // nobody reads queries of the block before any more
            rows.rotate(rows_of(piece), queries_of(), angles, item.begin, item.end,
                        layout.slabs() + threadIdx.x / 32 * launch.slab_stride, 0, 1);
            __syncwarp();
            rows.enter(rows_of(piece), queries_of(), piece.block);
        }
    }

    __device__ void add(const Item& item, const unsigned char* slot) {
        if (launch.slot_tokens == 0) {
            const Piece& piece = m.pieces[item.piece];
            if (item.begin - piece.begin < piece.slices * kTileKeys) {
                rows.enter(rows_of(piece), queries_of(), piece.block);
            }
        }
        rows.add(shared_address(slot), item.begin, item.end);
    }

    __device__ SlabRows rows_of(const Piece& piece) const { return {launch.ratio, piece, role().slab()}; }
    __device__ const unsigned char* queries_of() const {
        return layout.queries() + role().slab() * Traits::kSlabBytes;
    }

    __device__ void close(const Piece& piece) {
        const Role mine = role();
        rows.forget();
        if (!mine.active()) return;
        write_rows(rows, mine, layout.slabs(), launch.slab_stride, launch.sum_passes, ring,
                   SegmentRows<Traits>(p, Partials<Traits>(launch, workspace), rows_of(piece), mine.slab(),
                                       !piece.began_before && !piece.goes_on, !piece.began_before));
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const Plan<Traits>& plan;
    const PlanMemory& m;
    RingMemory& ring;
    const SharedLayout<Traits>& layout;
    void* const workspace;
    Rows<Traits> rows;
};

}  // namespace hogwild::cuda
