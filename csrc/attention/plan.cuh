// Who does what: every CTA finds its share of the keys by itself, from lengths and positions in device
// memory.
//
// The work is one long line: units (row tiles of groups) one after the other, each once for every kv head,
// each with the visible keys of its blocks. A block takes up as much of the line as it has keys, and
// block_cost more. The line is cut into equal parts, one a CTA, wherever the cuts fall. What of a unit and kv
// head lies in one part is a segment; what of a block lies in it, a piece.
#pragma once

#include <cstdint>

#include "csrc/attention/config.h"
#include "csrc/params.h"

namespace hogwild::cuda {

struct Unit {
    int group;
    int first_row;  // of the group
    int num_rows;
    int weight;          // length on the line for one kv head
    std::int64_t start;  // on the line, of the first kv head
};

struct Piece {
    int unit;
    int head;   // kv head
    int block;  // of the group
    int begin;  // keys, begin a multiple of 16; none in a piece that only opens or closes its segment
    int end;
    bool opens;   // the first piece of its segment
    bool closes;  // the last
};

struct KeyRange {
    int begin;  // a multiple of 16
    int end;

    __device__ int runs_of_keys() const { return end > begin ? (end - begin + kRun - 1) / kRun * kRun : 0; }
};

// The integers of a call. They are copied to shared memory if they are few, since everything else waits for
// them.
struct Tables {
    const std::int32_t* group_tokens;
    const std::int32_t* group_blocks;
    const std::int32_t* block_lens;
    const std::int32_t* query_pos;
    const std::int32_t* rotary_pos;
    const std::int32_t* own_block;
};

constexpr int kMaxPieces = 64;
constexpr int kStagedInts = 3 * kThreads;
constexpr int kSerialUnits = 2;  // as many are weighed by one warp, to save the barriers

// Shared memory of a CTA's plan; `units` has launch.max_units elements.
struct PlanMemory {
    int staged[kStagedInts];
    Piece pieces[kMaxPieces];
    int num_pieces;
    bool more_pieces;
    int num_units;
    // Where the list of pieces goes on.
    int unit;
    int head;
    int block;
    int offset;          // on the line, of that block within its unit and head
    bool opened;         // the segment has had a piece
    std::int64_t begin;  // this CTA's part of the line
    std::int64_t end;
    std::int64_t part;  // the length of a CTA's part
    int longer_parts;   // how many CTAs have one more
    Unit units[1];
};

class Plan {
  public:
    __device__ Plan(const AttentionParams& params, int num_ctas, int max_rows, int max_units, int block_cost,
                    PlanMemory& memory)
        : p(params),
          m(memory),
          num_ctas(num_ctas),
          max_rows(max_rows),
          max_units(max_units),
          block_cost(block_cost),
          ratio(params.num_heads / params.cache.num_kv_heads),
          lane(threadIdx.x % 32),
          warp(threadIdx.x / 32) {}

    // By all threads; ends with a barrier, after which the first pieces and all units can be read.
    __device__ void make() {
        stage();
        if (max_units <= kSerialUnits) {
            if (warp == 0) {
                find_units();
                __syncwarp();
                for (int unit = 0; unit < m.num_units; ++unit) weigh(unit);
                __syncwarp();
                place_units();
                __syncwarp();
                list_pieces();
            }
        } else {
            if (warp == 0) find_units();
            __syncthreads();
            for (int unit = warp; unit < m.num_units; unit += kWarps) weigh(unit);
            __syncthreads();
            if (warp == 0) {
                place_units();
                __syncwarp();
                list_pieces();
            }
        }
        __syncthreads();
    }

    // The next pieces into memory.pieces; by all threads, between barriers.
    __device__ void next() {
        __syncthreads();
        if (warp == 0) list_pieces();
        __syncthreads();
    }

    // The first token of a unit's group.
    __device__ int first_token(const Unit& unit) const { return tables.group_tokens[unit.group]; }

    // Where a CTA's part of the line begins. Parts differ by one at most, the longer ones first.
    __device__ std::int64_t part(int cta) const { return cta * m.part + min(cta, m.longer_parts); }

    // The CTA whose part holds a place on the line.
    __device__ int cta_of(std::int64_t place) const {
        const std::int64_t in_longer = m.longer_parts * (m.part + 1);
        return static_cast<int>(place < in_longer ? divide(place, m.part + 1)
                                                  : m.longer_parts + divide(place - in_longer, m.part));
    }

    Tables tables;

