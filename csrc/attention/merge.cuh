// The reduction over splits: one warp a row of the output, by log-sum-exp, in the order of the keys.
#pragma once

#include "csrc/attention/grid_barrier.cuh"
#include "csrc/attention/output.cuh"

namespace hogwild::cuda {

template <typename Traits>
class RowMerge {
  public:
    __device__ RowMerge(const AttentionParams& params, const AttentionLaunch& launch,
                        const Plan<Traits>& plan, const PlanMemory& memory, void* workspace)
        : p(params), launch(launch), plan(plan), m(memory), partials(launch, workspace) {}

    // Finds out which CTAs have parts of an output row. By one thread.
    __device__ SplitRow find(int output) const {
        SplitRow found{output, 0, 0, 0};
        const int token = launch.num_heads.quotient(output);
        const int head = launch.num_heads.remainder(output);
        const int kv_head = launch.ratio.quotient(head);
        const auto& tables = plan.tables;
        if constexpr (Traits::kOneSession) {
            const int in_group = token - tables.group_token(0);
            if (in_group < 0 || token >= tables.group_token(1)) return found;  // padding
            found.num_splits = min(m.line.length, launch.head_ctas.divisor());
            found.first_cta = kv_head * launch.head_ctas.divisor();
            found.row =
                (Traits::kFewKeys ? token : in_group) * launch.ratio.divisor() + launch.ratio.remainder(head);
            return found;
        }
        // The last group that begins at the token or before.
        const int group = last_where(p.num_groups, [&](int i) { return tables.group_token(i) <= token; });
        if (group < 0 || token >= tables.group_token(group + 1)) return found;  // padding
        const int group_row =
            (token - tables.group_token(group)) * launch.ratio.divisor() + launch.ratio.remainder(head);
        const Unit& unit = plan.units[last_where(m.num_units, [&](int i) {
            return plan.units[i].group < group ||
                   (plan.units[i].group == group && plan.units[i].first_row <= group_row);
        })];
        if (unit.weight == 0) return found;  // nothing is visible
        const int start = unit.start + kv_head * unit.weight;
        found.first_cta = plan.cta_of(start);
        found.num_splits = plan.cta_of(start + unit.weight - 1) - found.first_cta + 1;
        found.row = group_row - unit.first_row;
        return found;
    }

    // All rows, when all CTAs have written theirs. `found` is what find_first found for each warp of the CTA.
    // `barrier` is arrived at already where splits are published.
    __device__ void merge_all(const SplitRow* found, GridBarrier& barrier) const {
        is_fine() ? merge_all<1>(found, barrier) : merge_all<kCoarse>(found, barrier);
    }

    // What a warp merges first, by one thread of any warp; nothing where it merges nothing.
    __device__ void find_first(int warp, SplitRow* found) const {
        const int i = warp * launch.num_ctas.divisor() + blockIdx.x;
        const int row = is_fine() ? i / kParts<1> : i / kParts<kCoarse>;
        if (row < num_rows()) *found = find(row);
    }

  private:
    static constexpr int kBatch = 16;  // splits that a warp asks for at once
    static_assert(32 % kBatch == 0);
    // Consecutive dims that a lane adds up. A warp that has one of them is done sooner.
    static constexpr int kCoarse = 4;
    template <int kDims>
    static constexpr int kParts = (Traits::kHeadDim + 32 * kDims - 1) / (32 * kDims);

    __device__ int num_rows() const { return p.num_tokens * p.num_heads; }
    // In which order the warps of a CTA have rows: the copying ones, which are done first, begin, and the
    // last are those that always compute, or the one that the grid's barrier kept busy.
    __device__ static int turn(int warp) {
        if (!Traits::kOneSession) return warp;
        if (Traits::kFewKeys) return warp == 0 ? Traits::kWarps - 1 : warp - 1;
        return warp < Traits::kComputeWarps ? warp + kCopyWarps : warp - Traits::kComputeWarps;
    }
    // Whether there are warps enough.
    __device__ bool is_fine() const {
        return num_rows() * kParts<1> <= Traits::kWarps * launch.num_ctas.divisor();
    }

