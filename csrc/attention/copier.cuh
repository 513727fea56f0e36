// The warps that bring keys, values, queries and their rotations to shared memory.
#pragma once

#include "csrc/attention/layout.cuh"

namespace hogwild::cuda {

// Issues the copies of a segment's rows, zeros after the last up to the end of its slab. By some threads, of
// which this is one.
template <typename Traits>
__device__ inline void copy_segment_queries(const AttentionParams& p, const AttentionLaunch& launch,
                                            const Piece& piece, std::uint32_t to, int thread,
                                            int num_threads) {
    using T = typename Traits::T;
    const int size = piece.slabs * kSlab * Traits::kChunks;
#pragma unroll 2
    for (int i = thread; i < size; i += num_threads) {
        const int row = i / Traits::kChunks;
        const int chunk = i % Traits::kChunks;
        const bool valid = row < piece.num_rows;
        const int group_row = piece.first_row + (valid ? row : 0);
        const int token = piece.first_token + launch.ratio.quotient(group_row);
        const int head = piece.head * launch.ratio.divisor() + launch.ratio.remainder(group_row);
        const T* from = static_cast<const T*>(p.q) + token * p.q_token_stride + head * p.q_head_stride;
        copy_async(to + Traits::offset(row, chunk), from + chunk * 8, valid);
    }
}

// Issues the copies of the cos and sin rows of a block for some tokens; by one warp every step-th of them.
template <typename Traits>
__device__ inline void copy_angles(const AttentionParams& p, const AttentionLaunch& launch, int block,
                                   int first_token, int num_tokens, std::uint32_t to, int first, int step) {
    const int lane = opaque(threadIdx.x) % 32;
    const int size = 2 * p.rotary.half;  // floats of a token
    const bool by_four = Traits::kRotatesRegisters ||
                         (size % 4 == 0 && reinterpret_cast<std::uintptr_t>(p.rotation) % 16 == 0);
    const int words = by_four ? size / 4 : size;
#pragma unroll 1
    for (int token = first; token < num_tokens; token += step) {
        const float* from =
            p.rotation + (std::int64_t{first_token + token} * p.num_columns + block) * std::int64_t{size};
        const std::uint32_t row = to + token * launch.angle_stride;
#pragma unroll 1
        for (int word = lane; word < words; word += 32) {
            if (by_four) {
                copy_async(row + word * 16, from + word * 4, true);
            } else {
                copy_word_async(row + word * 4, from + word);
            }
        }
    }
}

// Whether an item of the list is the very first, whose rotation is the computing warps' own business, like
// the first queries. (Measured to be no gain for 256 dims.)
template <typename Traits>
__device__ inline bool computing_warps_copy(const PlanMemory& memory, int item) {
    return !Traits::kOneSession && Traits::kHeadDim <= 128 && item == 0 && memory.num_lists == 1;
}

// Fills the ring and the query buffers. All copies are in the order of their use; the copying warps take
// turns with the items.
template <typename Traits>
class Copier {
  public:
    __device__ Copier(const AttentionParams& params, const AttentionLaunch& launch, const PlanMemory& memory,
                      RingMemory& ring, unsigned char* queries)
        : p(params),
          launch(launch),
          m(memory),
          ring(ring),
          queries(shared_address(queries)),
          lane(threadIdx.x % 32) {}

    // Every kCopyWarps-th item of the list of pieces from the `first` on; `place` is that of the list's
    // first. Returns the place of the next list's first.
    __device__ RingPlace copy_all(RingPlace place, int first) {
        policy = m.line.length <= launch.streamed_length ? CachePolicy::evict_first() : CachePolicy::normal();
        RingPlace after;
        if (!Traits::kOneSession && m.more_pieces) after = place.after(m.num_items, launch.ring_slots);
        place.advance(launch.ring_slots, first);
        const int count = (m.num_items - first + kCopyWarps - 1) / kCopyWarps;
        Batch next = look_up(first);
#pragma unroll 1
        for (int done = 0; done < count; done += 32) {
            const Batch batch = next;
            // Long before its use: the table is in device memory.
            if (done + 32 < count) next = look_up(first + (done + 32) * kCopyWarps);
#pragma unroll 1
            for (int i = 0; i < min(32, count - done); ++i) {
                copy(batch, i, first + (done + i) * kCopyWarps, place);
                place.advance(launch.ring_slots, kCopyWarps);
            }
        }
        return after;
    }

  private:
    // The pieces of 32 items of this warp, a lane each, and the pages of those that are tiles.
    struct Batch {
        int piece;
        int pages[kTileRuns];
    };

    __device__ Batch look_up(int first) const {
        // A bit for each item from `first` on with which a piece begins, but for the first of them.
        static_assert(kCopyWarps == 2);
        unsigned begins[2] = {0, 0};
        Batch batch{-1, {0, 0}};
#pragma unroll 1
        for (int begin = 0; begin < m.num_pieces; begin += 32) {
            const int at = begin + lane < m.num_pieces ? m.pieces[begin + lane].first_item - first : 64;
            batch.piece += __popc(__ballot_sync(~0u, at <= 0));
            begins[0] |= __reduce_or_sync(~0u, at > 0 && at < 32 ? 1u << at : 0);
            begins[1] |= __reduce_or_sync(~0u, at >= 32 && at < 64 ? 1u << (at - 32) : 0);
        }
        const int ahead = lane * kCopyWarps;
        batch.piece += __popc(begins[0] & (ahead < 32 ? (2u << ahead) - 1 : ~0u)) +
                       __popc(begins[1] & (ahead < 32 ? 0 : (2u << (ahead - 32)) - 1));
        const int number = first + ahead;
        if (number >= m.num_items) return batch;
        const Piece& piece = m.pieces[batch.piece];
        const int tile = number - piece.first_item - piece.num_angles;
        if (tile < 0) return batch;
        const std::int32_t* table = p.block_table + std::int64_t{piece.table_row} * p.max_pages;
        const int shift = log2_of(p.cache.page_size);
#pragma unroll
        for (int run = 0; run < kTileRuns; ++run) {
            const int key = piece.begin + tile * kTileKeys + run * kRun;
            if (key < piece.end) batch.pages[run] = __ldg(table + (key >> shift));
        }
        return batch;
    }

