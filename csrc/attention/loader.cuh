// Keys and values from pages to the stages of the pipeline.
#pragma once

#include "csrc/attention/mma.cuh"
#include "csrc/attention/plan.cuh"
#include "csrc/attention/traits.cuh"

namespace hogwild::cuda {

// A place in the list of pieces: the tile that begins at `key`.
struct TileCursor {
    int piece = 0;
    int key;

    __device__ explicit TileCursor(const PlanMemory& plan) : key(plan.pieces[0].begin) {}
    __device__ bool done(const PlanMemory& plan) const { return piece >= plan.num_pieces; }
    __device__ void advance(const PlanMemory& plan, int tile_keys) {
        key += tile_keys;
        if (key >= plan.pieces[piece].end) key = plan.pieces[min(++piece, kMaxPieces - 1)].begin;
    }
};

// Issues the copies of one tile after the other. The pages of a tile are looked up when the one before it is
// issued, so that the copies do not wait for the table.
template <typename Traits>
class Loader {
  public:
    __device__ Loader(const AttentionParams& params, const Plan& plan, const PlanMemory& memory)
        : p(params), plan(plan), m(memory), next(memory) {}

    // Issues the tile that was looked up into a stage, if there is one, and looks the next one up. By all
    // threads.
    __device__ void issue(unsigned char* stage) {
        if (found) {
            copy(stage);
            next.advance(m, Traits::kTileKeys);
        }
        found = !next.done(m);
        if (found) find_pages();
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
        const int shift = log2_of(p.cache.page_size);
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            const int key = next.key + row_of(i);
            pages[i] = has_copy(i) && key < piece.end ? __ldg(table + (key >> shift)) : 0;
        }
    }

    __device__ void copy(unsigned char* stage) {
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
    }

    const AttentionParams& p;
    const Plan& plan;
    const PlanMemory& m;
    TileCursor next;
    bool found = false;
    int pages[kCopies];
};

}  // namespace hogwild::cuda
