// The rotation of queries in the kernel for few keys: from device memory by way of registers, a row by eight
// lanes or so, to shared memory.
#pragma once

#include "csrc/attention/few_part.cuh"
#include "csrc/attention/query.cuh"

namespace hogwild::cuda {

// Brings rotations and queries to L2. By one warp of each CTA.
template <typename Traits>
__device__ inline void prefetch_few(const AttentionParams& p, const AttentionLaunch& launch) {
    constexpr int kLine = 128;
    const int first = blockIdx.x + launch.num_ctas.divisor() * (threadIdx.x % 32);
    const int step = launch.num_ctas.divisor() * 32;
    const std::int64_t bytes = std::int64_t{p.num_tokens} * p.num_columns * 2 * p.rotary.half * sizeof(float);
#pragma unroll 1
    for (std::int64_t at = std::int64_t{first} * kLine; at < bytes; at += std::int64_t{step} * kLine) {
        prefetch_l2(reinterpret_cast<const char*>(p.rotation) + at);
    }
#pragma unroll 1
    for (int row = first; row < p.num_tokens * p.num_heads; row += step) {
        const int token = launch.num_heads.quotient(row);
        const std::int64_t at = token * p.q_token_stride + launch.num_heads.remainder(row) * p.q_head_stride;
        const char* from = static_cast<const char*>(p.q) + at * 2;
        for (int byte = 0; byte < Traits::kHeadDim * 2; byte += kLine) prefetch_l2(from + byte);
    }
}

// By the workers. Rows are those of all of the call's tokens, padding as well, since which these are is known
// too late; nobody reads the rows of those.
template <typename Traits>
class FewQueries {
  public:
    __device__ FewQueries(const AttentionParams& params, const AttentionLaunch& launch,
                          const FewPart<Traits>& part, const FewLayout<Traits>& layout)
        : p(params), launch(launch), part(part), layout(layout) {}

    // Asks for the queries of some blocks, as many as a thread can hold, from its `skipped`-th on.
    __device__ void ask(int first, int num_blocks, int skipped = 0) {
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            const Place at(launch.few.rows, index(i + skipped));
            if (at.rank < num_blocks) load(pairs[i], at, part.block_of_rank(first + at.rank));
        }
    }

    // Rotates them into shared memory; those that a thread could not hold as well.
    __device__ void rotate(int first, int num_blocks) {
        int skipped = 0;
#pragma unroll 1
        while (true) {
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const Place at(launch.few.rows, index(i + skipped));
                if (at.rank < num_blocks) store(pairs[i], at);
            }
            skipped += kAtOnce;
            if (index(skipped) >= num_blocks * launch.few.rows.divisor() * kPairChunks) break;
            ask(first, num_blocks, skipped);
        }
    }

  private:
    using T = typename Traits::T;
    static constexpr int kPairChunks = Traits::kChunks / 2;
    static constexpr int kAtOnce = 2;  // with more, registers would be spilled

    // 8 pairs of dims of a row, d and d + D / 2, and their rotation.
    struct Pairs {
        uint4 low, high;
        float4 cosine[2], sine[2];
    };

    // Which block, row and pairs.
    struct Place {
        int rank, row, chunk;

        __device__ Place(const Divisor& rows, int index) {
            const int all_rows = static_cast<int>(static_cast<unsigned>(index) / kPairChunks);
            chunk = index - all_rows * kPairChunks;
            rank = rows.quotient(all_rows);
            row = all_rows - rank * rows.divisor();
        }
    };
    __device__ static int index(int i) { return threadIdx.x - 32 + i * Traits::kComputeThreads; }

    __device__ void load(Pairs& pairs, const Place& at, int block) const {
        const int token = launch.ratio.quotient(at.row);
        const int query_head = part.head * launch.ratio.divisor() + launch.ratio.remainder(at.row);
        const auto* q = reinterpret_cast<const uint4*>(static_cast<const T*>(p.q) + token * p.q_token_stride +
                                                       query_head * p.q_head_stride) +
                        at.chunk;
        pairs.low = __ldg(q);
        pairs.high = __ldg(q + kPairChunks);
        if (p.rotary.half == 0) return;
        constexpr int kQuads = Traits::kHeadDim / 8;  // of cosines
        const auto* cosine = reinterpret_cast<const float4*>(p.rotation) +
                             (std::int64_t{token} * p.num_columns + block) * (2 * kQuads) + 2 * at.chunk;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            pairs.cosine[i] = __ldg(cosine + i);
            pairs.sine[i] = __ldg(cosine + kQuads + i);
        }
    }

    __device__ void store(const Pairs& pairs, const Place& at) const {
        uint4 low = pairs.low;
        uint4 high = pairs.high;
        if (p.rotary.half > 0) {
            Chunk<T> x(low);
            Chunk<T> y(high);
            const auto turn = [&](int i, float cosine, float sine) {
                const float before = x.at[i];
                x.at[i] = before * cosine - y.at[i] * sine;
                y.at[i] = before * sine + y.at[i] * cosine;
            };
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                turn(4 * i, pairs.cosine[i].x, pairs.sine[i].x);
                turn(4 * i + 1, pairs.cosine[i].y, pairs.sine[i].y);
                turn(4 * i + 2, pairs.cosine[i].z, pairs.sine[i].z);
                turn(4 * i + 3, pairs.cosine[i].w, pairs.sine[i].w);
            }
            low = x.bits();
            high = y.bits();
        }
        unsigned char* const to = layout.queries(at.rank);
        *reinterpret_cast<uint4*>(to + Traits::offset(at.row, at.chunk)) = low;
        *reinterpret_cast<uint4*>(to + Traits::offset(at.row, at.chunk + kPairChunks)) = high;
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const FewPart<Traits>& part;
    const FewLayout<Traits>& layout;
    Pairs pairs[kAtOnce];
};

}  // namespace hogwild::cuda
