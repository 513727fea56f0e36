// Who does what: every CTA finds its share of the keys by itself, from lengths and positions in device
// memory. work.cuh says how it is divided.
#pragma once

#include <cstdint>

#include "csrc/attention/attention.h"
#include "csrc/attention/config.h"
#include "csrc/attention/tables.cuh"
#include "csrc/attention/work.cuh"
#include "csrc/params.h"

namespace hogwild::cuda {

class Plan {
  public:
    __device__ Plan(const AttentionParams& params, const AttentionLaunch& launch, PlanMemory& memory)
        : p(params),
          launch(launch),
          m(memory),
          units(reinterpret_cast<Unit*>(&memory + 1)),
          tables(params, launch, reinterpret_cast<int*>(units + launch.max_units)),
          lane(threadIdx.x % 32) {}

    // By all threads, which do what else there is to do, `meanwhile`, while they wait for device memory. Has
    // a barrier behind that. The units can be read after the next one, by the first warp at once.
    template <typename Meanwhile>
    __device__ void make(Meanwhile meanwhile) {
        tables.stage(meanwhile);
        const int warp = threadIdx.x / 32;
        if (launch.max_units == 1) {
            if (warp == 0) make_single();
            return;
        }
        if (warp == 0) find_units();
        __syncthreads();
        for (int unit = warp; unit < m.num_units; unit += kWarps) weigh(unit);
        __syncthreads();
        if (warp == 0) place_units();
    }

