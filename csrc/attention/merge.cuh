// The reduction over splits: one warp a row of the output, by log-sum-exp, in the order of the keys.
#pragma once

#include "csrc/attention/output.cuh"

namespace hogwild::cuda {

template <typename Traits>
class RowMerge {
  public:
    __device__ RowMerge(const AttentionParams& params, const AttentionLaunch& launch, const Plan& plan,
                        const PlanMemory& memory, const Partials& partials)
        : p(params), launch(launch), plan(plan), m(memory), partials(partials) {}

    // Finds out which CTAs have parts of an output row. By one thread.
    __device__ SplitRow find(int output) const {
        SplitRow found{output, 0, 0, 0};
        const int token = launch.num_heads.quotient(output);
        const int head = launch.num_heads.remainder(output);
        const int kv_head = launch.ratio.quotient(head);
        // The last group that begins at the token or before.
        const std::int32_t* bounds = plan.tables.group_tokens;
        int group = last_where(p.num_groups, [&](int i) { return bounds[i] <= token; });
        if (group < 0 || token >= bounds[group + 1]) return found;  // padding
        const int group_row = (token - bounds[group]) * launch.ratio.divisor() + launch.ratio.remainder(head);
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

    // By one warp. A row that one CTA has whole is written already.
    __device__ void merge(const SplitRow& which) {
        if (which.num_splits == 1) return;
        const int num_splits = which.num_splits;
        const int output = which.output;
        first_cta = which.first_cta;
        row = which.row;
        const int lane = threadIdx.x % 32;
        Softmax all;
        for (int split = lane; split < num_splits; split += 32) {
            all.top = fmaxf(all.top, softmax_of(split).top);
        }
        for (int i = 16; i > 0; i /= 2) all.top = fmaxf(all.top, __shfl_xor_sync(~0u, all.top, i));

        float2 sum[kVectors];
#pragma unroll
        for (int v = 0; v < kVectors; ++v) sum[v] = make_float2(0, 0);
        for (int first = 0; first < num_splits; first += 32) {
            Softmax mine;
            if (first + lane < num_splits) mine = softmax_of(first + lane);
            const float factor = exp2_approx(mine.top - all.base());
            float denominator = mine.sum * factor;
            for (int i = 16; i > 0; i /= 2) denominator += __shfl_xor_sync(~0u, denominator, i);
            all.sum += denominator;
            const int count = min(32, num_splits - first);
#pragma unroll 4
            for (int split = 0; split < count; ++split) {
                const float scale = __shfl_sync(~0u, factor, split);
                if (!writes(first + split)) continue;
                const auto* from =
                    reinterpret_cast<const float2*>(partials.sums + place(first + split) * Traits::kHeadDim);
#pragma unroll
                for (int v = 0; v < kVectors; ++v) {
                    if (!has_vector(v)) continue;
                    const float2 x = __ldcg(from + lane + 32 * v);
                    sum[v].x += x.x * scale;
                    sum[v].y += x.y * scale;
                }
            }
        }

        const int head = launch.num_heads.remainder(output);
        const RowEnd end(all, p.sinks ? p.sinks + head : nullptr);
        if (lane == 0) p.lse[output] = end.lse;
        auto* out = static_cast<std::uint32_t*>(p.out) + std::int64_t{output} * (Traits::kHeadDim / 2) + lane;
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
            if (!has_vector(v)) continue;
            out[32 * v] =
                end.empty ? 0 : pack<typename Traits::T>(sum[v].x * end.factor, sum[v].y * end.factor);
        }
    }

  private:
    static constexpr int kVectors = (Traits::kHeadDim / 2 + 31) / 32;  // float2, of one lane

    __device__ static bool has_vector(int v) {
        return Traits::kHeadDim % 64 == 0 || threadIdx.x % 32 + 32 * v < Traits::kHeadDim / 2;
    }

    // A line shorter than the grid leaves some CTAs without a part.
    __device__ bool writes(int split) const {
        return plan.part(first_cta + split) < plan.part(first_cta + split + 1);
    }

    // The first split goes on behind its CTA's part of the line; the others began before theirs.
    __device__ std::int64_t place(int split) const {
        return partials.row(first_cta + split, split == 0, row);
    }

    __device__ Softmax softmax_of(int split) const {
        if (!writes(split)) return {};
        const float2 pair = __ldcg(reinterpret_cast<const float2*>(partials.softmaxes + place(split)));
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
    const Plan& plan;
    const PlanMemory& m;
    const Partials partials;
    int first_cta;  // of the row being merged
    int row;
};

}  // namespace hogwild::cuda