    template <int kDims>
    __device__ void merge_all(const SplitRow* found, GridBarrier& barrier) const {
        constexpr int parts = kParts<kDims>;
        const int num_ctas = launch.num_ctas.divisor();
        const int end = num_rows() * parts;
        const int warp = threadIdx.x / 32;
        int i = turn(warp) * num_ctas + blockIdx.x;
        Part<kDims> next;
        // What does not depend on the others is done while they are waited for.
        if constexpr (Traits::kOneSession) {
            if (i < end) next = Part<kDims>(partials, find(i / parts), i % parts);
            barrier.wait();
        } else {
            barrier.arrive();
            if (i < end) next = Part<kDims>(partials, found[warp], i % parts);
            // By CTAs which merge anything.
            const bool is_last = i + Traits::kWarps * num_ctas >= end;
            if (__syncthreads_or(i < end && (next.row.num_splits > 1 || !is_last))) barrier.wait();
        }
#pragma unroll 1
        while (i < end) {
            merge(next);
            i += Traits::kWarps * num_ctas;
            if (i < end) next = Part<kDims>(partials, find(i / parts), i % parts);
        }
    }

    // One of the parts of a row, and where its splits are.
    template <int kDims>
    struct Part {
        SplitRow row;
        int part;
        int dim;
        const float* first_sums;       // a lane's dims of the first split
        const Softmax* first_softmax;  // of the lane's split; there are two lanes for each
        // From a split to the next. The first goes on behind its CTA's part of the line; the others began
        // before theirs.
        static constexpr int kPlaces = 2;

        Part() = default;
        __device__ Part(const Partials<Traits>& partials, const SplitRow& row, int part)
            : row(row), part(part), dim((part * 32 + static_cast<int>(threadIdx.x % 32)) * kDims) {
            const int split = threadIdx.x % kBatch;
            const int place = partials.place(row.row, row.first_cta, true);
            first_sums = partials.sums(place) + dim;
            first_softmax = partials.softmax(place) + (split > 0 ? kPlaces * split - 1 : 0);
        }
    };

    // By one warp. A row that one CTA has whole is written already, but with few keys.
    template <int kDims>
    __device__ void merge(const Part<kDims>& of) const {
        if (!Traits::kFewKeys && of.row.num_splits == 1) return;
        const int lane = threadIdx.x % 32;
        const int split = lane % kBatch;
        const bool has_dims = Traits::kHeadDim % (32 * kDims) == 0 || of.dim < Traits::kHeadDim;
        const float* sums = of.first_sums;
        const Softmax* softmax = of.first_softmax;
        int goes_on = 1;  // the first of the batch is the first of all
        Softmax all;
        Vector<kDims> sum;
#pragma unroll 1
        for (int left = of.row.num_splits; left > 0; left -= kBatch) {
            Softmax mine;
            // All splits are on their way before the first is waited for: it is one trip to L2, not one each.
            Vector<kDims> values[kBatch];
            const int size = has_dims ? min(left, kBatch) : 0;
            const bool has_softmax = split < min(left, kBatch);
            const float* const others = sums - goes_on * Traits::kHeadDim;
            const auto at = [&](int i) {
                return i == 0 ? sums : others + i * Part<kDims>::kPlaces * Traits::kHeadDim;
            };
            if constexpr (Traits::kOneSession) {
                load_published(mine, has_softmax ? softmax : nullptr, values, size, at);
            } else {
                if (has_softmax) mine = load_softmax(softmax);
#pragma unroll
                for (int i = 0; i < kBatch; ++i) {
                    if (i < size) values[i].load(at(i));
                }
            }
            sums = others + kBatch * Part<kDims>::kPlaces * Traits::kHeadDim;
            softmax += kBatch * Part<kDims>::kPlaces - (split == 0 ? goes_on : 0);
            goes_on = 0;
            float top = fmaxf(all.top, mine.top);
#pragma unroll
            for (int i = kBatch / 2; i > 0; i /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, i));
            const float before = all.top;
            all.top = top;
            const float rescale = exp2_approx(before - all.base());
            const float factor = exp2_approx(mine.top - all.base());
            float denominator = mine.sum * factor;
#pragma unroll
            for (int i = kBatch / 2; i > 0; i /= 2) denominator += __shfl_xor_sync(~0u, denominator, i);
            all.sum = all.sum * rescale + denominator;
            sum.scale(rescale);
#pragma unroll
            for (int i = 0; i < kBatch; ++i) sum.add(values[i], __shfl_sync(~0u, factor, i));
        }