  private:
    // All loads are under way before the first is waited for.
    __device__ void stage() {
        const std::int32_t* from[] = {p.group_tokens, p.group_blocks, p.block_lens,
                                      p.query_pos,    p.rotary_pos,   p.own_block};
        const int last = p.num_groups + 1;
        const std::int64_t sizes[] = {
            last, last, p.num_blocks, std::int64_t{p.num_tokens} * p.num_columns, p.num_tokens, p.num_tokens};
        std::int64_t ends[6];
        std::int64_t size = 0;
        for (int i = 0; i < 6; ++i) ends[i] = size += sizes[i];
        if (size > kStagedInts) {
            tables = {from[0], from[1], from[2], from[3], from[4], from[5]};
            return;
        }
        constexpr int kPerThread = kStagedInts / kThreads;
        int staged[kPerThread];
#pragma unroll
        for (int j = 0; j < kPerThread; ++j) {
            const int index = threadIdx.x + j * kThreads;
            const std::int32_t* array = from[0];
            int begin = 0;
#pragma unroll
            for (int i = 1; i < 6; ++i) {
                if (index >= ends[i - 1]) {
                    array = from[i];
                    begin = static_cast<int>(ends[i - 1]);
                }
            }
            staged[j] = index < size ? __ldg(array + index - begin) : 0;
        }
#pragma unroll
        for (int j = 0; j < kPerThread; ++j) m.staged[threadIdx.x + j * kThreads] = staged[j];
        tables = {m.staged,           m.staged + ends[0], m.staged + ends[1],
                  m.staged + ends[2], m.staged + ends[3], m.staged + ends[4]};
        __syncthreads();
    }

    // Cuts each group's rows into units of about equal size. By one warp, a lane a group.
    __device__ void find_units() {
        int count = 0;
        for (int first = 0; first < p.num_groups; first += 32) {
            const int group = first + lane;
            const int rows = group < p.num_groups
                                 ? (tables.group_tokens[group + 1] - tables.group_tokens[group]) * ratio
                                 : 0;
            int tiles = (rows + max_rows - 1) / max_rows;
            const int size = tiles > 0 ? ((rows + tiles - 1) / tiles + kSlab - 1) / kSlab * kSlab : 1;
            tiles = (rows + size - 1) / size;
            const int last = inclusive_sum(tiles);
            for (int tile = 0; tile < tiles; ++tile) {
                Unit& unit = m.units[count + last - tiles + tile];
                unit.group = group;
                unit.first_row = tile * size;
                unit.num_rows = min(size, rows - tile * size);
            }
            count += __shfl_sync(~0u, last, 31);
        }
        if (lane == 0) m.num_units = count;
    }

    // By one warp, a lane a block.
    __device__ void weigh(int index) {
        Unit& unit = m.units[index];
        const int blocks = num_blocks(unit);
        int weight = 0;
        for (int block = lane; block < blocks; block += 32) weight += cost(visible(unit, block));
        for (int i = 16; i > 0; i /= 2) weight += __shfl_xor_sync(~0u, weight, i);
        if (lane == 0) unit.weight = weight;
    }

    // Lines the units up and finds this CTA's part. By one warp.
    __device__ void place_units() {
        std::int64_t length = 0;
        for (int first = 0; first < m.num_units; first += 32) {
            const int index = first + lane;
            const std::int64_t weight =
                index < m.num_units ? std::int64_t{m.units[index].weight} * p.cache.num_kv_heads : 0;
            const std::int64_t last = inclusive_sum(weight);
            if (index < m.num_units) m.units[index].start = length + last - weight;
            length += __shfl_sync(~0u, last, 31);
        }
        __syncwarp();
        const std::int64_t size = divide(length, num_ctas);
        const int longer = static_cast<int>(length - size * num_ctas);
        const int cta = blockIdx.x;
        const std::int64_t begin = cta * size + min(cta, longer);
        const std::int64_t end = begin + size + (cta < longer);
        // The unit that holds `begin` is the last that starts there or before and is not empty.
        int holder = 0;
        for (int index = lane; index < m.num_units; index += 32) {
            if (m.units[index].start <= begin && m.units[index].weight > 0) holder = index;
        }
        for (int i = 16; i > 0; i /= 2) holder = max(holder, __shfl_xor_sync(~0u, holder, i));
        if (lane == 0) {
            m.part = size;
            m.longer_parts = longer;
            m.begin = begin;
            m.end = end;
            m.unit = begin < end ? holder : m.num_units;
            m.head = begin < end
                         ? static_cast<int>(divide(begin - m.units[holder].start, m.units[holder].weight))
                         : 0;
            m.block = 0;
            m.offset = 0;
            m.opened = false;
        }
    }

