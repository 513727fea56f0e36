// What the parts of the attention kernel know of its element type, its head dim and the calls that it serves.
#pragma once

#include <cstdint>

#include "csrc/attention/config.h"

namespace hogwild::cuda {

template <typename Element, int kDim, Calls kCalls>
struct Traits {
    using T = Element;
    static constexpr int kHeadDim = kDim;
    static constexpr bool kFewKeys = kCalls == Calls::kFewKeys;
    static constexpr int kComputeWarps = kFewKeys ? kFewWorkers : compute_warps(kDim);
    static constexpr int kWarps = kComputeWarps + (kFewKeys ? 1 : kCopyWarps);
    static constexpr int kThreads = 32 * kWarps;
    static constexpr int kComputeThreads = 32 * kComputeWarps;
    static constexpr int kPlanningWarp = kComputeWarps;
    static constexpr int kChunks = kDim / 8;     // of 16 bytes, in a row
    static constexpr int kDimSteps = kDim / 16;  // of mma's K, over a row
    static constexpr int kRowBytes = row_bytes(kDim);
    static constexpr int kHalfBytes = kTileKeys * kRowBytes;  // of a tile: its keys, or its values
    static constexpr int kTileBytes = tile_bytes(kDim);
    static constexpr int kSlabBytes = slab_bytes(kDim);
    static constexpr int kFewestSumPasses = least_sum_passes(kDim);
    static constexpr int kSumsBytes = sums_bytes(kDim, kFewestSumPasses);  // of one pass
    static constexpr bool kSwizzled = rows_are_lines(kDim);
    static constexpr bool kOneSession = kCalls != Calls::kAll;  // of few keys or not
    // Whether queries are rotated where mma wants them, in registers.
    static constexpr bool kRotatesRegisters = rotates_registers(kCalls, kDim);
    static_assert(kDim % 16 == 0 && 2 * kHalfBytes == kTileBytes);

    // Where a chunk of a row is, in bytes.
    __device__ static int offset(int row, int chunk) {
        return row * kRowBytes + 16 * (kSwizzled ? chunk ^ (row & 7) : chunk);
    }

    // The address of a chunk 2 * step behind the first or second of a row, whose address is `start`. One
    // operation and no register for each step: rows start at multiples of their length.
    __device__ static std::uint32_t at_step(std::uint32_t start, int step) {
        return kSwizzled ? start ^ (32 * step) : start + 32 * step;
    }
};

}  // namespace hogwild::cuda