        const int output = of.row.output;
        const RowEnd end(all, p.sinks ? p.sinks + launch.num_heads.remainder(output) : nullptr);
        if (lane == 0 && of.part == 0) p.lse[output] = end.lse;
        if (!has_dims) return;
        sum.scale(end.factor);
        if (end.empty) sum = {};
        sum.template store<typename Traits::T>(p.out, std::int64_t{output} * Traits::kHeadDim + of.dim);
    }

    // Some dims of one row.
    template <int kDims>
    struct Vector {
        float x[kDims] = {};

        __device__ void load(const float* from) {
            if constexpr (kDims == 4) {
                const float4 all = __ldcg(reinterpret_cast<const float4*>(from));
                x[0] = all.x;
                x[1] = all.y;
                x[2] = all.z;
                x[3] = all.w;
            } else {
                x[0] = __ldcg(from);
            }
        }
        __device__ void scale(float by) {
#pragma unroll
            for (int i = 0; i < kDims; ++i) x[i] *= by;
        }
        __device__ void add(const Vector& other, float weight) {
#pragma unroll
            for (int i = 0; i < kDims; ++i) x[i] += other.x[i] * weight;
        }
        template <typename T>
        __device__ void store(void* to, std::int64_t at) const {
            if constexpr (kDims == 4) {
                *reinterpret_cast<uint2*>(static_cast<T*>(to) + at) =
                    make_uint2(pack<T>(x[0], x[1]), pack<T>(x[2], x[3]));
            } else {
                const std::uint32_t both = pack<T>(x[0], 0);
                *reinterpret_cast<std::uint16_t*>(static_cast<T*>(to) + at) =
                    static_cast<std::uint16_t>(both);
            }
        }
    };

    // Asks for a batch until all of it is there: the softmax of each lane's split, if it is to have one, and
    // the values of the first splits.
    template <int kDims, typename At>
    __device__ static void load_published(Softmax& mine, const Softmax* softmax,
                                          Vector<kDims> (&values)[kBatch], int size, At at) {
        auto pair = softmax ? Published<2>::absent() : Published<2>::of(mine.top, mine.sum);
        Published<kDims> numbers[kBatch];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            numbers[i] = i < size ? Published<kDims>::absent() : Published<kDims>{};
        }
        bool is_there;
        do {
            if (!pair.is_there()) pair.load(softmax);
#pragma unroll
            for (int i = 0; i < kBatch; ++i) {
                if (!numbers[i].is_there()) numbers[i].load(at(i));
            }
            is_there = pair.is_there();
#pragma unroll
            for (int i = 0; i < kBatch; ++i) is_there = is_there && numbers[i].is_there();
        } while (!__all_sync(~0u, is_there));
        mine = {pair[0], pair[1]};
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
#pragma unroll
            for (int j = 0; j < kDims; ++j) values[i].x[j] = numbers[i][j];
        }
    }

    __device__ static Softmax load_softmax(const Softmax* from) {
        const float2 pair = __ldcg(reinterpret_cast<const float2*>(from));
        return {pair.x, pair.y};
    }

    // The last index below `size` where an ascending condition holds, or -1.
    template <typename Condition>
    __device__ static int last_where(int size, Condition condition) {
        int low = -1;
        int high = size;
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            (condition(middle) ? low : high) = middle;
        }
        return low;
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const Plan<Traits>& plan;
    const PlanMemory& m;
    const Partials<Traits> partials;
};

}  // namespace hogwild::cuda
