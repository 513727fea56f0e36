// The ring of items in shared memory, between the warps that fill it and those that use it.
#pragma once

#include "csrc/attention/barrier.cuh"
#include "csrc/attention/plan.cuh"
#include "csrc/attention/softmax.cuh"

namespace hogwild::cuda {

// The keys of a block that a row sees.
struct Limits {
    int first;
    int last;
};

// All of a CTA's, of which the ring's tiles are the first part: known to the compiler, it takes no registers.
extern __shared__ __align__(1024) unsigned char shared_memory[];

// How the computing warps share the rows of a unit and the tiles of a segment. With few slabs, several warps
// have the same one and take turns with the tiles.
__device__ inline int num_slabs(int num_rows) { return (num_rows + kSlab - 1) / kSlab; }
__device__ inline int num_slices(int slabs, const AttentionLaunch& launch) {
    int slices = 1;  // compute_warps / slabs, without a division
#pragma unroll
    for (int i = 2; i <= kMaxSlices; ++i) slices += i * slabs <= launch.compute_warps;
    return min(launch.max_slices, slices);
}

// Where a segment's queries are, and in which phase of the buffer's barriers.
struct QueryBuffer {
    int index;
    unsigned phase;

    __device__ QueryBuffer(int segment, int num_buffers)
        : index(segment & (num_buffers - 1)), phase(segment >> (num_buffers - 1) & 1) {}
};
static_assert(kMaxQueryBuffers == 2);

// What is in a place of the ring: a tile of keys and values, or cos and sin rows for a piece's queries.
struct alignas(16) Item {
    int piece;
    int begin;           // the tile's first key in its block; or the first token
    int end;             // of the piece: keys from here on are zeros; or the number of tokens
    std::uint8_t slice;  // whose turn it is; for rotations, that of the piece's first tile
    bool has_angles : 1;
    bool closes : 1;      // a segment
    bool is_last : 1;     // of the list
    std::uint16_t warps;  // of the CTA, a bit for each that has the slice
};

static_assert(sizeof(Item) == 16);

// An output row, and which CTAs have parts of it.
struct SplitRow {
    int output;  // in [T, H]
    int first_cta;
    int num_splits;  // 0: nothing is visible
    int row;         // of the unit
};

// Which of the computing warps this is. In the kernel for one session thread 0 is busy with the grid's
// barrier first (GridBarrier): it is in the last, which often has no rows.
template <typename Traits>
__device__ inline int compute_warp() {
    const int warp = opaque(threadIdx.x) / 32;
    return Traits::kOneSession ? Traits::kComputeWarps - 1 - warp : warp;
}

// What a computing warp does in a segment.
class Role {
  public:
    Role() = default;
    __device__ Role(int warp, int slabs, int slices) {
        int slice = 0;  // warp / slabs where that is below kMaxSlices
#pragma unroll
        for (int i = 1; i <= kMaxSlices; ++i) slice += warp >= i * slabs;
        fields = slabs | slices << 8 | (warp - slice * slabs) << 16 | slice << 24;
    }
    __device__ int slabs() const { return fields & 0xff; }
    __device__ int slices() const { return fields >> 8 & 0xff; }
    __device__ int slab() const { return fields >> 16 & 0xff; }
    __device__ int slice() const { return fields >> 24; }
    __device__ bool active() const { return slice() < slices(); }
    // How many tiles come before the warp's next one where a slice has its turn now.
    __device__ int tiles_until_turn(int now) const { return slice() - now + (slice() < now ? slices() : 0); }

  private:
    int fields;
};

struct RingMemory {
    Barrier full[kMaxSlots];                 // the item has arrived
    Barrier empty[kMaxSlots];                // all computing warps are done with it
    Barrier listed;                          // the list of pieces is there
    Barrier list_free;                       // all warps are done with it
    Barrier queries_full[kMaxQueryBuffers];  // a segment's queries have arrived
    Barrier queries_free[kMaxQueryBuffers];  // all computing warps are done with the segment
    Item items[kMaxSlots];
    Role roles[kMaxComputeWarps];     // here, since registers are few
    Limits limits[kMaxWarps][kSlab];  // of each warp's rows
    Softmax softmaxes[kMaxComputeWarps][kSlab];
    SplitRow found[kMaxWarps];  // output rows of this CTA
#ifdef HOGWILD_RACECHECK
    // Instead of the named barriers, of which racecheck loses track where different warps use one by turns.
    Barrier compute_warps;
    Barrier slab_warps[kMaxSlabs][kMaxSlices - 1];  // by slab and number of warps
#endif

    // By all threads, before a barrier of the CTA. An initialisation takes long: each warp does few.
    template <typename Traits>
    __device__ void init(int num_slots) {
        if (threadIdx.x % 32 != 0) return;
#ifdef HOGWILD_RACECHECK
        if (threadIdx.x == 0) {
            compute_warps.init(Traits::kComputeThreads);
            for (int slab = 0; slab < kMaxSlabs; ++slab) {
                for (int warps = 2; warps <= kMaxSlices; ++warps)
                    slab_warps[slab][warps - 2].init(32 * warps);
            }
        }
#endif
#pragma unroll 1
        for (int i = threadIdx.x / 32; i < num_slots + kMaxQueryBuffers + 1; i += Traits::kWarps) {
            const int buffer = i - num_slots;
            if (i < num_slots) {
                full[i].init(32 + 1);  // a copying warp, and who writes the item
                empty[i].init(Traits::kComputeThreads);
            } else if (buffer < kMaxQueryBuffers) {
                queries_full[buffer].init(Traits::kOneSession ? Traits::kComputeThreads - 32 : 32);
                queries_free[buffer].init(Traits::kComputeThreads);
            } else {
                listed.init(32);
                list_free.init(Traits::kThreads);
            }
        }
    }
};

// A place in the ring, and how often it has been come round: in one register, since there are few.
class RingPlace {
  public:
    __device__ int index() const { return place / 2; }
    __device__ unsigned phase() const { return place % 2; }
    __device__ void advance(int size, int places = 1) {
        place += 2 * places;
        if (place >= 2 * size) place = (place - 2 * size) ^ 1;
    }
    // By any number of places.
    __device__ RingPlace after(int places, int size) const {
        const int end = index() + places;
        RingPlace result;
        result.place = end % size * 2 + ((end / size ^ place) & 1);
        return result;
    }

  private:
    int place = 0;
};

}  // namespace hogwild::cuda
