// What a CTA does in a call of one session, where it has keys of one kv head: one list, one segment at most,
// and queries that are known before the list is there. Less to do and less code than for all calls.
#pragma once

#include "csrc/attention/computation.cuh"
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
        pieces.add<!Traits::kRotatesRegisters>(piece, pieces.own(keys, last - cost));
        if (pieces.size() == 0) {
            if (Traits::kRotatesRegisters) piece.num_angles = 0;
            pieces.add_without_keys(piece);
        }
    }
    if (lane == 0) memory.line = line;
    pieces.end(false);
}

// Makes what this CTA will publish absent, before it is known which part it has. By the computing warps.
template <typename Traits>
__device__ inline void clear_partials(const AttentionParams& p, const AttentionLaunch& launch,
                                      void* workspace) {
    const int part = launch.head_ctas.remainder(blockIdx.x);  // of its kv head
    Partials<Traits>(launch, workspace).clear(p.num_tokens * launch.ratio.divisor(), part == 0);
}

// Uses the items of the ring, in the order in which they come. By the computing warps.
template <typename Traits>
class SessionComputation {
  public:
    __device__ explicit SessionComputation(const Cta<Traits>& cta)
        : cta(cta), rows(cta.p, cta.launch, cta.plan.tables, cta.ring) {}

    __device__ void run() {
        // The first warp is still busy with the grid's barrier: others copy what all wait for.
        constexpr int kFirst = 1;
        constexpr int kCopiers = Traits::kComputeWarps - kFirst;
        const int copier = opaque(threadIdx.x) / 32 - kFirst;
        if (copier >= 0) {
            copy_segment_queries<Traits>(cta.p, cta.launch, session_piece(cta.launch, cta.plan.tables),
                                         shared_address(cta.layout.queries()),
                                         opaque(threadIdx.x) - 32 * kFirst, 32 * kCopiers);
        }
        cta.ring.listed.wait(0);
        if (cta.memory.num_items == 0) return;
        const Piece& first = cta.memory.pieces[0];
        if (copier >= 0) {
            if (Traits::kRotatesRegisters && cta.launch.slot_tokens > 0) {
                copy_angles<Traits>(cta.p, cta.launch, first.block, first.first_token, first.num_tokens,
                                    shared_address(cta.layout.first_angles()), copier, kCopiers);
            }
            cta.ring.queries_full[0].arrive_after_copies();
        }
        if (threadIdx.x % 32 == 0) {
            cta.ring.roles[compute_warp<Traits>()] = Role(compute_warp<Traits>(), first.slabs, first.slices);
        }
        __syncwarp();
        rows.open();
        cta.ring.queries_full[0].wait(0);
        use_items();
        close(cta.memory.pieces[cta.memory.num_pieces - 1]);
    }

  private:
    __device__ Role role() const { return cta.ring.roles[compute_warp<Traits>()]; }

    __device__ void use_items() {
        RingPlace place;
        // The first rotation is there before the ring's first item, and used by the same instructions.
        bool in_ring = !Traits::kRotatesRegisters || cta.launch.slot_tokens == 0;
        bool is_last = false;
#pragma unroll 1
        while (!is_last) {
            if (in_ring) cta.ring.full[place.index()].wait(place.phase());
            const Item& item = cta.ring.items[place.index()];
            const unsigned char* const slot = tile_at<Traits>(place);
            if (!in_ring || item.has_angles) {
                const Piece& piece = cta.memory.pieces[in_ring ? item.piece : 0];
                if (has_tile(piece, in_ring ? item.slice : 0)) {
                    rotate(piece, item, in_ring ? slot : cta.layout.first_angles());
                }
            } else if (item.warps >> threadIdx.x / 32 & 1) {
                add(item, slot);
            }
            if (in_ring) {
                is_last = item.is_last;
                cta.ring.empty[place.index()].arrive();  // every lane for what it has read itself
                place.advance(cta.launch.ring_slots);
            }
            in_ring = true;
        }
    }

    // Whether the warp has any of a piece's tiles, of which `slice` has the first.
    __device__ bool has_tile(const Piece& piece, int slice) const {
        const Role mine = role();
        return mine.active() && mine.tiles_until_turn(slice) < piece.num_tiles();
    }

    __device__ void rotate(const Piece& piece, const Item& item, const unsigned char* angles) {
        if constexpr (Traits::kRotatesRegisters) {
            rows.enter_rotated(rows_of(cta, piece, role()), queries_of(), angles, piece.first_token,
                               piece.block);
        } else {
            __syncwarp();  // nobody reads queries of the block before any more
            rows.rotate(rows_of(cta, piece, role()), queries_of(), angles, item.begin, item.end,
                        cta.layout.slabs() + compute_warp<Traits>() * cta.launch.slab_stride, 0, 1);
            __syncwarp();
            rows.enter(rows_of(cta, piece, role()), queries_of(), piece.block);
        }
    }

    __device__ void add(const Item& item, const unsigned char* slot) {
        if (cta.launch.slot_tokens == 0) {
            const Piece& piece = cta.memory.pieces[item.piece];
            if (item.begin - piece.begin < piece.slices * kTileKeys) {
                rows.enter(rows_of(cta, piece, role()), queries_of(), piece.block);
            }
        }
        rows.add(shared_address(slot), item.begin, item.end);
    }

    __device__ const unsigned char* queries_of() const {
        return cta.layout.queries() + role().slab() * Traits::kSlabBytes;
    }

    __device__ void close(const Piece& piece) {
        const Role mine = role();
        rows.forget();
        if (!mine.active()) return;
        write_segment(cta, rows, piece, mine);
    }

    const Cta<Traits>& cta;
    Rows<Traits> rows;
};

}  // namespace hogwild::cuda
