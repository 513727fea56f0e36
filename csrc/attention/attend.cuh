// One warp's attention: a slab of rows over some of the tiles.
#pragma once

#include "csrc/attention/plan.cuh"
#include "csrc/attention/query.cuh"
#include "csrc/attention/ring.cuh"
#include "csrc/attention/softmax.cuh"

namespace hogwild::cuda {

// Between the computing warps alone.
template <typename Traits>
__device__ inline void sync_compute_warps([[maybe_unused]] RingMemory& ring) {
#ifdef HOGWILD_RACECHECK
    ring.compute_warps.sync();
#else
    asm volatile("bar.sync 1, %0;" ::"n"(Traits::kComputeThreads) : "memory");
#endif
}

// Between the warps that share a slab. Roles must not change while one is still on its way here.
__device__ inline void sync_slab([[maybe_unused]] RingMemory& ring, const Role& role) {
    if (role.slices() > 1) {
#ifdef HOGWILD_RACECHECK
        ring.slab_warps[role.slab()][role.slices() - 2].sync();
#else
        asm volatile("bar.sync %0, %1;" ::"r"(2 + role.slab()), "r"(32 * role.slices()) : "memory");
#endif
    } else {
        __syncwarp();
    }
}

// The rows of a warp in a segment: which ones they are. Worked out anew wherever it is needed, to save
// registers.
class SlabRows {
  public:
    __device__ SlabRows(const Divisor& ratio, const Piece& piece, int slab)
        : ratio(ratio),
          group_token(piece.first_token),
          first_row(piece.first_row + slab * kSlab),
          num_rows(min(kSlab, piece.num_rows - slab * kSlab)),
          kv_head(piece.head) {}

    // Of the two rows that a thread has numbers of, lane / 4 and lane / 4 + 8.
    __device__ static int of_thread(int i) { return threadIdx.x % 32 / 4 + 8 * i; }

    __device__ int count() const { return num_rows; }
    __device__ bool exists(int row) const { return row < num_rows; }
    __device__ int token(int row) const {
        return group_token + ratio.quotient(first_row + min(row, num_rows - 1));
    }
    __device__ int query_head(int row) const {
        return kv_head * ratio.divisor() + ratio.remainder(first_row + row);
    }

  private:
    const Divisor& ratio;
    const int group_token;
    const int first_row;  // of the group
    const int num_rows;
    const int kv_head;
};

template <typename Traits>
class Rows {
  public:
    __device__ Rows(const AttentionParams& params, const AttentionLaunch& launch,
                    const Tables<Traits>& tables, RingMemory& ring)
        : p(params), launch(launch), tables(tables), ring(ring) {}

    // Forgets the queries of a segment that ends, for which registers would be kept otherwise.
    __device__ void forget() {
#pragma unroll
        for (auto& fragment : query) {
#pragma unroll
            for (std::uint32_t& pair : fragment) pair = 0;
        }
    }

    // Begins a segment.
    __device__ void open() {
#pragma unroll
        for (int i = 0; i < 2; ++i) softmax[i] = Softmax{};
#pragma unroll
        for (int n = 0; n < kDimTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) out[n][i] = 0;
        }
    }

    // Rotates the queries of some tokens for the block that follows: their cos and sin rows are `angles`.
    // One of `parts` parts of the work, which the warps that share the slab may share.
    __device__ void rotate(const SlabRows& rows, const unsigned char* queries, const unsigned char* angles,
                           int first_token, int num_tokens, unsigned char* to, int part, int parts) {
        rotated = shared_address(to);
        SlabRotation<Traits>(p.rotary, queries, to).run(part, parts, [&](int row) {
            const int index = rows.token(row) - first_token;
            const bool there = index >= 0 && index < num_tokens;
            return there ? reinterpret_cast<const float*>(angles + index * launch.angle_stride) : nullptr;
        });
    }

    // Crosses into a block: other keys are visible, and the queries are those rotated for it, or as they
    // came. What has been summed stays.
    __device__ void enter(const SlabRows& rows, const unsigned char* queries, int block) {
        find_limits(rows, block);
        if (launch.slot_tokens == 0) rotated = shared_address(queries);
        if constexpr (kQueryInRegisters) load_all_queries();
    }

