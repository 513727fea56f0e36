// From the registers of a segment's warps to the output, or to the workspace where other CTAs have a part of
// it.
#pragma once

#include "csrc/attention/attend.cuh"

namespace hogwild::cuda {

// Every CTA has two places in the workspace for each row: for a segment that began before its part of the
// line, and for one that goes on behind it. Each holds the row's unscaled sum of values and its softmax.
// Those of one row stand together, so that who merges them finds one after the other at a constant distance.
template <typename Traits>
class Partials {
  public:
    __device__ Partials(const AttentionLaunch& launch, void* workspace)
        : launch(launch), workspace(static_cast<float*>(workspace)) {}

    __device__ int per_row() const { return 2 * launch.num_ctas.divisor(); }
    // The index of a row's place.
    __device__ int place(int row, int cta, bool goes_on) const { return row * per_row() + 2 * cta + goes_on; }
    __device__ float* sums(int place) const { return workspace + place * Traits::kHeadDim; }
    __device__ Softmax* softmax(int place) const {
        return reinterpret_cast<Softmax*>(sums(launch.max_rows * per_row())) + place;
    }

  private:
    const AttentionLaunch& launch;
    float* const workspace;  // [max_rows, num_ctas, 2, head_dim] sums, [max_rows, num_ctas, 2] softmaxes
};

// Where the rows of a segment go: to the output if it has all of its unit's keys, and otherwise to one of
// the CTA's places in the workspace. Of the two rows that a thread has numbers of.
template <typename Traits>
class SegmentRows {
  public:
    __device__ SegmentRows(const AttentionParams& params, const Partials<Traits>& partials,
                           const SlabRows& which, int slab, bool is_whole, bool goes_on)
        : p(params), partials(partials), which(which), is_whole(is_whole), lane(opaque(threadIdx.x) % 32) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = lane / 4 + 8 * i;
            at[i] = kNowhere;
            if (!which.exists(row)) continue;
            at[i] = is_whole ? which.token(row) * p.num_heads + which.query_head(row)
                             : partials.place(slab * kSlab + row, blockIdx.x, goes_on);
        }
    }

    // Takes a row's softmax, which one slice of each slab writes. Returns what its sums are to be multiplied
    // by.
    __device__ float begin(int i, const Softmax& softmax, bool writes_softmax) {
        if (at[i] == kNowhere) return 0;
        writes_softmax = writes_softmax && lane % 4 == 0;
        if (!is_whole) {
            if (writes_softmax) *partials.softmax(at[i]) = softmax;
            return 1;
        }
        const RowEnd end(softmax, p.sinks ? p.sinks + which.query_head(lane / 4 + 8 * i) : nullptr);
        if (writes_softmax) p.lse[at[i]] = end.lse;
        // A row that has seen nothing is zero, whatever the values were.
        if (end.empty) at[i] = ~at[i];
        return end.factor;
    }

    // Two elements of a row, of the n-th 8 dims.
    __device__ void write(int i, int n, float x, float y) const {
        if (at[i] == kNowhere) return;
        const int pair = 4 * n + lane % 4;
        if (is_whole) {
            const bool empty = at[i] < 0;
            const std::int64_t row = empty ? ~at[i] : at[i];
            static_cast<std::uint32_t*>(p.out)[row * (Traits::kHeadDim / 2) + pair] =
                empty ? 0 : pack<typename Traits::T>(x, y);
        } else {
            reinterpret_cast<float2*>(partials.sums(at[i]))[pair] = make_float2(x, y);
        }
    }

  private:
    static constexpr int kNowhere = INT32_MIN;

    const AttentionParams& p;
    const Partials<Traits> partials;
    const SlabRows which;
    const bool is_whole;
    const int lane;
    int at[2];  // the row in [T, H], its complement if it is empty; or its place in the workspace
};

