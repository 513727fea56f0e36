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

// The sum of what this lane and those below it have.
__device__ inline int inclusive_sum(int x) {
#pragma unroll
    for (int i = 1; i < 32; i *= 2) {
        const int below = __shfl_up_sync(~0u, x, i);
        if (static_cast<int>(threadIdx.x % 32) >= i) x += below;
    }
    return x;
}

template <typename Traits>
class Plan {
  public:
    __device__ Plan(const AttentionParams& params, const AttentionLaunch& launch, PlanMemory& memory,
                    Unit* units, int* staged)
        : p(params),
          launch(launch),
          m(memory),
          units(units),
          tables(params, launch, staged),
          lane(threadIdx.x % 32) {}

    // By all threads, which do what else there is to do, `meanwhile`, while they wait for device memory. Has
    // a barrier behind that, `meet`. The planning warp then finds this CTA's part, see Lister.
    template <typename Meanwhile, typename Meet>
    __device__ void make(const StagedArrays& arrays, Meanwhile meanwhile, Meet meet) {
        tables.stage(arrays, meanwhile);
        meet();
        if (is_single()) return;  // all of it is the planning warp's
        const int warp = threadIdx.x / 32;
        const bool are_groups = groups_are_units();
        if (are_groups) {
            if (threadIdx.x == 0) m.num_units = p.num_groups;
        } else {
            if (warp == Traits::kPlanningWarp) find_units();
            __syncthreads();
        }
        const int num_units = are_groups ? p.num_groups : m.num_units;
        for (int unit = warp; unit < num_units; unit += Traits::kWarps) {
            if (are_groups && lane == 0) units[unit] = {unit, 0, num_rows(unit), 0, 0};
            __syncwarp();
            weigh(unit);
        }
        __syncthreads();
    }

    // Whether there is one unit at most, as there is when one session decodes.
    __device__ bool is_single() const { return Traits::kOneSession || launch.max_units == 1; }

    __device__ int num_blocks(const Unit& unit) const {
        return tables.group_block(unit.group + 1) - tables.group_block(unit.group);
    }

    // Sets the length of the line. By one warp.
    __device__ void set_parts(int length) {
        if (lane == 0) m.line = Line(length, launch.num_ctas);
        __syncwarp();
    }

    // Where a CTA's part of the line begins.
    __device__ int part(int cta) const { return m.line.begin_of(cta, launch.num_ctas); }

    // The CTA whose part holds a place on the line.
    __device__ int cta_of(int place) const {
        int cta = min(static_cast<int>(place * m.line.rate), launch.num_ctas.divisor() - 1);
        while (part(cta) > place) --cta;
        while (part(cta + 1) <= place) ++cta;
        return cta;
    }

    // The keys of a block that some of these tokens see, and few more.
    __device__ KeyRange visible(int first_block, int begin_token, int num_tokens, int block) const {
        return seen(tables.block_len(first_block + block), num_tokens,
                    [&](int t) { return tables.query_pos(begin_token + t, block); });
    }

    // The keys of a block of some length that are seen by the tokens of which `position` tells the distances.
    template <typename Position>
    __device__ KeyRange seen(int length, int num_tokens, Position position_of) const {
        unsigned nearest = ~0u;  // negative positions are farther than any
        int farthest = -1;
#pragma unroll 4
        for (int t = 0; t < num_tokens; ++t) {
            const int position = position_of(t);
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

    // The first token that has a row of the unit, and how many have.
    __device__ int begin_token(const Unit& unit) const {
        return tables.group_token(unit.group) + launch.ratio.quotient(unit.first_row);
    }
    __device__ int num_tokens(const Unit& unit) const {
        return launch.ratio.quotient(unit.first_row + unit.num_rows - 1) -
               launch.ratio.quotient(unit.first_row) + 1;
    }

    Unit* const units;
    Tables<Traits> tables;

  private:
    // Of a group.
    __device__ int num_rows(int group) const {
        return (tables.group_token(group + 1) - tables.group_token(group)) * launch.ratio.divisor();
    }

    // Whether each group is one unit, as where sessions decode: every warp sees that by itself, and none has
    // to wait for the one that finds units. By each warp, a lane a group.
    __device__ bool groups_are_units() const {
        bool fit = true;
#pragma unroll 1
        for (int group = lane; group < p.num_groups; group += 32)
            fit = fit && num_rows(group) <= launch.max_rows;
        return __all_sync(~0u, fit);
    }

    // Cuts each group's rows into units of about equal size. By one warp, a lane a group.
    __device__ void find_units() {
        int count = 0;
#pragma unroll 1
        for (int first = 0; first < p.num_groups; first += 32) {
            const int group = first + lane;
            const int rows = group < p.num_groups ? num_rows(group) : 0;
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
        const int blocks = unit.num_rows > 0 ? num_blocks(unit) : 0;
        const int first_block = tables.group_block(unit.group);
        const int begin = begin_token(unit);
        const int tokens = num_tokens(unit);
        int weight = 0;
#pragma unroll 1
        for (int block = lane; block < blocks; block += 32) {
            weight += cost(visible(first_block, begin, tokens, block));
        }
        weight = __reduce_add_sync(~0u, weight);
        if (lane == 0) unit.weight = weight;
        __syncwarp();
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    PlanMemory& m;
    const int lane;
};

}  // namespace hogwild::cuda
