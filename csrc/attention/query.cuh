// The queries of a slab, rotated into a block's frame, in shared memory.
#pragma once

#include "csrc/attention/mma.cuh"
#include "csrc/attention/traits.cuh"
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
            const float4 four = __ldg(reinterpret_cast<const float4*>(from + i));
            at[i] = four.x;
            at[i + 1] = four.y;
            at[i + 2] = four.z;
            at[i + 3] = four.w;
        }
    }
};

// Where a row of queries and its angles are; no row where `query` is null.
template <typename T>
struct QueryRow {
    const T* query;
    const float* angles;  // cos row, sin row
};

// Rotates 16 rows in fp32, rounds them once and writes them to a slab of shared memory; rows that do not
// exist become zeros. `row_of(i)` gives the i-th row. By one warp.
template <typename Traits>
class SlabRotation {
  public:
    using T = typename Traits::T;

    __device__ SlabRotation(const RotaryDims& rotary, unsigned char* slab)
        : rotary(rotary), slab(slab), lane(threadIdx.x % 32) {}

    template <typename RowOf>
    __device__ void run(RowOf row_of, const float* table) {
        const bool aligned = reinterpret_cast<std::uintptr_t>(table) % sizeof(float4) == 0;
        if (!rotary.interleaved && rotary.half % 8 == 0 && rotary.start % 8 == 0 && aligned) {
            rotate_chunks(row_of);
        } else {
            rotate_elements(row_of);
        }
    }

  private:
    // Chunks of 8 dims whose partners are chunks too, two at a time; chunks that are not rotated make pairs
    // as well.
    template <typename RowOf>
    __device__ void rotate_chunks(RowOf row_of) {
        constexpr int kPairs = Traits::kChunks / 2;  // of a row
        constexpr int kSize = kSlab * kPairs;
        constexpr int kUnroll = Traits::kHeadDim <= 128 ? 2 : 1;
        const int rotated = rotary.half / 8;
        const int start = rotary.start / 8;
#pragma unroll kUnroll
        for (int index = lane; index < kSize; index += 32) {
            const int row = index / kPairs;
            const int pair = index % kPairs;
            int first = start + pair;
            int second = first + rotated;
            if (pair >= rotated) {
                first = 2 * (pair - rotated);
                second = first + 1;
                if (first >= start) first += 2 * rotated;
                if (second >= start) second += 2 * rotated;
            }
            const QueryRow<T> from = row_of(row);
            uint4 low = make_uint4(0, 0, 0, 0);
            uint4 high = low;
            if (from.query) {
                low = __ldg(reinterpret_cast<const uint4*>(from.query + first * 8));
                high = __ldg(reinterpret_cast<const uint4*>(from.query + second * 8));
                if (pair < rotated) {
                    const Angles cosine(from.angles + pair * 8);
                    const Angles sine(from.angles + rotary.half + pair * 8);
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
            }
            write(row, first, low);
            write(row, second, high);
        }
    }

    // Any pairs: 8 dims, and their partners one by one.
    template <typename RowOf>
    __device__ void rotate_elements(RowOf row_of) {
#pragma unroll 1
        for (int index = lane; index < kSlab * Traits::kChunks; index += 32) {
            const int row = index / Traits::kChunks;
            const int chunk = index % Traits::kChunks;
            const QueryRow<T> from = row_of(row);
            uint4 bits = make_uint4(0, 0, 0, 0);
            if (from.query) {
                Chunk<T> x(__ldg(reinterpret_cast<const uint4*>(from.query + chunk * 8)));
#pragma unroll
                for (int i = 0; i < 8; ++i) x.at[i] = rotated(x.at[i], chunk * 8 + i, from);
                bits = x.bits();
            }
            write(row, chunk, bits);
        }
    }

    __device__ float rotated(float x, int dim, const QueryRow<T>& from) const {
        const int i = dim - rotary.start;
        if (i < 0 || i >= 2 * rotary.half) return x;
        const bool first = rotary.interleaved ? i % 2 == 0 : i < rotary.half;
        const int pair = rotary.interleaved ? i / 2 : first ? i : i - rotary.half;
        const int distance = rotary.interleaved ? 1 : rotary.half;
        const float y = static_cast<float>(from.query[first ? dim + distance : dim - distance]);
        const float cosine = __ldg(from.angles + pair);
        const float sine = __ldg(from.angles + rotary.half + pair);
        return first ? x * cosine - y * sine : x * cosine + y * sine;
    }

    __device__ void write(int row, int chunk, const uint4& bits) {
        *reinterpret_cast<uint4*>(slab + Traits::offset(row, chunk)) = bits;
    }

    const RotaryDims& rotary;
    unsigned char* const slab;
    const int lane;
};

}  // namespace hogwild::cuda
