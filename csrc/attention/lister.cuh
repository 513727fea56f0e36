// The list of pieces: what of the line is a CTA's own.
#pragma once

#include <cstdint>

#include "csrc/attention/pieces.cuh"

namespace hogwild::cuda {

// Lists the pieces of a CTA's part of the line. By the planning warp, a lane a block; it keeps where the list
// goes on.
template <typename Traits>
class Lister {
  public:
    __device__ Lister(const AttentionParams& params, const AttentionLaunch& launch, Plan<Traits>& plan,
                      PlanMemory& memory)
        : p(params), launch(launch), plan(plan), m(memory), lane(threadIdx.x % 32), pieces(launch, memory) {}

    // Finds the part.
    __device__ void begin() {
        if (lane == 0) m.num_lists = 0;
        if (plan.is_single()) {
            weigh_single();
        } else {
            place_units();
        }
    }

    // Writes the next pieces to memory.pieces.
    __device__ void list() {
        pieces.clear();
        bool full = false;
#pragma unroll 1
        while (index < m.num_units && !full) {
            const Unit unit = plan.is_single() ? single : plan.units[index];
            const int start = unit.start + head * unit.weight;
            if (start >= pieces.end_at) break;
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
            piece.num_angles = pieces.num_angles(piece.num_tokens);
            piece.slabs = num_slabs(unit.num_rows);
            piece.slices = num_slices(piece.slabs, launch);
            piece.segment = segment;
            piece.began_before = start < pieces.begin_at;
            piece.goes_on = start + unit.weight > pieces.end_at;
            const int first_row = plan.tables.group_block(unit.group);
            const int blocks = plan.num_blocks(unit);
            const int before = pieces.size();
#pragma unroll 1
            for (; first_block < blocks; first_block += 32) {
                full = pieces.size() + 32 >= kMaxPieces;  // keeps a place for a piece without keys
                if (full) break;
                piece.block = first_block + lane;
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
                KeyRange own = pieces.own(keys, start + offset + last - plan.cost(keys));
                if (blocks < 32 && !plan.is_single()) part_longest(blocks, piece.block, own);
                piece.table_row = first_row + piece.block;
                piece.opens = !opened && pieces.size() == before;  // of the first that is used
                pieces.add(piece, own);
                offset += __shfl_sync(~0u, last, 31);
            }
            opened = opened || pieces.size() > before;
            if (full) break;
            __syncwarp();
            if (pieces.size() == before) {
                piece.opens = !opened;
                piece.closes = true;
                pieces.add_without_keys(piece);
            } else if (lane == 0) {
                m.pieces[pieces.size() - 1].closes = true;
            }
            first_block = 0;
            offset = 0;
            opened = false;
            ++segment;
            if (++head == p.cache.num_kv_heads) {
                head = 0;
                ++index;
            }
            full = pieces.size() + 32 >= kMaxPieces;
        }
        pieces.end(full);
        if (lane == 0) ++m.num_lists;
    }

  private:
    // One unit at most, whose blocks are weighed and lined up at once.
    __device__ void weigh_single() {
        const auto& tables = plan.tables;
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
        pieces.begin_at = plan.part(blockIdx.x);
        pieces.end_at = plan.part(blockIdx.x + 1);
        if (pieces.begin_at < pieces.end_at) {
            head = whole(pieces.begin_at, weight);
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
        pieces.begin_at = plan.part(blockIdx.x);
        pieces.end_at = plan.part(blockIdx.x + 1);
        if (pieces.begin_at == pieces.end_at) {
            index = m.num_units;
            return;
        }
        // The unit that holds `pieces.begin_at` is the last that starts there or before and is not empty.
        int holder = 0;
#pragma unroll 1
        for (int i = lane; i < m.num_units; i += 32) {
            if (plan.units[i].start <= pieces.begin_at && plan.units[i].weight > 0) holder = i;
        }
        index = __reduce_max_sync(~0u, holder);
        head = whole(pieces.begin_at - plan.units[index].start, plan.units[index].weight);
    }

    // Has the longest of fewer than 32 blocks in two parts, before and behind all others. Small blocks keep
    // device memory less busy than long ones: it should have something to do at both ends, and not all CTAs
    // should have small blocks at the same time.
    __device__ void part_longest(int blocks, int& block, KeyRange& keys) const {
        constexpr int kTurns = 4;    // CTAs in a row that differ
        constexpr int kFewest = 32;  // runs that are worth another rotation
        const int runs = keys.runs();
        const int most = __reduce_max_sync(~0u, runs);
        const int longest = __ffs(__ballot_sync(~0u, runs == most)) - 1;
        const int turn = static_cast<int>(blockIdx.x % kTurns) + 1;
        const int first_runs = most < kFewest ? most : most * turn / (kTurns + 1) / kTileRuns * kTileRuns;
        block = lane == 0 || lane == blocks ? longest : lane <= longest ? lane - 1 : lane;
        keys.begin = __shfl_sync(~0u, keys.begin, block);
        keys.end = __shfl_sync(~0u, keys.end, block);
        const int middle = min(keys.begin + first_runs * kRun, keys.end);
        if (lane == 0) keys.end = middle;
        if (lane == blocks) keys.begin = middle;
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
    Plan<Traits>& plan;
    PlanMemory& m;
    const int lane;
    // Where the list goes on.
    int index = 0;  // of the unit
    int head = 0;
    int first_block = 0;
    int offset = 0;       // on the line, of that block within its unit and head
    bool opened = false;  // the segment has had a piece
    int segment = 0;
    PieceList pieces;
    // Of one unit, with a block a lane: the keys that are seen, and where they end on the line.
    Unit single{};
    KeyRange single_keys{0, 0};
    int single_last = 0;
};

}  // namespace hogwild::cuda
