// The list of pieces: what of the line is a CTA's own.
#pragma once

#include <cstdint>

#include "csrc/attention/plan.cuh"
#include "csrc/attention/ring.cuh"

namespace hogwild::cuda {

// Lists the pieces of a CTA's part of the line. By the planning warp, a lane a block; it keeps where the list
// goes on.
class Lister {
  public:
    __device__ Lister(const AttentionParams& params, const AttentionLaunch& launch, Plan& plan,
                      PlanMemory& memory)
        : p(params), launch(launch), plan(plan), m(memory), lane(threadIdx.x % 32) {}

    // `begin` and `list` for a call of one session where this part is of one kv head, as it mostly is when a
    // session decodes: by fewer instructions, since all warps wait for them. Returns whether it is one.
    __device__ bool list_at_once() {
        const Tables& tables = plan.tables;
        if (!plan.is_single() || !tables.is_staged() || p.num_groups != 1 || p.num_blocks > 32) return false;
        const int first_token = tables.staged_group_tokens()[0];
        const int tokens = tables.staged_group_tokens()[1] - first_token;
        const int first_block = tables.staged_group_blocks()[0];
        KeyRange keys{0, 0};
        if (lane < tables.staged_group_blocks()[1] - first_block) {
            const int* position = tables.staged_query_pos() + first_token * p.num_columns + lane;
            keys = plan.seen(tables.staged_block_lens()[first_block + lane], tokens,
                             [&](int t) { return position[t * p.num_columns]; });
        }
        const int cost = plan.cost(keys);
        const int last = inclusive_sum(cost);
        const int weight = __shfl_sync(~0u, last, 31);
        const Line line(weight * p.cache.num_kv_heads, launch.num_ctas);
        begin_at = line.begin_of(blockIdx.x, launch.num_ctas);
        end_at = line.begin_of(blockIdx.x + 1, launch.num_ctas);
        const int rows = tokens * launch.ratio.divisor();
        if (begin_at < end_at) {
            head = whole(begin_at, weight);
            const int start = head * weight;
            if (end_at > start + weight) return false;
            Piece piece{};
            piece.head = head;
            piece.first_token = piece.begin_token = first_token;
            piece.num_tokens = tokens;
            piece.num_rows = rows;
            piece.num_angles = num_angles(tokens);
            piece.slabs = num_slabs(rows);
            piece.slices = num_slices(piece.slabs, launch);
            piece.opens = piece.closes = true;
            piece.began_before = start < begin_at;
            piece.goes_on = start + weight > end_at;
            piece.block = lane;
            piece.table_row = first_block + lane;
            add(piece, keys, start + last - cost);
            if (count == 0) add_without_keys(piece);
        }
        if (lane == 0) {
            plan.units[0] = {0, 0, rows, weight, 0};
            m.line = line;
            m.num_units = tokens > 0;
            m.num_items = items;
            m.num_pieces = count;
            m.more_pieces = false;
            m.num_lists = 1;
        }
        return true;
    }

    // Finds the part.
    __device__ void begin() {
        at_once = list_at_once();
        if (at_once) return;
        if (lane == 0) m.num_lists = 0;
        if (plan.is_single()) {
            weigh_single();
        } else {
            place_units();
        }
    }

    // Writes the next pieces to memory.pieces.
    __device__ void list() {
        if (at_once) return;
        count = items = 0;
        bool full = false;
#pragma unroll 1
        while (index < m.num_units && !full) {
            const Unit unit = plan.is_single() ? single : plan.units[index];
            const int start = unit.start + head * unit.weight;
            if (start >= end_at) break;
            if (unit.weight == 0) {
                ++index;
                continue;
            }
            Piece piece{};
            piece.head = head;
            piece.first_token = plan.tables.group_token(unit.group);
            piece.begin_token = plan.begin_token(unit);
            piece.num_tokens = plan.num_tokens(unit);
            piece.first_row = unit.first_row;
            piece.num_rows = unit.num_rows;
            piece.num_angles = num_angles(piece.num_tokens);
            piece.slabs = num_slabs(unit.num_rows);
            piece.slices = num_slices(piece.slabs, launch);
            piece.segment = segment;
            piece.began_before = start < begin_at;
            piece.goes_on = start + unit.weight > end_at;
            const int first_row = plan.tables.group_block(unit.group);
            const int blocks = plan.num_blocks(unit);
            const int before = count;
#pragma unroll 1
            for (; first_block < blocks; first_block += 32) {
                full = count + 32 >= kMaxPieces;  // keeps a place for a piece without keys
                if (full) break;
                piece.block = first_block + lane;
                piece.table_row = first_row + piece.block;
                KeyRange keys{0, 0};
                int last = single_last;
                if (plan.is_single() && blocks <= 32) {
                    keys = single_keys;
                } else {
                    if (piece.block < blocks) {
                        keys = plan.visible(first_row, piece.begin_token, piece.num_tokens, piece.block);
                    }
                    last = inclusive_sum(plan.cost(keys));
                }
                const int place = start + offset + last - plan.cost(keys);
                piece.opens = !opened && count == before;  // of the first that is used
                add(piece, keys, place);
                offset += __shfl_sync(~0u, last, 31);
            }
            opened = opened || count > before;
            if (full) break;
            __syncwarp();
            if (count == before) {
                piece.opens = !opened;
                piece.closes = true;
                add_without_keys(piece);
            } else if (lane == 0) {
                m.pieces[count - 1].closes = true;
            }
            first_block = 0;
            offset = 0;
            opened = false;
            ++segment;
            if (++head == p.cache.num_kv_heads) {
                head = 0;
                ++index;
            }
            full = count + 32 >= kMaxPieces;
        }
        if (lane == 0) {
            m.num_items = items;
            m.num_pieces = count;
            m.more_pieces = full;
            ++m.num_lists;
        }
    }

