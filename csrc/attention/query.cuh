// Queries: rows of a segment in shared memory, and their rotation into the registers of mma's A.
#pragma once

#include "csrc/attention/mma.cuh"
#include "csrc/attention/plan.cuh"
#include "csrc/attention/traits.cuh"

namespace hogwild::cuda {

// Copies the rows of a segment to shared memory, zeros after the last up to the end of its slab. By all
// threads.
template <typename Traits>
__device__ inline void load_queries(const AttentionParams& p, const Unit& unit, int first_token, int kv_head,
                                    unsigned char* queries) {
    using T = typename Traits::T;
    const int ratio = p.num_heads / p.cache.num_kv_heads;
    const int size = (unit.num_rows + kSlab - 1) / kSlab * kSlab * Traits::kChunks;
#pragma unroll 4
    for (int i = threadIdx.x; i < size; i += kThreads) {
        const int row = i / Traits::kChunks;
        const int chunk = i % Traits::kChunks;
        uint4 elements = make_uint4(0, 0, 0, 0);
        if (row < unit.num_rows) {
            const int token = first_token + (unit.first_row + row) / ratio;
            const int head = kv_head * ratio + (unit.first_row + row) % ratio;
            const T* from = static_cast<const T*>(p.q) + token * p.q_token_stride + head * p.q_head_stride;
            elements = __ldg(reinterpret_cast<const uint4*>(from + chunk * 8));
        }
        *reinterpret_cast<uint4*>(queries + Traits::offset(row, chunk)) = elements;
    }
}

// A slab's rows as mma wants its A. Register i of a step has the dims 16 step + 8 (i / 2) + 2 (lane % 4) and
// the next of row lane / 4 + 8 (i % 2), so that the pairs of a rotation meet in one thread.
template <typename Traits>
class Query {
  public:
    // Reads a slab and rotates its rows: those of `angles[i]`, cos row and then sin row, are lane / 4 + 8 i.
    __device__ void load(const unsigned char* queries, int slab, const RotaryDims& rotary,
                         const float* const (&angles)[2]) {
        const int lane = threadIdx.x % 32;
        const int row = slab * kSlab + lane % 16;
        const std::uint32_t from = shared_address(queries);
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
            load_matrices(a[step], from + Traits::offset(row, 2 * step + lane / 16));
        }
        if (!angles[0]) return;
        const bool even = (reinterpret_cast<std::uintptr_t>(angles[0]) % sizeof(float2) == 0);
        if (!rotary.interleaved && 2 * rotary.half == Traits::kHeadDim && kSteps % 2 == 0 && even) {
            rotate_halves(angles);
        } else if (rotary.interleaved && rotary.start % 2 == 0) {
            rotate_neighbours(rotary, angles);
        } else {
            rotate_elements(queries, slab, rotary, angles);
        }
    }

    std::uint32_t a[Traits::kDimSteps][4];

  private:
    using T = typename Traits::T;
    static constexpr int kSteps = Traits::kDimSteps;

    __device__ static int first_dim(int step, int i) { return 16 * step + 8 * (i / 2) + threadIdx.x % 4 * 2; }

    // All dims of a head, in halves: a pair is the same element of two steps.
    __device__ void rotate_halves(const float* const (&angles)[2]) {
#pragma unroll
        for (int step = 0; step < kSteps / 2; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float* from = angles[i % 2] + first_dim(step, i);
                const float2 cosine = __ldg(reinterpret_cast<const float2*>(from));
                const float2 sine = __ldg(reinterpret_cast<const float2*>(from + Traits::kHeadDim / 2));
                std::uint32_t& low = a[step][i];
                std::uint32_t& high = a[step + kSteps / 2][i];
                const float2 x = unpack<T>(low);
                const float2 y = unpack<T>(high);
                low = pack<T>(x.x * cosine.x - y.x * sine.x, x.y * cosine.y - y.y * sine.y);
                high = pack<T>(x.x * sine.x + y.x * cosine.x, x.y * sine.y + y.y * cosine.y);
            }
        }
    }

    // Neighbouring dims: a pair is one register.
    __device__ void rotate_neighbours(const RotaryDims& rotary, const float* const (&angles)[2]) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int dim = first_dim(step, i) - rotary.start;
                if (dim < 0 || dim >= 2 * rotary.half) continue;
                const float cosine = __ldg(angles[i % 2] + dim / 2);
                const float sine = __ldg(angles[i % 2] + rotary.half + dim / 2);
                const float2 x = unpack<T>(a[step][i]);
                a[step][i] = pack<T>(x.x * cosine - x.y * sine, x.x * sine + x.y * cosine);
            }
        }
    }

    // Any pairs: the other of each is read from shared memory.
    __device__ void rotate_elements(const unsigned char* queries, int slab, const RotaryDims& rotary,
                                    const float* const (&angles)[2]) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = slab * kSlab + threadIdx.x % 32 / 4 + 8 * (i % 2);
                const int dim = first_dim(step, i);
                const float2 x = unpack<T>(a[step][i]);
                a[step][i] = pack<T>(rotated(x.x, queries, row, dim, rotary, angles[i % 2]),
                                     rotated(x.y, queries, row, dim + 1, rotary, angles[i % 2]));
            }
        }
    }

    __device__ static float rotated(float x, const unsigned char* queries, int row, int dim,
                                    const RotaryDims& rotary, const float* angles) {
        const int i = dim - rotary.start;
        if (i < 0 || i >= 2 * rotary.half) return x;
        const int pair = rotary.interleaved ? i / 2 : i % rotary.half;
        const bool first = rotary.interleaved ? i % 2 == 0 : i < rotary.half;
        const int distance = rotary.interleaved ? 1 : rotary.half;
        const int other = first ? dim + distance : dim - distance;
        const unsigned char* at = queries + Traits::offset(row, other / 8) + other % 8 * sizeof(T);
        const float y = static_cast<float>(*reinterpret_cast<const T*>(at));
        const float cosine = __ldg(angles + pair);
        const float sine = __ldg(angles + rotary.half + pair);
        return first ? x * cosine - y * sine : x * cosine + y * sine;
    }
};

}  // namespace hogwild::cuda
