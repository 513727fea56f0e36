// Sizes that the attention kernel and its launch agree on.
#pragma once

namespace hogwild::cuda {

// Which calls a kernel serves: all; or those of one session whose keys are read once, where each CTA has keys
// of one kv head; or those of these with so few keys that shared memory has room for all of them. The smaller
// a kernel, the sooner it runs: of its instructions, only those at its begin are fetched before it is
// launched (docs/kernel.md).
enum class Calls { kAll, kOneSession, kFewKeys };

// Most warps of a CTA compute; the last ones only bring keys and values from device memory, and the first of
// those plans. Twelve warps are three on each quarter of a multiprocessor, which leaves each thread 168
// registers. The sums of 256 dims need more; those of 64 need less, and their softmax, which is as much work
// for half of the bytes, more warps.
constexpr int compute_warps(int head_dim) { return head_dim > 128 ? 6 : head_dim > 64 ? 10 : 14; }
constexpr int kMaxComputeWarps = compute_warps(64);
constexpr int kCopyWarps = 2;
constexpr int kMaxWarps = kMaxComputeWarps + kCopyWarps;

// Rows of one mma tile. A slab is the 16 rows of M that one warp has.
constexpr int kSlab = 16;

// Keys come in runs of 16: what mma takes at once, where work is cut, and what pages are multiples of. A tile
// is what one warp takes from one block at once.
constexpr int kRun = 16;
constexpr int kTileRuns = 2;
constexpr int kTileKeys = kTileRuns * kRun;

// The most rows of one pass. More of 256 dims would leave too little shared memory for tiles.
constexpr int kMaxSlabs = 8;
constexpr int kMaxSlices = 4;  // warps that share a slab, each with some of the tiles
constexpr int most_rows(int head_dim) { return kSlab * (head_dim > 128 ? kMaxSlabs / 2 : kMaxSlabs); }

// Bytes of a row of keys, values or queries in shared memory. Rows of whole 128-byte lines are swizzled;
// others get 16 bytes of padding, so that ldmatrix finds eight rows in different banks either way.
constexpr bool rows_are_lines(int head_dim) { return head_dim % 64 == 0; }
constexpr int row_chunks(int head_dim) { return rows_are_lines(head_dim) ? head_dim / 8 : head_dim / 8 | 1; }
constexpr int row_bytes(int head_dim) { return 16 * row_chunks(head_dim); }
constexpr int tile_bytes(int head_dim) { return 2 * kTileKeys * row_bytes(head_dim); }  // keys and values
// 256 dims take all registers for the sums.
constexpr bool queries_in_registers(int head_dim) { return head_dim <= 128; }
constexpr bool rotates_registers(Calls calls, int head_dim) {
    return calls != Calls::kAll && queries_in_registers(head_dim);
}
constexpr int slab_bytes(int head_dim) { return kSlab * row_bytes(head_dim); }
// A slab's sums are twice as many bytes as its queries, and take so many passes at most.
constexpr int kMaxSumPasses = 2;
constexpr int least_sum_passes(int head_dim) { return queries_in_registers(head_dim) ? 1 : kMaxSumPasses; }
constexpr int sums_bytes(int head_dim, int passes) { return slab_bytes(head_dim) * kMaxSumPasses / passes; }

// Places of the ring in shared memory, a multiple of kCopyWarps. Each takes a tile, or the rotation of a
// block's queries.
constexpr int kMinSlots = 2;
constexpr int kFewSlots = 4;
constexpr int kMaxSlots = 16;
// More requests on their way only wait for each other. Tiles of 64 dims are half as large; where a CTA has
// few of them, more of them do not help either.
constexpr int kManyTiles = 128;
constexpr int best_slots(int head_dim, bool many_tiles) { return head_dim > 64 || !many_tiles ? 6 : 8; }
constexpr int kMaxQueryBuffers = 2;
static_assert(kMinSlots % kCopyWarps == 0 && kFewSlots % kCopyWarps == 0 && kMaxSlots % kCopyWarps == 0 &&
              best_slots(64, true) % kCopyWarps == 0 && best_slots(64, false) % kCopyWarps == 0);

// Bytes of a token's cosines and sines in the ring: padded, so that the rows of several tokens are in
// different banks.
constexpr int angle_bytes(int half) { return (2 * half * 4 + 15) / 16 * 16 + 16; }

// What entering a block costs, in runs of keys: the rotation of the queries, and a tile that may be nearly
// empty.
constexpr int block_cost(int head_dim) { return head_dim > 64 ? 4 : 6; }

// The kernel for few keys: its workers, and what a CTA has at most. One warp more waits for the grid's
// barrier.
constexpr int kFewWorkers = 12;
constexpr int kMostFewRuns = 16;
constexpr int kMostFewSlabs = 4;
constexpr int kMostFewBlocks = 4;  // whose rotated queries are in shared memory
constexpr int kMostFewPages = 2048;

// Bounds of what is kept in shared memory for every row tile, and of the integers that are copied to it.
constexpr int kMaxUnits = 2048;
constexpr int kMaxStagedInts = 768;

}  // namespace hogwild::cuda
