// One warp's attention: a slab of rows over its slice of every tile.
#pragma once

#include "csrc/attention/query.cuh"
#include "csrc/attention/softmax.cuh"

namespace hogwild::cuda {

// How the warps of a CTA share the rows of a segment and the keys of a tile.
struct Role {
    int slabs;
    int slices;  // of a tile
    int slab;
    int slice;

    // With few slabs, several warps have the same one and share the keys.
    __device__ Role(int num_rows, int tile_keys) {
        const int warp = threadIdx.x / 32;
        slabs = (num_rows + kSlab - 1) / kSlab;
        slices = slabs > 4 ? 1 : slabs > 2 || tile_keys < 64 ? 2 : 4;
        slab = warp % slabs;
        slice = warp / slabs;
    }
    __device__ bool active() const { return slice < slices; }
};

template <typename Traits>
class Rows {
  public:
    __device__ Rows(const AttentionParams& params, const Tables& tables) : p(params), tables(tables) {}

    // Begins a segment.
    __device__ void open(const Unit& unit, int first_token, const Role& role) {
        const int ratio = p.num_heads / p.cache.num_kv_heads;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = role.slab * kSlab + threadIdx.x % 32 / 4 + 8 * i;
            exists[i] = row < unit.num_rows;
            token[i] = first_token + (unit.first_row + min(row, unit.num_rows - 1)) / ratio;
            softmax[i] = Softmax{};
        }
#pragma unroll
        for (int n = 0; n < kDimTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) out[n][i] = 0;
        }
    }

    // Crosses into a block: other keys are visible, and the queries are those rotated for it. What has been
    // summed stays.
    __device__ void enter(int block, const unsigned char* queries, const Role& role) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int position = tables.query_pos[std::int64_t{token[i]} * p.num_columns + block];
            const bool own = tables.own_block[token[i]] == block;
            first[i] = max(position - max(p.window, 1) + 1, 0);
            if (p.window == 0) first[i] = 0;
            last[i] = own ? min(position, tables.rotary_pos[token[i]]) : position;
            if (!exists[i]) {  // a row of zeros, which needs no mask
                first[i] = 0;
                last[i] = INT32_MAX;
            }
        }
        all_from = __reduce_max_sync(~0u, max(first[0], first[1]));
        all_to = __reduce_min_sync(~0u, min(last[0], last[1]));
        const int lane = threadIdx.x % 32;
        const std::uint32_t from = shared_address(queries);
#pragma unroll
        for (int step = 0; step < Traits::kDimSteps; ++step) {
            load_matrices(query[step],
                          from + Traits::offset(role.slab * kSlab + lane % 16, 2 * step + lane / 16));
        }
    }

    // Adds the keys and values of a tile that begins at `key`; those from `end` on are not the block's.
    __device__ void add(const unsigned char* stage, int key, int end, const Role& role) {
        if constexpr (Traits::kTileKeys == 64) {
            if (role.slices == 1) {
                add_slice<64>(stage, key, end, role.slice);
            } else if (role.slices == 2) {
                add_slice<32>(stage, key, end, role.slice);
            } else {
                add_slice<16>(stage, key, end, role.slice);
            }
        } else {
            add_slice<Traits::kTileKeys / 2>(stage, key, end, role.slice);
        }
    }

    static constexpr int kDimTiles = Traits::kHeadDim / 8;

    // Of rows lane / 4 (elements 0 and 1 of each tile of 8 dims) and lane / 4 + 8.
    float out[kDimTiles][4];
    Softmax softmax[2];  // between segments' end and the tiles, each thread has a part of `sum`
    int token[2];
    bool exists[2];

  private:
    using T = typename Traits::T;

    template <int kKeys>
    __device__ void add_slice(const unsigned char* stage, int tile_key, int end, int slice) {
        const int key = tile_key + slice * kKeys;
        if (key >= end) return;
        const int lane = threadIdx.x % 32;
        const std::uint32_t keys = shared_address(stage);
        const std::uint32_t values = keys + Traits::kTileBytes;

        float scores[kKeys / 8][4];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[n][i] = 0;
        }
        const int key_row = slice * kKeys + lane % 8 + lane / 16 * 8;
#pragma unroll
        for (int step = 0; step < Traits::kDimSteps; ++step) {
#pragma unroll
            for (int n = 0; n < kKeys / 16; ++n) {
                std::uint32_t b[4];
                load_matrices(b, keys + Traits::offset(key_row + 16 * n, 2 * step + lane / 8 % 2));
                multiply_add<T>(scores[2 * n], query[step], b[0], b[1]);
                multiply_add<T>(scores[2 * n + 1], query[step], b[2], b[3]);
            }
        }

        const float scale = p.softcap > 0 ? 2 * kLog2E * p.scale / p.softcap : kLog2E * p.scale;
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[n][i] *= scale;
        }
        if (p.softcap > 0) {
#pragma unroll
            for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) scores[n][i] = kLog2E * p.softcap * tanh_of_half(scores[n][i]);
            }
        }
        if (key < all_from || key + kKeys - 1 > min(all_to, end - 1)) {
#pragma unroll
            for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int index = key + 8 * n + lane % 4 * 2 + i % 2;
                    const bool visible = index >= first[i / 2] && index <= last[i / 2] && index < end;
                    if (!visible) scores[n][i] = -INFINITY;
                }
            }
        }

        float rescale[2];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            float top = softmax[row].top;
#pragma unroll
            for (int n = 0; n < kKeys / 8; ++n)
                top = fmaxf(top, fmaxf(scores[n][2 * row], scores[n][2 * row + 1]));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
            const float before = softmax[row].top;
            softmax[row].top = top;
            const float base = softmax[row].base();
            rescale[row] = exp2_approx(before - base);
            float sum = 0;
#pragma unroll
            for (int n = 0; n < kKeys / 8; ++n) {
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

        const int value_row = slice * kKeys + lane % 16;
#pragma unroll
        for (int n = 0; n < kKeys / 16; ++n) {
            const std::uint32_t a[4] = {pack<T>(scores[2 * n][0], scores[2 * n][1]),
                                        pack<T>(scores[2 * n][2], scores[2 * n][3]),
                                        pack<T>(scores[2 * n + 1][0], scores[2 * n + 1][1]),
                                        pack<T>(scores[2 * n + 1][2], scores[2 * n + 1][3])};
#pragma unroll
            for (int dims = 0; dims < Traits::kDimSteps; ++dims) {
                std::uint32_t b[4];
                load_matrices_transposed(b,
                                         values + Traits::offset(value_row + 16 * n, 2 * dims + lane / 16));
                multiply_add<T>(out[2 * dims], a, b[0], b[1]);
                multiply_add<T>(out[2 * dims + 1], a, b[2], b[3]);
            }
        }
    }

    const AttentionParams& p;
    const Tables& tables;
    std::uint32_t query[Traits::kDimSteps][4];  // as mma wants its A
    int first[2];                               // the visible keys of the block
    int last[2];
    int all_from;  // those that all rows of the slab see
    int all_to;
};

}  // namespace hogwild::cuda