    // Writes the next pieces to memory.pieces. By the first warp, a lane a block.
    __device__ void list_pieces() {
        int count = 0;
        int items = 0;
        int index = m.unit;
        int head = m.head;
        int first_block = m.block;
        int offset = m.offset;
        bool opened = m.opened;
        int segment = m.segment;
        bool full = false;
#pragma unroll 1
        while (index < m.num_units && !full) {
            const Unit unit = units[index];
            const int start = unit.start + head * unit.weight;
            if (start >= m.end) break;
            if (unit.weight == 0) {
                ++index;
                continue;
            }
            const int blocks = num_blocks(unit);
            const int angles = num_angles(unit);
            const int before = count;
#pragma unroll 1
            for (; first_block < blocks; first_block += 32) {
                full = count + 32 >= kMaxPieces;  // keeps a place for a piece without keys
                if (full) break;
                const int block = first_block + lane;
                KeyRange keys{0, 0};
                if (launch.max_units == 1 && blocks <= 32) {
                    keys = last_range;  // still known
                } else if (block < blocks) {
                    keys = visible(unit, block);
                }
                const int size = cost(keys);
                const int last = inclusive_sum(size);
                const int place = start + offset + last - size;
                const int begin = cut(m.begin - place, keys);
                const int end = cut(m.end - place, keys);
                const unsigned used = __ballot_sync(~0u, begin < end);
                Piece piece{index, head, block, begin, min(end, keys.end), false, false, segment, 0, angles};
                const int size_in_ring = begin < end ? angles + piece.num_tiles() : 0;
                const int last_item = inclusive_sum(size_in_ring);
                if (begin < end) {
                    const int slot = count + __popc(used & ((1u << lane) - 1));
                    piece.opens = !opened && slot == before;
                    piece.first_item = items + last_item - size_in_ring;
                    m.pieces[slot] = piece;
                }
                count += __popc(used);
                items += __shfl_sync(~0u, last_item, 31);
                offset += __shfl_sync(~0u, last, 31);
            }
            opened = opened || count > before;
            if (full) break;
            __syncwarp();
            if (count == before) {
                const Piece piece{index, head, 0, 0, 0, !opened, true, segment, items, angles};
                if (lane == 0) m.pieces[count] = piece;
                items += angles + piece.num_tiles();
                ++count;
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
            ++m.num_lists;
            m.more_pieces = full;
            m.unit = index;
            m.head = head;
            m.block = first_block;
            m.offset = offset;
            m.opened = opened;
            m.segment = segment;
        }
    }

    // The first token of a unit's group.
    __device__ int first_token(const Unit& unit) const { return tables.group_token(unit.group); }

    // The first token that has a row of the unit, and how many have.
    __device__ int begin_token(const Unit& unit) const {
        return first_token(unit) + launch.ratio.quotient(unit.first_row);
    }
    __device__ int num_tokens(const Unit& unit) const {
        return launch.ratio.quotient(unit.first_row + unit.num_rows - 1) -
               launch.ratio.quotient(unit.first_row) + 1;
    }

    // Where a CTA's part of the line begins: at cta * length / num_ctas, so that parts and kv heads begin
    // together where the heads divide the CTAs up.
    __device__ int part(int cta) const { return cta * m.part + launch.num_ctas.quotient(cta * m.rest); }

    // The CTA whose part holds a place on the line.
    __device__ int cta_of(int place) const {
        const float parts = static_cast<float>(launch.num_ctas.divisor());
        int cta = static_cast<int>(place * (parts / m.length));
        cta = min(cta, launch.num_ctas.divisor() - 1);
        while (part(cta) > place) --cta;
        while (part(cta + 1) <= place) ++cta;
        return cta;
    }

    Unit* const units;
    Tables tables;

  private:
    // find_units, weigh and place_units for one unit at most, which is what decoding one session is. By one
    // warp.
    __device__ void make_single() {
        const int rows =
            p.num_groups > 0 ? (tables.group_token(1) - tables.group_token(0)) * launch.ratio.divisor() : 0;
        if (lane == 0) {
            units[0] = {0, 0, rows, 0, 0};
            m.num_units = rows > 0;
        }
        __syncwarp();
        if (rows > 0) weigh(0);
        const int weight = rows > 0 ? units[0].weight : 0;
        set_parts(weight * p.cache.num_kv_heads);
        const int begin = part(blockIdx.x);
        const int end = part(blockIdx.x + 1);
        if (lane == 0)
            set_begin(begin, end, begin < end ? 0 : m.num_units, begin < end ? whole(begin, weight) : 0);
        __syncwarp();
    }

    __device__ void set_parts(int length) {
        if (lane == 0) {
            m.length = length;
            m.part = launch.num_ctas.quotient(length);
            m.rest = launch.num_ctas.remainder(length);
        }
        __syncwarp();
    }

    // Where this CTA's part and its list of pieces begin. By one thread.
    __device__ void set_begin(int begin, int end, int unit, int head) {
        m.begin = begin;
        m.end = end;
        m.num_lists = 0;
        m.unit = unit;
        m.head = head;
        m.block = 0;
        m.offset = 0;
        m.opened = false;
        m.segment = 0;
    }

    // Cuts each group's rows into units of about equal size. By one warp, a lane a group.
    __device__ void find_units() {
        int count = 0;
#pragma unroll 1
        for (int first = 0; first < p.num_groups; first += 32) {
            const int group = first + lane;
            int rows = 0;
            if (group < p.num_groups) {
                rows = (tables.group_token(group + 1) - tables.group_token(group)) * launch.ratio.divisor();
            }
            int size = launch.max_rows;
            int tiles = (rows + size - 1) / size;
            if (tiles > 1) {
                size = ((rows + tiles - 1) / tiles + kSlab - 1) / kSlab * kSlab;
                tiles = (rows + size - 1) / size;
            }
            const int last = inclusive_sum(tiles);
#pragma unroll 1
            for (int tile = 0; tile < tiles; ++tile) {
                Unit& unit = units[count + last - tiles + tile];
                unit.group = group;
                unit.first_row = tile * size;
                unit.num_rows = min(size, rows - tile * size);
            }
            count += __shfl_sync(~0u, last, 31);
        }
        if (lane == 0) m.num_units = count;
        __syncwarp();
    }

    // By one warp, a lane a block.
    __device__ void weigh(int index) {
        Unit& unit = units[index];
        const int blocks = num_blocks(unit);
        int weight = 0;
#pragma unroll 1
        for (int block = lane; block < blocks; block += 32) {
            last_range = visible(unit, block);
            weight += cost(last_range);
        }
        weight = __reduce_add_sync(~0u, weight);
        if (lane == 0) unit.weight = weight;
        __syncwarp();
    }

    // Lines the units up and finds this CTA's part. By one warp.
    __device__ void place_units() {
        int length = 0;
#pragma unroll 1
        for (int first = 0; first < m.num_units; first += 32) {
            const int index = first + lane;
            const int weight = index < m.num_units ? units[index].weight * p.cache.num_kv_heads : 0;
            const int last = inclusive_sum(weight);
            if (index < m.num_units) units[index].start = length + last - weight;
            length += __shfl_sync(~0u, last, 31);
        }
        set_parts(length);
        const int begin = part(blockIdx.x);
        const int end = part(blockIdx.x + 1);
        // The unit that holds `begin` is the last that starts there or before and is not empty.
        int holder = 0;
#pragma unroll 1
        for (int index = lane; index < m.num_units; index += 32) {
            if (units[index].start <= begin && units[index].weight > 0) holder = index;
        }
        holder = __reduce_max_sync(~0u, holder);
        if (lane == 0) {
            const int head = begin < end ? whole(begin - units[holder].start, units[holder].weight) : 0;
            set_begin(begin, end, begin < end ? holder : m.num_units, head);
        }
        __syncwarp();
    }

    // The heads of a unit, of which each takes up `weight` of the line, that are over at a distance from its
    // start. Quotients are small here, and division of integers takes longer than the rest.
    __device__ static int whole(int distance, int weight) {
        int heads = static_cast<int>(__fdividef(static_cast<float>(distance), static_cast<float>(weight)));
        while (heads * weight > distance) --heads;
        while ((heads + 1) * weight <= distance) ++heads;
        return heads;
    }

    // Items of the ring that the rotation of a unit's queries takes up.
    __device__ int num_angles(const Unit& unit) const {
        if (launch.slot_tokens == 0) return 0;
        const int tokens = num_tokens(unit);
        return tokens <= launch.slot_tokens ? 1 : (tokens + launch.slot_tokens - 1) / launch.slot_tokens;
    }

    __device__ int num_blocks(const Unit& unit) const {
        return tables.group_block(unit.group + 1) - tables.group_block(unit.group);
    }

    // The keys of a block that some token of the unit sees, and few more.
    __device__ KeyRange visible(const Unit& unit, int block) const {
        const int length = tables.block_len(tables.group_block(unit.group) + block);
        const int begin = begin_token(unit);
        const int end = begin + num_tokens(unit);
        unsigned nearest = ~0u;  // negative positions are farther than any
        int farthest = -1;
#pragma unroll 4
        for (int t = begin; t < end; ++t) {
            const int position = tables.query_pos(t, block);
            nearest = min(nearest, static_cast<unsigned>(position));
            farthest = max(farthest, position);
        }
        const int unseen = farthest >= 0 && p.window > 0 ? static_cast<int>(nearest) - p.window + 1 : 0;
        return {max(unseen, 0) / kRun * kRun, min(farthest, length - 1) + 1};
    }

    __device__ int cost(const KeyRange& keys) const {
        const int runs = keys.runs();
        return runs > 0 ? runs + launch.block_cost : 0;
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

    __device__ int inclusive_sum(int x) const {
#pragma unroll
        for (int i = 1; i < 32; i *= 2) {
            const int below = __shfl_up_sync(~0u, x, i);
            if (lane >= i) x += below;
        }
        return x;
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    PlanMemory& m;
    const int lane;
    KeyRange last_range{0, 0};  // of the last block that this lane has weighed
};

}  // namespace hogwild::cuda