  private:
    // One unit at most, whose blocks are weighed and lined up at once.
    __device__ void weigh_single() {
        const Tables& tables = plan.tables;
        const int first_token = tables.group_token(0);
        const int tokens = tables.group_token(p.num_groups) - first_token;
        const int first_block = tables.group_block(0);
        const int blocks = tables.group_block(p.num_groups) - first_block;
        int weight = 0;
#pragma unroll 1
        for (int block = lane; block - lane < blocks; block += 32) {
            single_keys = {0, 0};
            if (tokens > 0 && block < blocks)
                single_keys = plan.visible(first_block, first_token, tokens, block);
            single_last = inclusive_sum(plan.cost(single_keys));
            weight += __shfl_sync(~0u, single_last, 31);
        }
        single = {0, 0, tokens * launch.ratio.divisor(), weight, 0};
        if (lane == 0) {
            plan.units[0] = single;
            m.num_units = tokens > 0;
        }
        plan.set_parts(weight * p.cache.num_kv_heads);
        begin_at = plan.part(blockIdx.x);
        end_at = plan.part(blockIdx.x + 1);
        if (begin_at < end_at) {
            head = whole(begin_at, weight);
        } else {
            index = 1;
        }
    }

    // Lines the units up.
    __device__ void place_units() {
        int length = 0;
#pragma unroll 1
        for (int first = 0; first < m.num_units; first += 32) {
            const int i = first + lane;
            const int weight = i < m.num_units ? plan.units[i].weight * p.cache.num_kv_heads : 0;
            const int last = inclusive_sum(weight);
            if (i < m.num_units) plan.units[i].start = length + last - weight;
            length += __shfl_sync(~0u, last, 31);
        }
        plan.set_parts(length);
        begin_at = plan.part(blockIdx.x);
        end_at = plan.part(blockIdx.x + 1);
        if (begin_at == end_at) {
            index = m.num_units;
            return;
        }
        // The unit that holds `begin_at` is the last that starts there or before and is not empty.
        int holder = 0;
#pragma unroll 1
        for (int i = lane; i < m.num_units; i += 32) {
            if (plan.units[i].start <= begin_at && plan.units[i].weight > 0) holder = i;
        }
        index = __reduce_max_sync(~0u, holder);
        head = whole(begin_at - plan.units[index].start, plan.units[index].weight);
    }

    // Adds the blocks of 32 lanes that lie in this CTA's part; all but the keys and the place in the list is
    // in `piece`, whose `opens` is that of the first and whose `closes` is that of the last.
    __device__ void add(Piece piece, const KeyRange& keys, int place) {
        piece.begin = cut(begin_at - place, keys);
        const int cut_end = cut(end_at - place, keys);
        const bool used = piece.begin < cut_end;
        piece.end = min(cut_end, keys.end);
        const unsigned all_used = __ballot_sync(~0u, used);
        const int below = __popc(all_used & ((1u << lane) - 1));
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

    // Items of the ring that the rotation of a unit's queries takes up.
    __device__ int num_angles(int tokens) const {
        if (launch.slot_tokens == 0) return 0;
        return tokens <= launch.slot_tokens ? 1 : (tokens + launch.slot_tokens - 1) / launch.slot_tokens;
    }

    // How many heads, of which each takes up `weight` of the line, fit into a distance. They are few, and
    // division of integers takes longer than all the rest.
    __device__ static int whole(int distance, int weight) {
        int heads = static_cast<int>(__fdividef(static_cast<float>(distance), static_cast<float>(weight)));
        while (heads * weight > distance) --heads;
        while ((heads + 1) * weight <= distance) ++heads;
        return heads;
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    Plan& plan;
    PlanMemory& m;
    const int lane;
    // Where the list goes on.
    bool at_once = false;  // all of it is there
    int index = 0;         // of the unit
    int head = 0;
    int first_block = 0;
    int offset = 0;       // on the line, of that block within its unit and head
    bool opened = false;  // the segment has had a piece
    int segment = 0;
    // The CTA's part of the line.
    int begin_at = 0;
    int end_at = 0;
    // The list so far.
    int count = 0;
    int items = 0;
    // Of one unit, with a block a lane: the keys that are seen, and where they end on the line.
    Unit single{};
    KeyRange single_keys{0, 0};
    int single_last = 0;
};

}  // namespace hogwild::cuda
