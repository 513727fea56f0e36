// How one attention call is cut into tasks. Nothing here depends on the number of threads, and a group's part
// depends on that group alone.
//
// The rows of a group that share a kv head (tokens x query heads per kv head) are cut into row tiles; a
// tile's spans are the runs of keys, block by block, that at least one of its rows sees. All spans of a tile,
// laid end to end, are cut into pieces of equal length, whatever blocks they cross: one task per piece and kv
// head.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "csrc/params.h"

namespace hogwild::cpu {

// Rows that share one pass over keys and values; bounded so that their accumulator stays in the L2 cache.
constexpr int kMaxTileRows = 128;

// Distance in floats between two vectors of a tile's rows: a multiple of the widest vector's lanes.
constexpr int kRowAlign = 16;

// Keys [begin, end) of a block.
struct Span {
    int block;
    int column;  // of query_pos: the block's index in its group
    int begin;
    int end;
};

struct RowTile {
    int64_t first_row;  // row of a tile: token * (H / K) + query head within the kv head
    int num_rows;
    int row_stride;  // num_rows rounded up to kRowAlign
    int first_span;
    int num_spans;
    int64_t num_keys;  // of all spans
    int64_t piece;     // keys of a task
    int num_splits;    // tasks for each kv head
    int64_t
        first_partial;  // in floats from the start of the workspace's partial results; -1: one split, none
};

struct Task {
    int tile;
    int kv_head;
    int split;
};

class AttentionPlan {
  public:
    explicit AttentionPlan(const AttentionParams& params);

    const std::vector<Span>& spans() const { return spans_; }
    const std::vector<RowTile>& tiles() const { return tiles_; }
    const std::vector<Task>& tasks() const { return tasks_; }
    int64_t multiply_adds() const { return multiply_adds_; }    // of all tasks
    int64_t partial_floats() const { return partial_floats_; }  // of all tiles
    int64_t scratch_floats() const { return scratch_floats_; }  // of one thread

  private:
    // Row tiles of tokens [begin, end), which see the blocks [first_block, last_block).
    void add_tokens(const AttentionParams& params, int begin, int end, int first_block, int last_block);
    void add_spans(const AttentionParams& params, RowTile& tile, int first_block, int last_block);
    void split_tiles(const AttentionParams& params, size_t first_tile);

    std::vector<Span> spans_;
    std::vector<RowTile> tiles_;
    std::vector<Task> tasks_;
    int64_t multiply_adds_ = 0;
    int64_t partial_floats_ = 0;
    int64_t scratch_floats_ = 0;
};

}  // namespace hogwild::cpu
