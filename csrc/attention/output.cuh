// From the registers of a segment's warps to the output, or to the workspace where other CTAs have a part of
// it.
#pragma once

#include "csrc/attention/attend.cuh"

namespace hogwild::cuda {

// Every CTA has two places in the workspace: for a segment that began before its part of the line, and for
// one that goes on behind it. Each holds a row's unscaled sum of values and its softmax.
template <typename Traits>
class Partials {
  public:
    __device__ Partials(const AttentionLaunch& launch, void* workspace)
        : launch(launch), workspace(static_cast<float*>(workspace)) {}

    // The index of a row.
    __device__ int row(int cta, bool goes_on, int row) const {
        return (cta * 2 + goes_on) * launch.max_rows + row;
    }
    __device__ float* sums(int row) const { return workspace + row * Traits::kHeadDim; }
    __device__ Softmax* softmax(int row) const {
        return reinterpret_cast<Softmax*>(sums(this->row(launch.num_ctas.divisor(), false, 0))) + row;
    }

  private:
    const AttentionLaunch& launch;
    float* const workspace;  // [num_ctas, 2, max_rows, head_dim] sums, [num_ctas, 2, max_rows] softmaxes
};

// Where the rows of a segment go: to the output if it has all of its unit's keys, and otherwise to one of
// the CTA's places in the workspace. Of the two rows that a thread has numbers of.
template <typename Traits>
class SegmentRows {
  public:
    __device__ SegmentRows(const AttentionParams& params, const Partials<Traits>& partials,
                           const SlabRows& which, int slab, bool is_whole, bool goes_on)
        : p(params),
          partials(partials),
          which(which),
          first_row(partials.row(blockIdx.x, goes_on, slab * kSlab)),
          is_whole(is_whole) {}

    // Takes the rows' softmax, which one slice of each slab writes.
    __device__ void begin(const Softmax (&softmax)[2], bool writes_softmax) {
        const int place = threadIdx.x % 4;  // among the threads of a row
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = SlabRows::of_thread(i);
            to[i] = nullptr;
            factor[i] = 1;
            if (!which.exists(row)) continue;
            if (is_whole) {
                const int head = which.query_head(row);
                const std::int64_t index = std::int64_t{which.token(row)} * p.num_heads + head;
                const RowEnd end(softmax[i], p.sinks ? p.sinks + head : nullptr);
                if (writes_softmax && place == 0) p.lse[index] = end.lse;
                to[i] = static_cast<std::uint32_t*>(p.out) + index * (Traits::kHeadDim / 2) + place;
                factor[i] = end.empty ? kEmpty : end.factor;
            } else {
                if (writes_softmax && place == 0) *partials.softmax(first_row + row) = softmax[i];
                to[i] = reinterpret_cast<float2*>(partials.sums(first_row + row)) + place;
            }
        }
    }

    // Two elements of a row, of the n-th 8 dims.
    __device__ void write(int i, int n, float x, float y) const {
        if (!to[i]) return;
        if (is_whole) {
            // A row that has seen nothing is zero, whatever the values were.
            static_cast<std::uint32_t*>(to[i])[4 * n] =
                factor[i] == kEmpty ? 0 : pack<typename Traits::T>(x * factor[i], y * factor[i]);
        } else {
            static_cast<float2*>(to[i])[4 * n] = make_float2(x, y);
        }
    }

  private:
    static constexpr float kEmpty = -1;  // no factor is negative

    const AttentionParams& p;
    const Partials<Traits> partials;
    const SlabRows which;
    const int first_row;
    const bool is_whole;
    void* to[2];
    float factor[2];
};

// Ends a segment: adds the slices of each slab up and writes its rows to `to`, each slice some of the dims.
// By the active computing warps. `scratch` are the warps' slabs, whose queries are not needed any more,
// `softmaxes` is [kComputeWarps, kSlab].
template <typename Traits>
__device__ inline void write_rows(Rows<Traits>& rows, const Role& role, unsigned char* scratch,
                                  Softmax (*softmaxes)[kSlab], SegmentRows<Traits> to) {
    constexpr int kPasses = 2;  // each with some of the dims, as many as a slab has room for
    constexpr int kTiles = Rows<Traits>::kDimTiles / kPasses;
    static_assert(Rows<Traits>::kDimTiles % kPasses == 0);
    static_assert(kTiles * 32 * sizeof(float4) <= Traits::kSlabBytes);
    const int lane = threadIdx.x % 32;
    const int row = SlabRows::of_thread(0);

#pragma unroll
    for (int i = 0; i < 2; ++i) {
        float& sum = rows.softmax[i].sum;
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (lane % 4 == 0)
            softmaxes[role.slice() * role.slabs() + role.slab()][row + 8 * i] = rows.softmax[i];
    }
    float factor[kMaxSlices][2];
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
        // No lane reads the warp's queries any more; no slice reads its sums.
        if (pass == 0) {
            __syncwarp();
        } else {
            sync_slab(role);
        }
        auto* mine = reinterpret_cast<float4*>(scratch + threadIdx.x / 32 * Traits::kSlabBytes) + lane;
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
            const float (&out)[4] = rows.out[pass * kTiles + n];
            mine[n * 32] = make_float4(out[0], out[1], out[2], out[3]);
        }
        sync_slab(role);
        if (pass == 0) {
            Softmax all[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                Softmax of[kMaxSlices];
#pragma unroll
                for (int slice = 0; slice < kMaxSlices; ++slice) {
                    if (slice < role.slices())
                        of[slice] = softmaxes[slice * role.slabs() + role.slab()][row + 8 * i];
                    all[i].top = fmaxf(all[i].top, of[slice].top);
                }
#pragma unroll
                for (int slice = 0; slice < kMaxSlices; ++slice) {
                    factor[slice][i] = exp2_approx(of[slice].top - all[i].base());
                    all[i].sum += of[slice].sum * factor[slice][i];
                }
            }
            to.begin(all, role.slice() == 0);
        }
#pragma unroll 1
        for (int n = role.slice(); n < kTiles; n += role.slices()) {
            float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
            for (int slice = 0; slice < kMaxSlices; ++slice) {
                float4 x = make_float4(0, 0, 0, 0);
                if (slice < role.slices()) {
                    x = reinterpret_cast<const float4*>(scratch + (slice * role.slabs() + role.slab()) *
                                                                      Traits::kSlabBytes)[n * 32 + lane];
                }
                sum.x += x.x * factor[slice][0];
                sum.y += x.y * factor[slice][0];
                sum.z += x.z * factor[slice][1];
                sum.w += x.w * factor[slice][1];
            }
            to.write(0, pass * kTiles + n, sum.x, sum.y);
            to.write(1, pass * kTiles + n, sum.z, sum.w);
        }
    }
}

}  // namespace hogwild::cuda
