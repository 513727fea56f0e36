// The ring of tiles in shared memory, between the warps that fill it and those that use it.
#pragma once

#include "csrc/attention/mma.cuh"
#include "csrc/attention/plan.cuh"
#include "csrc/attention/traits.cuh"

namespace hogwild::cuda {

// A barrier in shared memory that a phase's arrivals turn over.
class Barrier {
  public:
    __device__ void init(int arrivals) {
        asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(&state_)), "r"(arrivals)
                     : "memory");
    }
    __device__ void arrive() {
        asm volatile(
            "{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(shared_address(&state_))
            : "memory");
    }
    // Arrives when all copies that this thread has issued are done.
    __device__ void arrive_after_copies() {
        asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(&state_))
                     : "memory");
    }
    // Waits for the end of a phase; they are numbered 0, 1, 0, 1...
    __device__ void wait(unsigned phase) {
        const std::uint32_t address = shared_address(&state_);
        std::uint32_t done = 0;
        while (done == 0) {
#if __CUDA_ARCH__ >= 900
            asm volatile(
                "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                : "=r"(done)
                : "r"(address), "r"(phase)
                : "memory");
#else
            asm volatile(
                "{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, "
                "p;\n}"
                : "=r"(done)
                : "r"(address), "r"(phase)
                : "memory");
#endif
        }
    }

  private:
    std::uint64_t state_;
};

// The keys of a block that a row sees.
struct Limits {
    int first;
    int last;
};

// What is in a place of the ring: a tile of keys and values, or cos and sin rows for a piece's queries.
struct alignas(16) Item {
    int piece;
    int index;  // in the piece, rotations first
    int begin;  // the tile's first key in its block; or the first token
    int end;    // of the piece: keys from here on are zeros; or minus the number of tokens

    __device__ bool has_angles() const { return end < 0; }
};

struct RingMemory {
    Barrier full[kMaxSlots];                 // the item has arrived
    Barrier empty[kMaxSlots];                // all computing warps are done with it
    Barrier queries_free[kMaxQueryBuffers];  // so are they with a segment
    Item items[kMaxSlots];
    Limits limits[kComputeWarps][kSlab];  // of each warp's rows

    // By one thread, before a barrier of the CTA.
    __device__ void init() {
        for (int i = 0; i < kMaxSlots; ++i) {
            full[i].init(32 * kCopyWarps + 1);  // every copying thread, and who writes the item
            empty[i].init(kComputeWarps);
        }
        for (Barrier& barrier : queries_free) barrier.init(kComputeWarps);
    }
};

// A place in the ring, and how often it has been come round.
struct RingPlace {
    int index = 0;
    unsigned phase = 0;

    __device__ void advance(int size) {
        if (++index == size) {
            index = 0;
            phase ^= 1;
        }
    }
};

// Fills the ring and the query buffers. All copies are in the order of their use. A copying warp has a share
// of every tile's keys, which is contiguous in its page.
template <typename Traits>
class Copier {
  public:
    __device__ Copier(const AttentionParams& params, const AttentionLaunch& launch, const Plan& plan,
                      const PlanMemory& memory, RingMemory& ring, unsigned char* slots,
                      unsigned char* queries)
        : p(params),
          launch(launch),
          plan(plan),
          m(memory),
          ring(ring),
          slots(shared_address(slots)),
          queries(shared_address(queries)),
          lane(threadIdx.x % 32),
          thread(threadIdx.x - kComputeThreads) {}

    // All items of the list of pieces. By one warp.
    __device__ void copy_all() {
        const int count = m.num_items;
        Batch next = look_up(0);
#pragma unroll 1
        for (int first = 0; first < count; first += 32) {
            const Batch batch = next;
            if (first + 32 < count)
                next = look_up(first + 32);  // long before its use: the table is in device memory
#pragma unroll 1
            for (int i = 0; i < min(32, count - first); ++i) {
                const Item item{__shfl_sync(~0u, batch.item.piece, i), __shfl_sync(~0u, batch.item.index, i),
                                __shfl_sync(~0u, batch.item.begin, i), __shfl_sync(~0u, batch.item.end, i)};
                const Piece& piece = m.pieces[item.piece];
                if (item.index == 0 && piece.opens) copy_queries(piece);
                ring.empty[place.index].wait(place.phase ^ 1);  // at first, the phase before counts as over
                if (thread == 0) {
                    ring.items[place.index] = item;
                    ring.full[place.index].arrive();
                }
                const std::uint32_t to = slots + place.index * Traits::kTileBytes;
                if (item.has_angles()) {
                    copy_angles(item, piece, to);
                } else {
                    copy_tile(item, piece, __shfl_sync(~0u, batch.page, i), to);
                }
                ring.full[place.index].arrive_after_copies();
                place.advance(launch.ring_slots);
            }
        }
    }

  private:
    // 32 items, a lane each, and the page of this warp's share of it.
    struct Batch {
        Item item;
        int page;
    };

    __device__ int share() const { return thread / 32 * kShareKeys; }