    // By one warp, a lane a block.
    __device__ void list_pieces() {
        int count = 0;
        int index = m.unit;
        int head = m.head;
        int first_block = m.block;
        int offset = m.offset;
        bool opened = m.opened;
        bool more = false;
        while (index < m.num_units) {
            const Unit unit = m.units[index];
            const std::int64_t start = unit.start + std::int64_t{head} * unit.weight;
            if (start >= m.end) break;
            if (unit.weight == 0) {
                ++index;
                continue;
            }
            const int from = clamp_to_int(m.begin - start);
            const int to = clamp_to_int(m.end - start);
            const int blocks = num_blocks(unit);
            const int before = count;
            for (; first_block < blocks; first_block += 32) {
                if (count + 32 >= kMaxPieces) {  // keeps a place for a piece without keys
                    more = true;
                    break;
                }
                const int block = first_block + lane;
                const KeyRange keys = block < blocks ? visible(unit, block) : KeyRange{0, 0};
                const int size = cost(keys);
                const int last = inclusive_sum(size);
                const int begin = cut(from - (offset + last - size), keys);
                const int end = cut(to - (offset + last - size), keys);
                const unsigned used = __ballot_sync(~0u, begin < end);
                if (begin < end) {
                    const int place = count + __popc(used & ((1u << lane) - 1));
                    m.pieces[place] = {
                        index, head, block, begin, min(end, keys.end), !opened && place == before, false};
                }
                count += __popc(used);
                offset += __shfl_sync(~0u, last, 31);
            }
            opened = opened || count > before;
            if (more) break;
            __syncwarp();
            if (lane == 0) {
                if (count > before) {
                    m.pieces[count - 1].closes = true;
                } else {
                    m.pieces[count] = {index, head, 0, 0, 0, !opened, true};
                }
            }
            count += count == before;
            first_block = 0;
            offset = 0;
            opened = false;
            if (++head == p.cache.num_kv_heads) {
                head = 0;
                ++index;
            }
            if (count + 32 >= kMaxPieces) {
                more = true;
                break;
            }
        }
        if (lane == 0) {
            m.num_pieces = count;
            m.more_pieces = more;
            m.unit = index;
            m.head = head;
            m.block = first_block;
            m.offset = offset;
            m.opened = opened;
        }
    }

    __device__ int num_blocks(const Unit& unit) const {
        return tables.group_blocks[unit.group + 1] - tables.group_blocks[unit.group];
    }

    // The keys of a block that some token of the unit sees, and few more.
    __device__ KeyRange visible(const Unit& unit, int block) const {
        const int token = first_token(unit);
        const int begin = token + unit.first_row / ratio;
        const int end = token + (unit.first_row + unit.num_rows - 1) / ratio + 1;
        int nearest = INT32_MAX;
        int farthest = -1;
        for (int t = begin; t < end; ++t) {
            const int position = tables.query_pos[std::int64_t{t} * p.num_columns + block];
            if (position >= 0) nearest = min(nearest, position);
            farthest = max(farthest, position);
        }
        if (farthest < 0) return {0, 0};
        const int length = tables.block_lens[tables.group_blocks[unit.group] + block];
        const int from = p.window > 0 && nearest >= p.window ? (nearest - p.window + 1) / kRun * kRun : 0;
        return {from, min(farthest, length - 1) + 1};
    }

    __device__ int cost(const KeyRange& keys) const {
        const int size = keys.runs_of_keys();
        return size > 0 ? size + block_cost : 0;
    }

    // The key at which the line is cut, `distance` after the start of the block on the line; the block's ends
    // where so few keys would be cut off that entering the block costs more.
    __device__ int cut(int distance, const KeyRange& keys) const {
        constexpr int kFewest = 2 * kRun;
        const int size = keys.runs_of_keys();
        const int at = (distance - block_cost) / kRun * kRun;
        if (at >= size) return keys.begin + size;
        if (at < kFewest) return keys.begin;
        return keys.begin + (size - at < kFewest ? size : at);
    }

    // 64-bit division takes ten times as long, and lines are rarely that long.
    __device__ static std::int64_t divide(std::int64_t x, std::int64_t y) {
        if ((x | y) >> 31 == 0) return static_cast<std::uint32_t>(x) / static_cast<std::uint32_t>(y);
        return x / y;
    }

    __device__ static int clamp_to_int(std::int64_t x) {
        return static_cast<int>(max(std::int64_t{0}, min(x, std::int64_t{INT32_MAX})));
    }

    template <typename Integer>
    __device__ Integer inclusive_sum(Integer x) const {
        for (int i = 1; i < 32; i *= 2) {
            const Integer below = __shfl_up_sync(~0u, x, i);
            if (lane >= i) x += below;
        }
        return x;
    }

    const AttentionParams& p;
    PlanMemory& m;
    const int num_ctas;
    const int max_rows;
    const int max_units;
    const int block_cost;
    const int ratio;
    const int lane;
    const int warp;
};

}  // namespace hogwild::cuda
