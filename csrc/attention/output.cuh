// From the registers of a segment's warps to the output, or to the workspace where other CTAs have a part of
// it.
#pragma once

#include "csrc/attention/attend.cuh"

namespace hogwild::cuda {

// Every CTA has two places in the workspace: for a segment that began before its part of the line, and for
// one that goes on behind it. Each holds a row's unscaled sum of values and its softmax.
struct Partials {
    float* sums;         // [num_ctas, 2, max_rows, head_dim]
    Softmax* softmaxes;  // [num_ctas, 2, max_rows]
    int max_rows;

    __device__ Partials(void* workspace, int num_ctas, int max_rows, int head_dim)
        : sums(static_cast<float*>(workspace)),
          softmaxes(reinterpret_cast<Softmax*>(sums + std::int64_t{num_ctas} * 2 * max_rows * head_dim)),
          max_rows(max_rows) {}

    __device__ std::int64_t row(int cta, bool goes_on, int row) const {
        return (std::int64_t{cta} * 2 + goes_on) * max_rows + row;
    }
};

// Between the computing warps alone.
__device__ inline void sync_compute_warps() {
    asm volatile("bar.sync 1, %0;" ::"n"(kComputeThreads) : "memory");
}

// Adds the slices of each slab up, in those of slice 0. By the computing warps. `scratch` are their slabs,
// which are not needed any more, `softmaxes` is [kComputeWarps, kSlab].
template <typename Traits>
__device__ inline void merge_slices(Rows<Traits>& rows, const Role& role, unsigned char* scratch,
                                    Softmax* softmaxes) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        float& sum = rows.softmax[i].sum;
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
    }
    if (role.slices == 1) return;

    constexpr int kPasses = 2;  // each with some of the dims, as many as fit
    constexpr int kTiles = Rows<Traits>::kDimTiles / kPasses;
    static_assert(Rows<Traits>::kDimTiles % kPasses == 0);
    // All warps but those of slice 0 write, each as much as its slab has room for.
    static_assert(kTiles * 32 * sizeof(float4) <= Traits::kSlabBytes);
    const int lane = threadIdx.x % 32;
    auto* sums = reinterpret_cast<float4*>(scratch) + lane;

    sync_compute_warps();
    if (role.active() && lane % 4 == 0) {
        Softmax* to = softmaxes + (role.slice * role.slabs + role.slab) * kSlab + lane / 4;
        to[0] = rows.softmax[0];
        to[8] = rows.softmax[1];
    }
    Softmax all[2];
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
        if (pass > 0) sync_compute_warps();
        if (role.active() && role.slice > 0) {
            float4* to = sums + ((role.slice - 1) * role.slabs + role.slab) * kTiles * 32;
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
                const float (&out)[4] = rows.out[pass * kTiles + n];
                to[n * 32] = make_float4(out[0], out[1], out[2], out[3]);
            }
        }
        sync_compute_warps();
        if (role.slice > 0) continue;
        if (pass == 0) {
#pragma unroll 1
            for (int slice = 0; slice < role.slices; ++slice) {
                const Softmax* from = softmaxes + (slice * role.slabs + role.slab) * kSlab + lane / 4;
                all[0].top = fmaxf(all[0].top, from[0].top);
                all[1].top = fmaxf(all[1].top, from[8].top);
            }
        }
#pragma unroll 1
        for (int slice = 0; slice < role.slices; ++slice) {
            const Softmax* from = softmaxes + (slice * role.slabs + role.slab) * kSlab + lane / 4;
            const float factor[2] = {exp2_approx(from[0].top - all[0].base()),
                                     exp2_approx(from[8].top - all[1].base())};
            if (pass == 0) {
                all[0].sum += from[0].sum * factor[0];
                all[1].sum += from[8].sum * factor[1];
            }
            const float4* other = sums + ((slice - 1) * role.slabs + role.slab) * kTiles * 32;
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
                float (&out)[4] = rows.out[pass * kTiles + n];
                if (slice == 0) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) out[i] *= factor[i / 2];
                } else {
                    const float4 x = other[n * 32];
                    out[0] += x.x * factor[0];
                    out[1] += x.y * factor[0];
                    out[2] += x.z * factor[1];
                    out[3] += x.w * factor[1];
                }
            }
        }
    }
    if (role.slice == 0) {
        rows.softmax[0] = all[0];
        rows.softmax[1] = all[1];
    }
    sync_compute_warps();  // the slabs are the warps' own again
}

// Writes the rows of a segment that has all of its unit's keys.
template <typename Traits>
__device__ inline void write_output(const AttentionParams& p, const Rows<Traits>& rows,
                                    const SlabRows& which) {
    using T = typename Traits::T;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int row = SlabRows::of_thread(i);
        if (!which.exists(row)) continue;
        const int head = which.query_head(row);
        const std::int64_t to = std::int64_t{which.token(row)} * p.num_heads + head;
        const RowEnd end(rows.softmax[i], p.sinks ? p.sinks + head : nullptr);
        if (lane % 4 == 0) p.lse[to] = end.lse;
        auto* out = static_cast<std::uint32_t*>(p.out) + to * (Traits::kHeadDim / 2) + lane % 4;
#pragma unroll
        for (int n = 0; n < Rows<Traits>::kDimTiles; ++n) {
            out[4 * n] =
                end.empty ? 0 : pack<T>(rows.out[n][2 * i] * end.factor, rows.out[n][2 * i + 1] * end.factor);
        }
    }
}

// Writes the rows of a segment that has some of its unit's keys.
template <typename Traits>
__device__ inline void write_partial(const Partials& partials, const Rows<Traits>& rows,
                                     const SlabRows& which, bool goes_on, int slab) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        if (!which.exists(SlabRows::of_thread(i))) continue;
        const std::int64_t row = partials.row(blockIdx.x, goes_on, slab * kSlab + SlabRows::of_thread(i));
        if (lane % 4 == 0) partials.softmaxes[row] = rows.softmax[i];
        auto* sums = reinterpret_cast<float2*>(partials.sums + row * Traits::kHeadDim) + lane % 4;
#pragma unroll
        for (int n = 0; n < Rows<Traits>::kDimTiles; ++n) {
            sums[4 * n] = make_float2(rows.out[n][2 * i], rows.out[n][2 * i + 1]);
        }
    }
}

}  // namespace hogwild::cuda
