// The reduction over splits: one warp a row of the output, by log-sum-exp, in the order of the keys.
#pragma once

#include "csrc/attention/output.cuh"

namespace hogwild::cuda {

template <typename Traits>
class RowMerge {
  public:
    __device__ RowMerge(const AttentionParams& params, const AttentionLaunch& launch, const Plan& plan,
                        const PlanMemory& memory, void* workspace)
        : p(params), launch(launch), plan(plan), m(memory), partials(launch, workspace) {}

    // Finds out which CTAs have parts of an output row. By one thread.
    __device__ SplitRow find(int output) const {
        SplitRow found{output, 0, 0, 0};
        const int token = launch.num_heads.quotient(output);
        const int head = launch.num_heads.remainder(output);
        const int kv_head = launch.ratio.quotient(head);
        // The last group that begins at the token or before.
        const Tables& tables = plan.tables;
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

    // By one warp. A row that one CTA has whole is written already.
    __device__ void merge(const SplitRow& which) const {
        if (which.num_splits == 1) return;
        const int lane = threadIdx.x % 32;
        Softmax all;
        float4 sum[kVectors];
#pragma unroll
        for (int v = 0; v < kVectors; ++v) sum[v] = make_float4(0, 0, 0, 0);
#pragma unroll 1
        for (int first = 0; first < which.num_splits; first += kBatch) {
            const int split = first + lane;
            const bool written = lane < kBatch && split < which.num_splits;
            const unsigned all_written = __ballot_sync(~0u, written);
            Softmax mine;
            if (written) mine = load_softmax(place(which, split));
            // All splits are on their way before the first is waited for: it is one trip to L2, not one each.
            float4 part[kBatch][kVectors];
#pragma unroll
            for (int i = 0; i < kBatch; ++i) {
                const auto* from = reinterpret_cast<const float4*>(partials.sums(place(which, first + i)));
#pragma unroll
                for (int v = 0; v < kVectors; ++v) {
                    part[i][v] = make_float4(0, 0, 0, 0);
                    if ((all_written >> i & 1) && has_vector(v)) part[i][v] = __ldcg(from + lane + 32 * v);
                }
            }
            float top = fmaxf(all.top, mine.top);
            for (int i = kBatch / 2; i > 0; i /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, i));
            top = __shfl_sync(~0u, top, 0);
            const float before = all.top;
            all.top = top;
            const float rescale = exp2_approx(before - all.base());
            const float factor = exp2_approx(mine.top - all.base());
            float denominator = mine.sum * factor;
            for (int i = kBatch / 2; i > 0; i /= 2) denominator += __shfl_xor_sync(~0u, denominator, i);
            all.sum = all.sum * rescale + __shfl_sync(~0u, denominator, 0);
#pragma unroll
            for (int v = 0; v < kVectors; ++v) scale(sum[v], rescale);
#pragma unroll
            for (int i = 0; i < kBatch; ++i) {
                const float weight = __shfl_sync(~0u, factor, i);
#pragma unroll
                for (int v = 0; v < kVectors; ++v) add(sum[v], part[i][v], weight);
            }
        }

        const int head = launch.num_heads.remainder(which.output);
        const RowEnd end(all, p.sinks ? p.sinks + head : nullptr);
        if (lane == 0) p.lse[which.output] = end.lse;
        auto* out = static_cast<uint2*>(p.out) + std::int64_t{which.output} * (Traits::kHeadDim / 4) + lane;
        using T = typename Traits::T;
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
            if (!has_vector(v)) continue;
            scale(sum[v], end.factor);
            out[32 * v] = end.empty ? make_uint2(0, 0)
                                    : make_uint2(pack<T>(sum[v].x, sum[v].y), pack<T>(sum[v].z, sum[v].w));
        }
    }

  private:
    static constexpr int kVectors = (Traits::kHeadDim / 4 + 31) / 32;  // float4, of one lane
    static constexpr int kBatch = 16 / kVectors;                       // splits that a warp has in registers

    __device__ static bool has_vector(int v) {
        return Traits::kHeadDim % 128 == 0 || threadIdx.x % 32 + 32 * v < Traits::kHeadDim / 4;
    }
    __device__ static void scale(float4& x, float by) {
        x.x *= by;
        x.y *= by;
        x.z *= by;
        x.w *= by;
    }
    __device__ static void add(float4& to, const float4& x, float weight) {
        to.x += x.x * weight;
        to.y += x.y * weight;
        to.z += x.z * weight;
        to.w += x.w * weight;
    }

    // The first split goes on behind its CTA's part of the line; the others began before theirs.
    __device__ int place(const SplitRow& which, int split) const {
        return partials.row(which.first_cta + split, split == 0, which.row);
    }

    __device__ Softmax load_softmax(int row) const {
        const float2 pair = __ldcg(reinterpret_cast<const float2*>(partials.softmax(row)));
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
    const Partials<Traits> partials;
};

}  // namespace hogwild::cuda
