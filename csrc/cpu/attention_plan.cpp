#include "csrc/cpu/attention_plan.h"

#include <algorithm>
#include <limits>

#include "csrc/cpu/attention_kernel.h"

namespace hogwild::cpu {
namespace {

// A group is cut into about this many tasks, fewer if they would be too small to pay for their start.
constexpr int64_t kTasksPerGroup = 128;
constexpr int64_t kMinTaskKeys = 128;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

}  // namespace

AttentionPlan::AttentionPlan(const AttentionParams& params) {
    int token = 0;
    for (int group = 0; group < params.num_groups; ++group) {
        const int begin = params.group_tokens[group], end = params.group_tokens[group + 1];
        add_tokens(params, token, begin, 0, 0);  // padding before the group: tokens that see nothing
        add_tokens(params, begin, end, params.group_blocks[group], params.group_blocks[group + 1]);
        token = end;
    }
    add_tokens(params, token, params.num_tokens, 0, 0);

    int max_stride = 0;
    for (const RowTile& tile : tiles_) {
        max_stride = std::max(max_stride, tile.row_stride);
        multiply_adds_ += tile.num_keys * tile.row_stride * params.cache.num_kv_heads *
                          (params.cache.head_dim + params.cache.value_dim);
    }
    scratch_floats_ = scratch_size(params.cache, max_stride);
}

void AttentionPlan::add_tokens(const AttentionParams& params, int begin, int end, int first_block,
                               int last_block) {
    const int64_t ratio = params.num_heads / params.cache.num_kv_heads;
    const size_t first_tile = tiles_.size();
    for (int64_t row = begin * ratio; row < end * ratio; row += kMaxTileRows) {
        RowTile tile{};
        tile.first_row = row;
        tile.num_rows = static_cast<int>(std::min<int64_t>(kMaxTileRows, end * ratio - row));
        tile.row_stride = static_cast<int>(round_up(tile.num_rows, kRowAlign));
        add_spans(params, tile, first_block, last_block);
        tiles_.push_back(tile);
    }
    split_tiles(params, first_tile);
}

void AttentionPlan::add_spans(const AttentionParams& params, RowTile& tile, int first_block, int last_block) {
    const int ratio = params.num_heads / params.cache.num_kv_heads;
    const int64_t first_token = tile.first_row / ratio;
    const int64_t last_token = (tile.first_row + tile.num_rows - 1) / ratio;
    tile.first_span = static_cast<int>(spans_.size());
    for (int block = first_block; block < last_block; ++block) {
        const int column = block - first_block;
        Span span{block, column, std::numeric_limits<int>::max(), 0};
        for (int64_t token = first_token; token <= last_token; ++token) {
            const KeyRange range = visible_keys(params, token, column, params.block_lens[block]);
            if (range.begin >= range.end) continue;
            span.begin = std::min(span.begin, range.begin);
            span.end = std::max(span.end, range.end);
        }
        if (span.begin >= span.end) continue;
        spans_.push_back(span);
        tile.num_keys += span.end - span.begin;
    }
    tile.num_spans = static_cast<int>(spans_.size()) - tile.first_span;
}

void AttentionPlan::split_tiles(const AttentionParams& params, size_t first_tile) {
    const int num_kv_heads = params.cache.num_kv_heads;
    int64_t group_keys = 0;
    for (size_t tile = first_tile; tile < tiles_.size(); ++tile) group_keys += tiles_[tile].num_keys;
    const int64_t wanted = std::max(kMinTaskKeys, group_keys * num_kv_heads / kTasksPerGroup);

    // Last tile first: where queries are causal it sees the most keys, and long tasks should not start last.
    for (size_t index = tiles_.size(); index-- > first_tile;) {
        RowTile& tile = tiles_[index];
        const int64_t splits = std::max<int64_t>(1, divide_up(tile.num_keys, wanted));
        tile.piece = round_up(divide_up(tile.num_keys, splits), kTileKeys / 2);
        tile.num_splits =
            static_cast<int>(std::max<int64_t>(1, tile.piece ? divide_up(tile.num_keys, tile.piece) : 1));
        tile.first_partial = -1;
        if (tile.num_splits > 1) {
            tile.first_partial = partial_floats_;
            partial_floats_ += partial_size(params.cache, tile.row_stride) * tile.num_splits * num_kv_heads;
        }
        for (int kv_head = 0; kv_head < num_kv_heads; ++kv_head) {
            for (int split = 0; split < tile.num_splits; ++split) {
                tasks_.push_back({static_cast<int>(index), kv_head, split});
            }
        }
    }
}

}  // namespace hogwild::cpu