// Ends a segment: adds the slices of each slab up and writes its rows to `to`, each slice some of the dims.
// By the active computing warps. `scratch` is the warps' room for rotated queries, which are not needed any
// more, and sums: `stride` bytes for each warp, which take all dims in so many passes.
template <typename Traits>
__device__ inline void write_rows(Rows<Traits>& rows, const Role& role, unsigned char* scratch, int stride,
                                  int passes, RingMemory& ring, SegmentRows<Traits> to) {
    constexpr int kTiles = Rows<Traits>::kDimTiles;
    const int thread = opaque(threadIdx.x);
    const int lane = thread % 32;
    const int row = lane / 4;

#pragma unroll
    for (int i = 0; i < 2; ++i) {
        float& sum = rows.softmax[i].sum;
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (lane % 4 == 0)
            ring.softmaxes[role.slice() * role.slabs() + role.slab()][row + 8 * i] = rows.softmax[i];
    }
    __syncwarp();  // no lane reads the warp's queries any more
    float factor[2][kMaxSlices];
    // 256 dims always take two passes, each with code of its own, so that their sums stay in registers.
    constexpr bool kOwnCode = !Rows<Traits>::kQueryInRegisters;
    const int size = kOwnCode ? kTiles / kMaxSumPasses : kTiles / passes;
#pragma unroll(kOwnCode ? kMaxSumPasses : 1)
    for (int first = 0; first < kTiles; first += size) {
        if (first > 0) sync_slab(ring, role);  // no slice reads its sums
        // As if the first tile of the pass were tile 0 of all.
        auto* mine = reinterpret_cast<float4*>(scratch + thread / 32 * stride) + lane - first * 32;
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
            const float (&out)[4] = rows.out[n];
            if (static_cast<unsigned>(n - first) < static_cast<unsigned>(size))
                mine[n * 32] = make_float4(out[0], out[1], out[2], out[3]);
        }
        sync_slab(ring, role);
        if (first == 0) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                Softmax all;
                Softmax of[kMaxSlices];
#pragma unroll
                for (int slice = 0; slice < kMaxSlices; ++slice) {
                    if (slice < role.slices())
                        of[slice] = ring.softmaxes[slice * role.slabs() + role.slab()][row + 8 * i];
                    all.top = fmaxf(all.top, of[slice].top);
                }
#pragma unroll
                for (int slice = 0; slice < kMaxSlices; ++slice) {
                    factor[i][slice] = exp2_approx(of[slice].top - all.base());
                    all.sum += of[slice].sum * factor[i][slice];
                }
                const float end = to.begin(i, all, role.slice() == 0);
#pragma unroll
                for (int slice = 0; slice < kMaxSlices; ++slice) factor[i][slice] *= end;
            }
        }
        const auto* sums = reinterpret_cast<const float4*>(scratch + role.slab() * stride) + lane;
        const int next_slice = role.slabs() * stride / sizeof(float4);
        // Two at a time where registers allow it, so that one's trip to shared memory is the other's too.
        constexpr int kAtOnce = kOwnCode ? 1 : 2;
#pragma unroll 1
        for (int begin = role.slice(); begin < size; begin += kAtOnce * role.slices()) {
            float4 x[kAtOnce][kMaxSlices];
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const int n = begin + i * role.slices();
#pragma unroll
                for (int slice = 0; slice < kMaxSlices; ++slice) {
                    x[i][slice] = make_float4(0, 0, 0, 0);
                    if (slice < role.slices() && (i == 0 || n < size)) {
                        x[i][slice] = sums[slice * next_slice + n * 32];
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const int n = begin + i * role.slices();
                float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
                for (int slice = 0; slice < kMaxSlices; ++slice) {
                    sum.x += x[i][slice].x * factor[0][slice];
                    sum.y += x[i][slice].y * factor[0][slice];
                    sum.z += x[i][slice].z * factor[1][slice];
                    sum.w += x[i][slice].w * factor[1][slice];
                }
                if (i > 0 && n >= size) break;
                to.write(0, first + n, sum.x, sum.y);
                to.write(1, first + n, sum.z, sum.w);
            }
        }
    }
}

}  // namespace hogwild::cuda
