// From the registers of a segment's warps to the output, or to the workspace where other CTAs have a part of
// it.
#pragma once

#include "csrc/attention/attend.cuh"
#include "csrc/attention/published.cuh"

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

    // Makes the numbers of this CTA's first rows absent, for a segment that `goes_on` or not. By the
    // computing warps, of which this is the `warp`-th.
    __device__ void clear(int num_rows, bool goes_on, int warp = threadIdx.x / 32) const {
        constexpr int kEach = 4;
        constexpr int kStep = 32 * kEach;
        const int lane = threadIdx.x % 32;
        const int first = place(warp, blockIdx.x, goes_on);
        const int next = Traits::kComputeWarps * per_row();
        float* to = sums(first) + lane * kEach;
#pragma unroll 4
        for (int row = warp; row < num_rows; row += Traits::kComputeWarps) {
#pragma unroll
            for (int dim = 0; dim < Traits::kHeadDim; dim += kStep) {
                if (dim + kStep <= Traits::kHeadDim || dim + lane * kEach < Traits::kHeadDim) {
                    Published<kEach>::absent().store(to + dim);
                }
            }
            to += std::int64_t{next} * Traits::kHeadDim;
        }
        static_assert(32 * Traits::kComputeWarps >= kSlab * kMaxSlabs);  // a lane a row
        if (warp + lane * Traits::kComputeWarps < num_rows) {
            Published<2>::absent().store(softmax(first + lane * next));
        }
    }

  private:
    const AttentionLaunch& launch;
    float* const workspace;  // [max_rows, num_ctas, 2, head_dim] sums, [max_rows, num_ctas, 2] softmaxes
};

// Where the rows of a segment go: to the output if it has all of its unit's keys, and otherwise to one of
// the CTA's places in the workspace. Of a slab, lanes 0 to 15 have a row each, and lanes 16 to 31 the same.
template <typename Traits>
class SegmentRows {
  public:
    __device__ SegmentRows(const AttentionParams& params, const Partials<Traits>& partials,
                           const SlabRows& which, int slab, bool is_whole, bool goes_on)
        : p(params), partials(partials), which(which), is_whole(is_whole), row(opaque(threadIdx.x) % kSlab) {
        at = is_whole ? which.token(row) * p.num_heads + which.query_head(row)
                      : partials.place(slab * kSlab + row, blockIdx.x, goes_on);
    }

    __device__ int num_rows() const { return which.count(); }

    // Takes the softmax of the lane's row, which one slice of each slab writes. Returns what the row's sums
    // are to be multiplied by.
    __device__ float begin(const Softmax& softmax, bool writes_softmax) {
        writes_softmax = writes_softmax && static_cast<int>(threadIdx.x % 32) < num_rows();
        if (!is_whole) {
            if (writes_softmax) put(partials.softmax(at), softmax);
            return 1;
        }
        const RowEnd end(softmax, p.sinks ? p.sinks + which.query_head(row) : nullptr);
        if (writes_softmax) p.lse[at] = end.lse;
        // A row that has seen nothing is zero, whatever the values were.
        if (end.empty) at = ~at;
        return end.factor;
    }

    // Four elements of a row, from a dim on. By all lanes, each for a row of its own; some have none.
    __device__ void write(int to_row, int dim, const float4& x, bool has_some) const {
        const int place = __shfl_sync(~0u, at, to_row);
        if (!has_some) return;
        if (is_whole) {
            const bool empty = place < 0;
            const std::int64_t begin = std::int64_t{empty ? ~place : place} * Traits::kHeadDim + dim;
            using T = typename Traits::T;
            *reinterpret_cast<uint2*>(static_cast<T*>(p.out) + begin) =
                empty ? make_uint2(0, 0) : make_uint2(pack<T>(x.x, x.y), pack<T>(x.z, x.w));
        } else {
            put(partials.sums(place) + dim, x);
        }
    }

  private:
    // For other CTAs.
    __device__ static void put(Softmax* to, const Softmax& x) {
        if constexpr (Traits::kOneSession) {
            Published<2>::of(x.top, x.sum).store(to);
        } else {
            *to = x;
        }
    }
    __device__ static void put(float* to, const float4& x) {
        if constexpr (Traits::kOneSession) {
            Published<4>::of(x.x, x.y, x.z, x.w).store(to);
        } else {
            *reinterpret_cast<float4*>(to) = x;
        }
    }

    const AttentionParams& p;
    const Partials<Traits> partials;
    const SlabRows which;
    const bool is_whole;
    const int row;
    int at;  // the row in [T, H], its complement if it is empty; or its place in the workspace
};

// The sums of a slab's rows in shared memory, some dims of them: a place for each of its warps. Rows of whole
// 128-byte lines are swizzled, so that four of them are in different banks; others are as much longer than
// their dims.
template <typename Traits>
class SlabSums {
  public:
    __device__ SlabSums(unsigned char* memory, int row_bytes) : memory(memory), row_bytes(row_bytes) {}

    // Where a lane has the n-th four dims of a row.
    __device__ const float4& quad(int row, int n) const {
        return *reinterpret_cast<const float4*>(octets(row) + octet(row, n / 2) + n % 2 * sizeof(float4));
    }