    // The same with queries that are rotated in registers, by the cos and sin rows of the tokens from
    // `first_token` on. Dims d and d + D / 2 are a pair.
    __device__ void enter_rotated(const SlabRows& rows, const unsigned char* queries,
                                  const unsigned char* angles, int first_token, int block) {
        static_assert(kQueryInRegisters);
        rotated = shared_address(queries);
        load_all_queries();
        const int lane = opaque(threadIdx.x) % 32;
        constexpr int kPairOctets = Traits::kHeadDim / 16;  // 8 pairs each
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int index = rows.token(lane / 4 + 8 * i) - first_token;
            const auto* cosine = reinterpret_cast<const float*>(angles + index * launch.angle_stride);
            const float* sine = cosine + Traits::kHeadDim / 2;
            // Of 8 dims, a lane has two; element 2 * (octet % 2) + i of a step's are those of row i.
#pragma unroll
            for (int octet = 0; octet < kPairOctets; ++octet) {
                constexpr int kEach = 2;
                const int pair = 8 * octet + kEach * (lane % 4);
                const auto c = *reinterpret_cast<const float2*>(cosine + pair);
                const auto s = *reinterpret_cast<const float2*>(sine + pair);
                const int other = octet + kPairOctets;
                std::uint32_t& low = query[octet / 2][octet % 2 * 2 + i];
                std::uint32_t& high = query[other / 2][other % 2 * 2 + i];
                const float2 x = unpack<T>(low);
                const float2 y = unpack<T>(high);
                low = pack<T>(x.x * c.x - y.x * s.x, x.y * c.y - y.y * s.y);
                high = pack<T>(x.x * s.x + y.x * c.x, x.y * s.y + y.y * c.y);
            }
        }
        find_limits(rows, block);
    }

    // Adds the keys and values of a tile that begins at `key`; those from `end` on are not the block's.
    __device__ void add(std::uint32_t tile, int key, int end) {
        const int lane = opaque(threadIdx.x) % 32;  // or it would keep a register
        const std::uint32_t keys = tile + Traits::offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
        const std::uint32_t values = tile + Traits::kHalfBytes + Traits::offset(lane % 16, lane / 16);
        const Limits mine = limits(lane % kSlab);
        const bool is_masked =
            __any_sync(~0u, key < mine.first || key + kTileKeys - 1 > min(mine.last, end - 1));

        float scores[kTileKeys / 8][4];
#pragma unroll
        for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[n][i] = 0;
        }
#pragma unroll
        for (int step = 0; step < Traits::kDimSteps; ++step) {
            std::uint32_t (&a)[4] = query[kQueryInRegisters ? step : 0];
            if constexpr (!kQueryInRegisters) load_query(a, step);
#pragma unroll
            for (int n = 0; n < kTileKeys / 16; ++n) {
                std::uint32_t b[4];
                load_matrices(b, Traits::at_step(keys, step) + 16 * n * Traits::kRowBytes);
                multiply_add<T>(scores[2 * n], a, b[0], b[1]);
                multiply_add<T>(scores[2 * n + 1], a, b[2], b[3]);
            }
        }

        const float scale = launch.score_factor;
#pragma unroll
        for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[n][i] *= scale;
        }
        if (!Traits::kOneSession && launch.cap > 0) {
#pragma unroll
            for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) scores[n][i] = launch.cap * tanh_of_half(scores[n][i]);
            }
        }
        if (is_masked) {
#pragma unroll
            for (int row = 0; row < 2; ++row) {
                const Limits seen = limits(SlabRows::of_thread(row));
#pragma unroll
                for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
                    for (int i = 2 * row; i < 2 * row + 2; ++i) {
                        const int index = key + 8 * n + lane % 4 * 2 + i % 2;
                        const bool visible = index >= seen.first && index <= min(seen.last, end - 1);
                        if (!visible) scores[n][i] = -INFINITY;
                    }
                }
            }
        }

        float rescale[2];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            float top = softmax[row].top;
