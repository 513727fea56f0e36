// Sizes that the attention kernel and its launch agree on.
#pragma once

namespace hogwild::cuda {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;

// Rows of one mma tile. A slab is the 16 rows of M that one warp has.
constexpr int kSlab = 16;
constexpr int kMaxSlabs = kWarps;

// Keys come in runs of 16: what mma takes at once, where work is cut, and what pages are multiples of.
constexpr int kRun = 16;

// Keys of one stage of the pipeline, and the most rows of one pass. 256 dims of 32 keys take as much shared
// memory and as many registers as 128 of 64, and 128 rows of them would take all of it for the queries.
constexpr int tile_keys(int head_dim) { return head_dim > 128 ? 32 : 64; }
constexpr int most_rows(int head_dim) { return head_dim > 128 ? 64 : kSlab * kMaxSlabs; }

// Bytes of a row of keys, values or queries in shared memory. Rows of whole 128-byte lines are swizzled;
// others get 16 bytes of padding, so that ldmatrix finds eight rows in different banks either way.
constexpr int row_chunks(int head_dim) { return head_dim % 64 == 0 ? head_dim / 8 : head_dim / 8 | 1; }
constexpr int row_bytes(int head_dim) { return 16 * row_chunks(head_dim); }
constexpr int stage_bytes(int head_dim) { return 2 * tile_keys(head_dim) * row_bytes(head_dim); }

constexpr int kMinStages = 2;
constexpr int kMaxStages = 6;

// What entering a block costs, in runs of keys: the rotation of the queries, and a tile that may be nearly
// empty.
constexpr int kBlockCost = 2;

// The most row tiles of one launch: the plan in shared memory has a unit for each.
constexpr int kMaxUnits = 2048;

}  // namespace hogwild::cuda