    // Stores some dims of a warp's rows, from where mma has them. Rows from 8 on where there are any.
    template <int kTiles>
    __device__ void store(const float (&out)[kTiles][4], int first, int size, bool has_upper) const {
        const unsigned lane = opaque(threadIdx.x) % 32;
        const unsigned row = lane / 4;
        unsigned char* const begin = octets(row) + lane % 4 * sizeof(float2);
        // Of eight dims each, the first of the pass as if it were the first of all.
        int at[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) at[i] = octet(row, i) - octet(0, first);
        constexpr int kPart = kTiles / kMaxSumPasses;  // what a pass has at least
#pragma unroll
        for (int part = 0; part < kTiles; part += kPart) {
            if (size == kPart && part != first) continue;
#pragma unroll
            for (int n = part; n < part + kPart; ++n) {
                unsigned char* const to = begin + at[n % 4] + octet(0, n - n % 4);
                *reinterpret_cast<float2*>(to) = make_float2(out[n][0], out[n][1]);
                if (has_upper) {
                    *reinterpret_cast<float2*>(to + kSlab / 2 * row_bytes) =
                        make_float2(out[n][2], out[n][3]);
                }
            }
        }
    }

  private:
    __device__ unsigned char* octets(int row) const { return memory + row * row_bytes; }
    __device__ static int octet(int row, int n) {
        return 8 * static_cast<int>(sizeof(float)) * (Traits::kSwizzled ? n ^ (row & 3) : n);
    }

    unsigned char* const memory;
    const int row_bytes;
};

// Ends a segment: adds the slices of each slab up and writes its rows to `to`, each slice some of them. By
// the active computing warps. `scratch` is the warps' room for rotated queries, which are not needed any
// more, and sums, which take all dims in launch.sum_passes passes.
template <typename Traits>
__device__ inline void write_rows(Rows<Traits>& rows, const Role& role, const AttentionLaunch& launch,
                                  unsigned char* scratch, RingMemory& ring, SegmentRows<Traits> to) {
    constexpr int kTiles = Rows<Traits>::kDimTiles;
    // 256 dims always take two passes, each with code of its own, so that their sums stay in registers. Calls
    // of one session take as few as they can.
    constexpr bool kOwnCode = !Rows<Traits>::kQueryInRegisters;
    constexpr int kFewest = Traits::kFewestSumPasses;
    const int passes = Traits::kOneSession ? kFewest : launch.sum_passes;
    const int size = kTiles / kFewest >> (passes > kFewest);
    const int stride = Traits::kOneSession ? Traits::kSumsBytes : launch.slab_stride;
    const int row_bytes = stride / kSlab;
    const unsigned lane = opaque(threadIdx.x) % 32;
    const int slabs = role.slabs();
    const int slices = role.slices();

#pragma unroll
    for (int i = 0; i < 2; ++i) {
        float& sum = rows.softmax[i].sum;
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (lane % 4 == 0) {
            ring.softmaxes[role.slice() * slabs + role.slab()][lane / 4 + 8 * i] = rows.softmax[i];
        }
    }
    __syncwarp();              // no lane reads the warp's queries any more
    float factor[kMaxSlices];  // of the row of the lane
    const int num_rows = to.num_rows();
    const SlabSums<Traits> mine(scratch + compute_warp<Traits>() * stride, row_bytes);
    unsigned char* const first_sums = scratch + role.slab() * stride;
    const int next_sums = slabs * stride;
#pragma unroll(kOwnCode ? kMaxSumPasses : 1)
    for (int first = 0; first < kTiles; first += size) {
        if (first > 0) sync_slab(ring, role);  // no slice reads its sums
        mine.store(rows.out, first, size, num_rows > kSlab / 2);
        sync_slab(ring, role);
        if (first == 0) {
            Softmax all;
            Softmax of[kMaxSlices];
#pragma unroll
            for (int slice = 0; slice < kMaxSlices; ++slice) {
                if (slice < slices) of[slice] = ring.softmaxes[slice * slabs + role.slab()][lane % kSlab];
                all.top = fmaxf(all.top, of[slice].top);
            }
#pragma unroll
            for (int slice = 0; slice < kMaxSlices; ++slice) {
                factor[slice] = exp2_approx(of[slice].top - all.base());
                all.sum += of[slice].sum * factor[slice];
            }
            const float end = to.begin(all, role.slice() == 0);
#pragma unroll
            for (int slice = 0; slice < kMaxSlices; ++slice) factor[slice] *= end;
        }
        // A row by so many lanes, several rows at a time: one's trip to shared memory is the others' too.
        constexpr int kLanes = Traits::kHeadDim > 64 ? 32 : 16;
        constexpr int kRows = 32 / kLanes;
        constexpr int kAtOnce = kOwnCode ? 1 : 2;
        const int quad = min(static_cast<int>(lane) % kLanes, 2 * size - 1);
        const bool is_other = static_cast<int>(lane) % kLanes > quad;
#pragma unroll 1
        for (int begin = role.slice() * kRows; begin < num_rows; begin += kAtOnce * kRows * slices) {
            float4 sum[kAtOnce];
            int row[kAtOnce];
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                row[i] = begin + i * kRows * slices + lane / kLanes;
                sum[i] = make_float4(0, 0, 0, 0);
            }
#pragma unroll
            for (int slice = 0; slice < kMaxSlices; ++slice) {
                if (slice >= slices) break;
                const SlabSums<Traits> sums(first_sums + slice * next_sums, row_bytes);
#pragma unroll
                for (int i = 0; i < kAtOnce; ++i) {
                    const float4 x = sums.quad(min(row[i], num_rows - 1), quad);
                    const float by = __shfl_sync(~0u, factor[slice], row[i]);
                    sum[i].x += x.x * by;
                    sum[i].y += x.y * by;
                    sum[i].z += x.z * by;
                    sum[i].w += x.w * by;
                }
            }
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                to.write(row[i], 8 * first + 4 * quad, sum[i], row[i] < num_rows && !is_other);
            }
        }
    }
}

}  // namespace hogwild::cuda
