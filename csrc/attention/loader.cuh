// Keys and values from pages to the stages of the pipeline.
#pragma once

#include "csrc/attention/mma.cuh"
#include "csrc/attention/plan.cuh"
#include "csrc/attention/traits.cuh"

namespace hogwild::cuda {

// A place in the list of pieces: the tile that begins at `key`.
struct TileCursor {
    int piece = 0;
    int key = 0;

    __device__ void start(const PlanMemory& plan) {
        piece = 0;
        key = plan.pieces[0].begin;
    }
    __device__ bool done(const PlanMemory& plan) const { return piece >= plan.num_pieces; }
    __device__ void advance(const PlanMemory& plan, int tile_keys) {
        key += tile_keys;
        if (key >= plan.pieces[piece].end) {
            ++piece;
            if (!done(plan)) key = plan.pieces[piece].begin;
        }
    }
};

// Issues the copies of one tile after the other. The pages of a tile are looked up when the one before it is
// issued, so that the copies do not wait for the table.
template <typename Traits>
class Loader {
  public:
    __device__ Loader(const AttentionParams& params, const Plan& plan, const PlanMemory& memory)
        : p(params), plan(plan), m(memory), page_shift(log2_of(params.cache.page_size)) {}

    __device__ void start() {
        next.start(m);
        if (!next.done(m)) {
            find_pages();
            prefetch_rotation();
        }
    }

    // Issues the next tile's copies into a stage, if there is one. By all threads.
    __device__ void issue(unsigned char* stage) {
        if (next.done(m)) return;
        using T = typename Traits::T;
        const Piece& piece = m.pieces[next.piece];
        const std::int64_t head_size = std::int64_t{p.cache.page_size} * Traits::kHeadDim;
        const T* keys = static_cast<const T*>(p.cache.k) + piece.head * head_size;
        const T* values = static_cast<const T*>(p.cache.v) + piece.head * head_size;
        const std::int64_t page_elements = p.cache.num_kv_heads * head_size;
        const std::uint32_t to = shared_address(stage);
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            if (!has_copy(i)) break;
            const int row = row_of(i);
            const int chunk = (threadIdx.x + i * kThreads) % Traits::kChunks;
            const int key = next.key + row;
            const std::int64_t from =
                pages[i] * page_elements + (key & (p.cache.page_size - 1)) * Traits::kHeadDim + chunk * 8;
            // Keys beyond the end are not read, and zero: 0 x NaN would be NaN.
            const bool valid = key < piece.end;
            const int offset = Traits::offset(row, chunk);
            copy_async(to + offset, keys + from, valid);
            copy_async(to + Traits::kTileBytes + offset, values + from, valid);
        }
        const int before = next.piece;
        next.advance(m, Traits::kTileKeys);
        if (next.done(m)) return;
        find_pages();
        if (next.piece != before) prefetch_rotation();
    }

  private:
    static constexpr int kTileChunks = Traits::kTileKeys * Traits::kChunks;
    static constexpr int kCopies = (kTileChunks + kThreads - 1) / kThreads;  // of keys, by one thread

    __device__ static bool has_copy(int i) {
        return kTileChunks % kThreads == 0 || threadIdx.x + i * kThreads < kTileChunks;
    }
    __device__ static int row_of(int i) { return (threadIdx.x + i * kThreads) / Traits::kChunks; }

    __device__ void find_pages() {
        const Piece& piece = m.pieces[next.piece];
        const int block = plan.tables.group_blocks[m.units[piece.unit].group] + piece.block;
        const std::int32_t* table = p.block_table + std::int64_t{block} * p.max_pages;
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            const int key = next.key + row_of(i);
            pages[i] = has_copy(i) && key < piece.end ? __ldg(table + (key >> page_shift)) : 0;
        }
    }

    // The rotation of the piece's block, which is read when the first of its tiles is used.
    __device__ void prefetch_rotation() {
        if (!p.rotation) return;
        const Piece& piece = m.pieces[next.piece];
        const Unit& unit = m.units[piece.unit];
        const int ratio = p.num_heads / p.cache.num_kv_heads;
        const int first = plan.first_token(unit) + unit.first_row / ratio;
        const int tokens = (unit.first_row + unit.num_rows - 1) / ratio + 1 - unit.first_row / ratio;
        constexpr int kLine = 128 / sizeof(float);
        const int size = 2 * p.rotary.half;
        const int lines = (size + kLine - 1) / kLine;
        for (int i = threadIdx.x; i < tokens * lines; i += kThreads) {
            const std::int64_t row = std::int64_t{first + i / lines} * p.num_columns + piece.block;
            prefetch_l2(p.rotation + row * size + i % lines * kLine);
        }
    }

    const AttentionParams& p;
    const Plan& plan;
    const PlanMemory& m;
    const int page_shift;
    TileCursor next;
    int pages[kCopies];
};

}  // namespace hogwild::cuda