    __device__ Batch look_up(int first) const {
        const int number = first + lane;
        Batch batch{};
        if (number >= m.num_items) return batch;
        int low = 0;  // the piece is from here on, and before `high`
        int high = m.num_pieces;
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            (m.pieces[middle].first_item <= number ? low : high) = middle;
        }
        const Piece& piece = m.pieces[low];
        const Unit& unit = plan.units[piece.unit];
        const int index = number - piece.first_item;
        if (index < piece.num_angles) {
            const int skipped = index * launch.slot_tokens;
            batch.item = {low, index, plan.begin_token(unit) + skipped,
                          -min(launch.slot_tokens, plan.num_tokens(unit) - skipped)};
            return batch;
        }
        batch.item = {low, index, piece.begin + (index - piece.num_angles) * kTileKeys, piece.end};
        const int key = batch.item.begin + share();
        if (key >= piece.end) return batch;
        const int block = plan.tables.group_blocks[unit.group] + piece.block;
        batch.page =
            __ldg(p.block_table + std::int64_t{block} * p.max_pages + (key >> log2_of(p.cache.page_size)));
        return batch;
    }

    // The rows of a segment, zeros after the last up to the end of its slab; they arrive with the next item.
    __device__ void copy_queries(const Piece& piece) {
        using T = typename Traits::T;
        ring.queries_free[buffer.index].wait(buffer.phase ^ 1);
        const Unit& unit = plan.units[piece.unit];
        const int size = (unit.num_rows + kSlab - 1) / kSlab * kSlab * Traits::kChunks;
        const std::uint32_t to = queries + buffer.index * launch.max_rows * Traits::kRowBytes;
#pragma unroll 1
        for (int i = thread; i < size; i += 32 * kCopyWarps) {
            const int row = i / Traits::kChunks;
            const int chunk = i % Traits::kChunks;
            const bool valid = row < unit.num_rows;
            const int group_row = unit.first_row + (valid ? row : 0);
            const int token = plan.first_token(unit) + launch.ratio.quotient(group_row);
            const int head = piece.head * launch.ratio.divisor() + launch.ratio.remainder(group_row);
            const T* from = static_cast<const T*>(p.q) + token * p.q_token_stride + head * p.q_head_stride;
            copy_async(to + Traits::offset(row, chunk), from + chunk * 8, valid);
        }
        buffer.advance(launch.query_buffers);
    }

    __device__ void copy_angles(const Item& item, const Piece& piece, std::uint32_t to) {
        const int size = 2 * p.rotary.half;  // floats of a token
        const float* from =
            p.rotation + (std::int64_t{item.begin} * p.num_columns + piece.block) * std::int64_t{size};
        const bool by_four = size % 4 == 0 && reinterpret_cast<std::uintptr_t>(p.rotation) % 16 == 0;
        const int words = by_four ? size / 4 : size;
#pragma unroll 1
        for (int i = thread; i < -item.end * words; i += 32 * kCopyWarps) {
            const int token = i / words;
            const int word = i % words;
            const float* row = from + std::int64_t{token} * p.num_columns * size;
            const std::uint32_t at = to + token * launch.angle_stride;
            if (by_four) {
                copy_async(at + word * 16, row + word * 4, true);
            } else {
                copy_word_async(at + word * 4, row + word);
            }
        }
    }

    __device__ void copy_tile(const Item& item, const Piece& piece, int page, std::uint32_t to) {
        using T = typename Traits::T;
        constexpr int kChunks = kShareKeys * Traits::kChunks;
        constexpr int kCopies = (kChunks + 31) / 32;  // of keys, by one thread
        static_assert(kRun % kShareKeys == 0);
        const int key = item.begin + share();
        const std::int64_t row =
            (std::int64_t{page} * p.cache.num_kv_heads + piece.head) * p.cache.page_size +
            (key & (p.cache.page_size - 1));
        const T* keys = static_cast<const T*>(p.cache.k) + row * Traits::kHeadDim + lane * 8;
        const T* values = static_cast<const T*>(p.cache.v) + row * Traits::kHeadDim + lane * 8;
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            const int chunk = lane + 32 * i;  // of the share
            if (kChunks % 32 != 0 && chunk >= kChunks) break;
            const int share_row = chunk / Traits::kChunks;
            const std::uint32_t offset = to + Traits::offset(share() + share_row, chunk % Traits::kChunks);
            // Keys beyond the end are not read, and zero: 0 x NaN would be NaN.
            const bool valid = key + share_row < item.end;
            copy_async(offset, keys + 32 * 8 * i, valid);
            copy_async(offset + Traits::kHalfBytes, values + 32 * 8 * i, valid);
        }
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const Plan& plan;
    const PlanMemory& m;
    RingMemory& ring;
    const std::uint32_t slots;
    const std::uint32_t queries;
    const int lane;
    const int thread;  // of the copying ones
    RingPlace place;
    RingPlace buffer;
};

}  // namespace hogwild::cuda
