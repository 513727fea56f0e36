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

// What the warps need to know of a tile.
struct alignas(16) Tile {
    int piece;
    int key;    // of the block, the tile's first
    int end;    // of the piece; keys from here on are zeros
    int index;  // in the piece
};

struct RingMemory {
    Barrier full[kMaxTiles];   // keys and values have arrived
    Barrier empty[kMaxTiles];  // all computing warps are done with them
    Tile tiles[kMaxTiles];

    // By one thread, before a barrier of the CTA.
    __device__ void init() {
        for (int i = 0; i < kMaxTiles; ++i) {
            full[i].init(32 * kCopyWarps + 1);  // every copying thread, and who writes the tile
            empty[i].init(kComputeWarps);
        }
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

// Fills the ring. A copying warp has a share of every tile's keys, which is contiguous in its page.
template <typename Traits>
class Copier {
  public:
    __device__ Copier(const AttentionParams& params, const AttentionLaunch& launch, const Plan& plan,
                      const PlanMemory& memory, RingMemory& ring, unsigned char* tiles)
        : p(params),
          launch(launch),
          plan(plan),
          m(memory),
          ring(ring),
          tiles(shared_address(tiles)),
          lane(threadIdx.x % 32),
          share((threadIdx.x / 32 - kComputeWarps) * kShareKeys) {}

    // All tiles of the list of pieces. By one warp.
    __device__ void copy_all() {
        const int count = m.num_tiles;
        Batch next = look_up(0);
#pragma unroll 1
        for (int first = 0; first < count; first += 32) {
            const Batch batch = next;
            next = look_up(first + 32);  // used 32 tiles later: the table's latency is hidden
#pragma unroll 1
            for (int i = 0; i < min(32, count - first); ++i) {
                const Tile tile{__shfl_sync(~0u, batch.tile.piece, i), __shfl_sync(~0u, batch.tile.key, i),
                                __shfl_sync(~0u, batch.tile.end, i), __shfl_sync(~0u, batch.tile.index, i)};
                copy(tile, __shfl_sync(~0u, batch.page, i));
            }
        }
    }

  private:
    // 32 tiles, a lane each, and the page of this warp's share of it.
    struct Batch {
        Tile tile;
        int page;
    };

    __device__ Batch look_up(int first) const {
        const int number = first + lane;
        Batch batch{};
        if (number >= m.num_tiles) return batch;
        int low = 0;  // the piece is from here on, and before `high`
        int high = m.num_pieces;
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            (m.pieces[middle].first_tile <= number ? low : high) = middle;
        }
        const Piece& piece = m.pieces[low];
        const int index = number - piece.first_tile;
        batch.tile = {low, piece.begin + index * kTileKeys, piece.end, index};
        const int key = batch.tile.key + share;
        if (key >= piece.end) return batch;
        const int block = plan.tables.group_blocks[plan.units[piece.unit].group] + piece.block;
        batch.page =
            __ldg(p.block_table + std::int64_t{block} * p.max_pages + (key >> log2_of(p.cache.page_size)));
        return batch;
    }

    __device__ void copy(const Tile& tile, int page) {
        using T = typename Traits::T;
        constexpr int kChunks = kShareKeys * Traits::kChunks;
        constexpr int kCopies = (kChunks + 31) / 32;  // of keys, by one thread
        static_assert(kRun % kShareKeys == 0);
        const int key = tile.key + share;
        const std::int64_t row =
            (std::int64_t{page} * p.cache.num_kv_heads + m.pieces[tile.piece].head) * p.cache.page_size +
            (key & (p.cache.page_size - 1));
        const T* keys = static_cast<const T*>(p.cache.k) + row * Traits::kHeadDim + lane * 8;
        const T* values = static_cast<const T*>(p.cache.v) + row * Traits::kHeadDim + lane * 8;
        const std::uint32_t to = tiles + place.index * Traits::kTileBytes;

        ring.empty[place.index].wait(place.phase ^
                                     1);  // in the first phase, the one before it counts as over
        if (threadIdx.x == kComputeThreads) {
            ring.tiles[place.index] = tile;
            ring.full[place.index].arrive();
        }
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            const int chunk = lane + 32 * i;  // of the share
            if (kChunks % 32 != 0 && chunk >= kChunks) break;
            const int row = chunk / Traits::kChunks;
            const std::uint32_t offset = to + Traits::offset(share + row, chunk % Traits::kChunks);
            // Keys beyond the end are not read, and zero: 0 x NaN would be NaN.
            const bool valid = key + row < tile.end;
            copy_async(offset, keys + 32 * 8 * i, valid);
            copy_async(offset + Traits::kHalfBytes, values + 32 * 8 * i, valid);
        }
        ring.full[place.index].arrive_after_copies();
        place.advance(launch.num_tiles);
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const Plan& plan;
    const PlanMemory& m;
    RingMemory& ring;
    const std::uint32_t tiles;
    const int lane;
    const int share;  // its first key in the tile
    RingPlace place;
};

}  // namespace hogwild::cuda
