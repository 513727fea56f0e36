// The queries of a slab, rotated into a block's frame, in shared memory.
#pragma once

#include "csrc/attention/mma.cuh"
#include "csrc/attention/traits.cuh"
#include "csrc/cache/vector.cuh"
#include "csrc/params.h"

namespace hogwild::cuda {

// 16 bytes of a row as numbers.
template <typename T>
struct Chunk {
    float at[8];

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

struct Angles {  // of 8 pairs
    float at[8];

    __device__ explicit Angles(const float* from) {
#pragma unroll
        for (int i = 0; i < 8; i += 4) {
            const float4 four = *reinterpret_cast<const float4*>(from + i);
            at[i] = four.x;
            at[i + 1] = four.y;
            at[i + 2] = four.z;
            at[i + 3] = four.w;
        }
    }
};

// Rotates rows of a slab in fp32, rounds them once and writes them to another slab. `angles_of(row)` are the
// cos row and then the sin row of one, null if the row is to stay. All in shared memory.
template <typename Traits>
class SlabRotation {
  public:
    using T = typename Traits::T;

    __device__ SlabRotation(const RotaryDims& rotary, const unsigned char* from, unsigned char* to)
        : rotary(rotary), from(from), to(to), lane(opaque(threadIdx.x) % 32) {}

    // One of `parts` parts of the slab, by one warp.
    template <typename AnglesOf>
    __device__ void run(int part, int parts, AnglesOf angles_of) {
        if (!rotary.interleaved && rotary.half % 8 == 0 && rotary.start % 8 == 0) {
            rotate_chunks(part, parts, angles_of);
        } else {
            rotate_any(part, parts, angles_of);
        }
    }

  private:
    // Chunks of 8 dims whose partners are chunks too, two at a time; chunks that are not rotated make pairs
    // as well.
    template <typename AnglesOf>
    __device__ void rotate_chunks(int part, int parts, AnglesOf angles_of) {
        constexpr int kPairs = Traits::kChunks / 2;  // of a row
        constexpr int kRows = 32 / kPairs;           // at once: a lane has the same pair of each
        if (lane >= kRows * kPairs) return;
        const int pair = lane % kPairs;
        const int rotated = rotary.half / 8;
        const int start = rotary.start / 8;
        int first = start + pair;
        int second = first + rotated;
        if (pair >= rotated) {
            first = 2 * (pair - rotated);
            second = first + 1;
            if (first >= start) first += 2 * rotated;
            if (second >= start) second += 2 * rotated;
        }
#pragma unroll 1
        for (int row = lane / kPairs + kRows * part; row < kSlab; row += kRows * parts) {
            const float* angles = angles_of(row);
            if (!angles) continue;
            uint4 low = read(row, first);
            uint4 high = read(row, second);
            if (pair < rotated) {
                const Angles cosine(angles + pair * 8);
                const Angles sine(angles + rotary.half + pair * 8);
                Chunk<T> x(low);
                Chunk<T> y(high);
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    const float x_i = x.at[i];
                    x.at[i] = x_i * cosine.at[i] - y.at[i] * sine.at[i];
                    y.at[i] = x_i * sine.at[i] + y.at[i] * cosine.at[i];
                }
                low = x.bits();
                high = y.bits();
            }
            write(row, first, low);
            write(row, second, high);
        }
    }

    // Any pairs, by chunks of 8 dims: at once where pairs are neighbours in a chunk, or else dim by dim.
    template <typename AnglesOf>
    __device__ void rotate_any(int part, int parts, AnglesOf angles_of) {
#pragma unroll 1
        for (int index = lane + 32 * part; index < kSlab * Traits::kChunks; index += 32 * parts) {
            const int row = index / Traits::kChunks;
            const int chunk = index % Traits::kChunks;
            const float* angles = angles_of(row);
            if (!angles) continue;
            if (rotary.interleaved && rotary.start % 2 == 0) {  // asked here, since registers are few
                const int pair = (8 * chunk - rotary.start) / 2;
                uint4 pairs = read(row, chunk);
                pairs.x = rotated_pair(pairs.x, pair, angles);
                pairs.y = rotated_pair(pairs.y, pair + 1, angles);
                pairs.z = rotated_pair(pairs.z, pair + 2, angles);
                pairs.w = rotated_pair(pairs.w, pair + 3, angles);
                write(row, chunk, pairs);
            } else {
#pragma unroll 1
                for (int dim = 8 * chunk; dim < 8 * chunk + 8; ++dim) {
                    *reinterpret_cast<T*>(to + place(row, dim)) = from_float<T>(rotated(row, dim, angles));
                }
            }
        }
    }

    __device__ std::uint32_t rotated_pair(std::uint32_t bits, int pair, const float* angles) const {
        if (pair < 0 || pair >= rotary.half) return bits;
        const float2 x = unpack<T>(bits);
        const float cosine = angles[pair];
        const float sine = angles[rotary.half + pair];
        return pack<T>(x.x * cosine - x.y * sine, x.x * sine + x.y * cosine);
    }

    __device__ float rotated(int row, int dim, const float* angles) const {
        const float x = element(row, dim);
        const int i = dim - rotary.start;
        if (i < 0 || i >= 2 * rotary.half) return x;
        const bool first = rotary.interleaved ? i % 2 == 0 : i < rotary.half;
        const int pair = rotary.interleaved ? i / 2 : first ? i : i - rotary.half;
        const int distance = rotary.interleaved ? 1 : rotary.half;
        const float y = element(row, first ? dim + distance : dim - distance);
        const float cosine = angles[pair];
        const float sine = angles[rotary.half + pair];
        return first ? x * cosine - y * sine : x * cosine + y * sine;
    }

    __device__ static int place(int row, int dim) {
        return Traits::offset(row, dim / 8) + dim % 8 * static_cast<int>(sizeof(T));
    }
    __device__ float element(int row, int dim) const {
        return to_float(*reinterpret_cast<const T*>(from + place(row, dim)));
    }

    __device__ uint4 read(int row, int chunk) const {
        return *reinterpret_cast<const uint4*>(from + Traits::offset(row, chunk));
    }
    __device__ void write(int row, int chunk, const uint4& bits) {
        *reinterpret_cast<uint4*>(to + Traits::offset(row, chunk)) = bits;
    }

    const RotaryDims& rotary;
    const unsigned char* const from;
    unsigned char* const to;
    const int lane;
};

}  // namespace hogwild::cuda
