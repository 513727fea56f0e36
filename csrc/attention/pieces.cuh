// What of the line is a CTA's own, piece by piece.
#pragma once

#include "csrc/attention/plan.cuh"
#include "csrc/attention/ring.cuh"

namespace hogwild::cuda {

// The list of pieces in shared memory as it is written. By the planning warp, a lane a block.
class PieceList {
  public:
    __device__ PieceList(const AttentionLaunch& launch, PlanMemory& memory)
        : launch(launch), m(memory), lane(threadIdx.x % 32) {}

    // What of the line is the CTA's.
    int begin_at = 0;
    int end_at = 0;

    // Begins an empty list.
    __device__ void clear() { count = items = 0; }
    __device__ int size() const { return count; }

    // Ends it; `more` tells whether another one follows.
    __device__ void end(bool more) {
        if (lane != 0) return;
        m.num_items = items;
        m.num_pieces = count;
        m.more_pieces = more;
    }

    // The keys of a block that lie in this CTA's part; `place` is the block's on the line.
    __device__ KeyRange own(const KeyRange& keys, int place) const {
        return {cut(begin_at - place, keys), min(cut(end_at - place, keys), keys.end)};
    }

    // Adds the blocks of 32 lanes of which keys are `own`; all but these and the place in the list is in
    // `piece`, whose `opens` is that of the first and whose `closes` is that of the last. The rotation of the
    // first need not be an item of the ring.
    template <bool kFirstHasAngles = true>
    __device__ void add(Piece piece, const KeyRange& own) {
        piece.begin = own.begin;
        piece.end = own.end;
        const bool used = own.begin < own.end;
        const unsigned all_used = __ballot_sync(~0u, used);
        const int below = __popc(all_used & ((1u << lane) - 1));
        if (!kFirstHasAngles && below == 0) piece.num_angles = 0;
        const int size = used ? piece.num_angles + piece.num_tiles() : 0;
        const int num_used = __popc(all_used);
        int last = size;
        if (num_used > 1) last = inclusive_sum(size);
        if (used) {
            piece.opens = piece.opens && below == 0;
            piece.closes = piece.closes && below + 1 == num_used;
            piece.first_item = items + last - size;
            m.pieces[count + below] = piece;
        }
        count += num_used;
        items += __shfl_sync(~0u, last, num_used > 1 ? 31 : __ffs(all_used) - 1 & 31);
    }

    // So that a segment of which no keys are left is written all the same.
    __device__ void add_without_keys(Piece piece) {
        piece.block = piece.begin = piece.end = 0;
        piece.first_item = items;
        if (lane == 0) m.pieces[count] = piece;
        items += piece.num_angles + piece.num_tiles();
        ++count;
    }

    // Items of the ring that the rotation of a unit's queries takes up.
    __device__ int num_angles(int tokens) const {
        if (launch.slot_tokens == 0) return 0;
        return tokens <= launch.slot_tokens ? 1 : (tokens + launch.slot_tokens - 1) / launch.slot_tokens;
    }

  private:
    // The key at which a cut of the line falls, `distance` after the start of the block on it: the block's
    // begin or end where so few keys would be cut off that entering the block costs more.
    __device__ int cut(int distance, const KeyRange& keys) const {
        constexpr int kFewest = 2;
        const int runs = keys.runs();
        int at = distance - launch.block_cost;
        if (at < runs) {
            if (at < kFewest) at = 0;
            if (at > runs - kFewest) at = at > 0 ? runs : 0;
        }
        return keys.begin + min(at, runs) * kRun;
    }

    const AttentionLaunch& launch;
    PlanMemory& m;
    const int lane;
    int count = 0;
    int items = 0;
};

}  // namespace hogwild::cuda