#pragma unroll
            for (int n = 0; n < kTileKeys / 8; ++n)
                top = fmaxf(top, fmaxf(scores[n][2 * row], scores[n][2 * row + 1]));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
            const float before = softmax[row].top;
            softmax[row].top = top;
            const float base = softmax[row].base();
            rescale[row] = exp2_approx(before - base);
            float sum = 0;
#pragma unroll
            for (int n = 0; n < kTileKeys / 8; ++n) {
#pragma unroll
                for (int i = 2 * row; i < 2 * row + 2; ++i) {
                    scores[n][i] = exp2_approx(scores[n][i] - base);
                    sum += scores[n][i];
                }
            }
            softmax[row].sum = softmax[row].sum * rescale[row] + sum;
        }
        if (__any_sync(~0u, rescale[0] != 1 || rescale[1] != 1)) {
#pragma unroll
            for (int n = 0; n < kDimTiles; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) out[n][i] *= rescale[i / 2];
            }
        }

#pragma unroll
        for (int n = 0; n < kTileKeys / 16; ++n) {
            const std::uint32_t a[4] = {pack<T>(scores[2 * n][0], scores[2 * n][1]),
                                        pack<T>(scores[2 * n][2], scores[2 * n][3]),
                                        pack<T>(scores[2 * n + 1][0], scores[2 * n + 1][1]),
                                        pack<T>(scores[2 * n + 1][2], scores[2 * n + 1][3])};
            // Several loads are under way before the first is used.
            constexpr int kBatch = Traits::kDimSteps % 4 == 0 ? 4 : 1;
#pragma unroll
            for (int first = 0; first < Traits::kDimSteps; first += kBatch) {
                std::uint32_t b[kBatch][4];
#pragma unroll
                for (int i = 0; i < kBatch; ++i) {
                    load_matrices_transposed(b[i],
                                             Traits::at_step(values, first + i) + 16 * n * Traits::kRowBytes);
                }
#pragma unroll
                for (int i = 0; i < kBatch; ++i) {
                    multiply_add<T>(out[2 * (first + i)], a, b[i][0], b[i][1]);
                    multiply_add<T>(out[2 * (first + i) + 1], a, b[i][2], b[i][3]);
                }
            }
        }
    }

    static constexpr int kDimTiles = Traits::kHeadDim / 8;
    static constexpr bool kQueryInRegisters = queries_in_registers(Traits::kHeadDim);

    // Elements 0 and 1 of each tile of 8 dims are of the thread's first row, the others of its second.
    float out[kDimTiles][4];
    Softmax softmax[2];  // until the segment's end, each thread has a part of `sum`

  private:
    using T = typename Traits::T;

    // What the rows see of a block.
    __device__ void find_limits(const SlabRows& rows, int block) {
        const int lane = opaque(threadIdx.x) % 32;
        Limits seen{0, INT32_MAX};  // a row of zeros needs no mask
        if (rows.exists(lane % kSlab)) {
            const int token = rows.token(lane % kSlab);
            const int position = tables.query_pos(token, block);
            if (p.window > 0) seen.first = max(position - p.window + 1, 0);
            seen.last = tables.own_block(token) == block ? min(position, tables.rotary_pos(token)) : position;
        }
        __syncwarp();
        if (lane < kSlab) limits(lane) = seen;
        __syncwarp();
    }

    __device__ void load_all_queries() {
#pragma unroll
        for (int step = 0; step < Traits::kDimSteps; ++step) load_query(query[step], step);
    }

    // 16 dims of the rotated queries, as mma wants its A.
    __device__ void load_query(std::uint32_t (&a)[4], int step) const {
        const int lane = threadIdx.x % 32;
        load_matrices(a, Traits::at_step(rotated + Traits::offset(lane % 16, lane / 16), step));
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const Tables<Traits>& tables;
    // What the warp's rows see.
    __device__ Limits& limits(int row) const { return ring.limits[threadIdx.x / 32][row]; }

    RingMemory& ring;
    std::uint32_t rotated;  // the queries in shared memory
    std::uint32_t query[kQueryInRegisters ? Traits::kDimSteps : 1][4];
};

}  // namespace hogwild::cuda
