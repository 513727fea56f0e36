// Queries: the rows of a unit, rotated for a block, in shared memory.
#pragma once

#include "csrc/attention/mma.cuh"
#include "csrc/attention/plan.cuh"
#include "csrc/attention/traits.cuh"

namespace hogwild::cuda {

// 16 bytes of a row as numbers.
template <typename T>
struct Chunk {
    float at[8];

    Chunk() = default;
    __device__ explicit Chunk(const uint4& bits) {
        const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float2 pair = unpack<T>(words[i]);
            at[2 * i] = pair.x;
            at[2 * i + 1] = pair.y;
        }
    }
    __device__ uint4 bits() const {
        return make_uint4(pack<T>(at[0], at[1]), pack<T>(at[2], at[3]), pack<T>(at[4], at[5]),
                          pack<T>(at[6], at[7]));
    }
};

// How 8 dims are rotated: x * cosine + other * sine, `other` being their partners and `sine` negative for the
// first dim of a pair.
template <typename T>
struct ChunkRotation {
    Chunk<T> other;
    float cosine[8];
    float sine[8];
};

// The rotation of a chunk where chunks have whole pairs, or their partners are whole chunks.
template <typename T>
__device__ inline void load_aligned(ChunkRotation<T>& r, const T* row, int dim, const RotaryDims& rotary,
                                    const float* angles) {
    const int i = dim - rotary.start;
    if (rotary.interleaved) {
        const float4 cosine = __ldg(reinterpret_cast<const float4*>(angles + i / 2));
        const float4 sine = __ldg(reinterpret_cast<const float4*>(angles + rotary.half + i / 2));
        const Chunk<T> x(__ldg(reinterpret_cast<const uint4*>(row + dim)));
        const float cosines[4] = {cosine.x, cosine.y, cosine.z, cosine.w};
        const float sines[4] = {sine.x, sine.y, sine.z, sine.w};
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            r.other.at[j] = x.at[j ^ 1];
            r.cosine[j] = cosines[j / 2];
            r.sine[j] = j % 2 == 0 ? -sines[j / 2] : sines[j / 2];
        }
    } else {
        const bool first = i < rotary.half;
        const float* from = angles + (first ? i : i - rotary.half);
        r.other = Chunk<T>(
            __ldg(reinterpret_cast<const uint4*>(row + (first ? dim + rotary.half : dim - rotary.half))));
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
            const float4 cosine = __ldg(reinterpret_cast<const float4*>(from + j));
            const float4 sine = __ldg(reinterpret_cast<const float4*>(from + rotary.half + j));
            const float sign = first ? -1.f : 1.f;
            r.cosine[j] = cosine.x, r.cosine[j + 1] = cosine.y;
            r.cosine[j + 2] = cosine.z, r.cosine[j + 3] = cosine.w;
            r.sine[j] = sign * sine.x, r.sine[j + 1] = sign * sine.y;
            r.sine[j + 2] = sign * sine.z, r.sine[j + 3] = sign * sine.w;
        }
    }
}

// The rotation of a chunk whatever pairs it has.
template <typename T>
__device__ inline void load_elements(ChunkRotation<T>& r, const T* row, int first_dim,
                                     const RotaryDims& rotary, const float* angles) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        const int dim = first_dim + j;
        const int i = dim - rotary.start;
        r.other.at[j] = 0;
        r.cosine[j] = 1;
        r.sine[j] = 0;
        if (i < 0 || i >= 2 * rotary.half) continue;
        const bool first = rotary.interleaved ? i % 2 == 0 : i < rotary.half;
        const int pair = rotary.interleaved ? i / 2 : first ? i : i - rotary.half;
        const int distance = rotary.interleaved ? 1 : rotary.half;
        r.other.at[j] = static_cast<float>(row[first ? dim + distance : dim - distance]);
        r.cosine[j] = __ldg(angles + pair);
        r.sine[j] = first ? -__ldg(angles + rotary.half + pair) : __ldg(angles + rotary.half + pair);
    }
}

// Writes the rows of a unit and kv head to shared memory, rotated into a block's frame in fp32 and rounded
// once; zeros after the last row up to the end of its slab. By all threads.
template <typename Traits>
__device__ inline void rotate_queries(const AttentionParams& p, const Unit& unit, int first_token,
                                      int kv_head, int block, unsigned char* queries) {
    using T = typename Traits::T;
    const int ratio = p.num_heads / p.cache.num_kv_heads;
    const RotaryDims& rotary = p.rotary;
    const int step = rotary.interleaved ? 4 : 8;
    const bool aligned = rotary.half % step == 0 && rotary.start % 8 == 0 &&
                         reinterpret_cast<std::uintptr_t>(p.rotation) % sizeof(float4) == 0;
    const int size = (unit.num_rows + kSlab - 1) / kSlab * kSlab * Traits::kChunks;
#pragma unroll 1
    for (int index = threadIdx.x; index < size; index += kThreads) {
        const int row = index / Traits::kChunks;
        const int chunk = index % Traits::kChunks;
        uint4 bits = make_uint4(0, 0, 0, 0);
        if (row < unit.num_rows) {
            const int token = first_token + (unit.first_row + row) / ratio;
            const int head = kv_head * ratio + (unit.first_row + row) % ratio;
            const T* from = static_cast<const T*>(p.q) + token * p.q_token_stride + head * p.q_head_stride;
            bits = __ldg(reinterpret_cast<const uint4*>(from + chunk * 8));
            const int dim = chunk * 8;
            if (p.rotation && dim + 8 > rotary.start && dim < rotary.start + 2 * rotary.half) {
                const float* angles =
                    p.rotation + (std::int64_t{token} * p.num_columns + block) * 2 * rotary.half;
                ChunkRotation<T> r;
                if (aligned) {
                    load_aligned(r, from, dim, rotary, angles);
                } else {
                    load_elements(r, from, dim, rotary, angles);
                }
                Chunk<T> x(bits);
#pragma unroll
                for (int j = 0; j < 8; ++j) x.at[j] = x.at[j] * r.cosine[j] + r.other.at[j] * r.sine[j];
                bits = x.bits();
            }
        }
        *reinterpret_cast<uint4*>(queries + Traits::offset(row, chunk)) = bits;
    }
}

}  // namespace hogwild::cuda