    // An item, which is the i-th of the batch.
    __device__ void copy(const Batch& batch, int i, int number, const RingPlace& place) {
        const int index = __shfl_sync(~0u, batch.piece, i);
        const Piece& piece = m.pieces[index];
        const int in_piece = number - piece.first_item;
        const int tile = in_piece - piece.num_angles;
        const bool first_warp = number % kCopyWarps == 0;
        if (first_warp && in_piece == 0) copy_queries(piece);
        ring.empty[place.index()].wait(place.phase() ^ 1);  // at first, the phase before counts as over
        Item item{};
        item.piece = index;
        item.has_angles = tile < 0;
        item.closes = tile + 1 == piece.num_tiles() && piece.closes;
        item.is_last = number + 1 == m.num_items;
        // Pieces begin with different slices, lest one has all the small ones.
        item.slice = remainder(index + max(tile, 0), piece.slices);
        const int first_of_slice = item.slice * piece.slabs;  // of the computing warps
        item.warps = ((1 << piece.slabs) - 1)
                     << (Traits::kOneSession ? Traits::kComputeWarps - piece.slabs - first_of_slice
                                             : first_of_slice);
        const std::uint32_t to = shared_address(tile_at<Traits>(place));
        if (tile < 0) {
            const int skipped = in_piece * launch.slot_tokens;
            item.begin = piece.begin_token + skipped;
            item.end = min(launch.slot_tokens, piece.num_tokens - skipped);
            if (!computing_warps_copy<Traits>(m, number)) {
                copy_angles<Traits>(p, launch, piece.block, item.begin, item.end, to, 0, 1);
            }
        } else {
            item.begin = piece.begin + tile * kTileKeys;
            item.end = piece.end;
            // Only here are pages waited for: rotations come first.
            const int pages[kTileRuns] = {__shfl_sync(~0u, batch.pages[0], i),
                                          __shfl_sync(~0u, batch.pages[1], i)};
            copy_tile(item, piece, pages, to);
        }
        if (lane == 0) {
            ring.items[place.index()] = item;
            ring.full[place.index()].arrive();
        }
        ring.full[place.index()].arrive_after_copies();
        // The next item is the other warp's.
        if (first_warp && tile + 1 == piece.num_tiles() && index + 1 < m.num_pieces)
            copy_queries(m.pieces[index + 1]);
    }

    __device__ static int remainder(int x, int slices) {
        static_assert(kMaxSlices == 4);
        return slices == 3 ? static_cast<int>(static_cast<unsigned>(x) % 3) : x & (slices - 1);
    }

    // The queries of a segment that begins with the piece. Those of the first are the computing warps' own
    // business.
    __device__ void copy_queries(const Piece& piece) {
        if (Traits::kOneSession || !piece.opens || piece.segment == 0) return;
        const QueryBuffer buffer(piece.segment, launch.query_buffers);
        ring.queries_free[buffer.index].wait(buffer.phase ^ 1);
        copy_segment_queries<Traits>(p, launch, piece,
                                     queries + buffer.index * launch.max_rows * Traits::kRowBytes, lane, 32);
        ring.queries_full[buffer.index].arrive_after_copies();
    }

    // A run of keys is contiguous in its page.
    __device__ void copy_tile(const Item& item, const Piece& piece, const int (&pages)[kTileRuns],
                              std::uint32_t to) {
        using T = typename Traits::T;
        constexpr int kCopies = kRun * Traits::kChunks / 32;  // of a run's keys, by one thread
        static_assert(kRun * Traits::kChunks % 32 == 0);
#pragma unroll
        for (int run = 0; run < kTileRuns; ++run) {
            const int key = item.begin + run * kRun;
            const std::int64_t row =
                (std::int64_t{pages[run]} * p.cache.num_kv_heads + piece.head) * p.cache.page_size +
                (key & (p.cache.page_size - 1));
            const T* keys = static_cast<const T*>(p.cache.k) + row * Traits::kHeadDim + lane * 8;
            const T* values = static_cast<const T*>(p.cache.v) + row * Traits::kHeadDim + lane * 8;
#pragma unroll
            for (int i = 0; i < kCopies; ++i) {
                const int chunk = lane + 32 * i;  // of the run
                const int run_row = chunk / Traits::kChunks;
                const std::uint32_t offset =
                    to + Traits::offset(run * kRun + run_row, chunk % Traits::kChunks);
                // Keys beyond the end are not read, and zero: 0 x NaN would be NaN.
                const bool valid = key + run_row < item.end;
                copy_async(offset, keys + 32 * 8 * i, valid, policy);
                copy_async(offset + Traits::kHalfBytes, values + 32 * 8 * i, valid, policy);
            }
        }
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const PlanMemory& m;
    RingMemory& ring;
    const std::uint32_t queries;
    const int lane;
    CachePolicy policy;  // of keys and values
};

}  // namespace hogwild::cuda
