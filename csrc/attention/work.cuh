// The work of a launch, and a CTA's part of it.
//
// The work is one long line: units (row tiles of groups) one after the other, each once for every kv head,
// each with the visible keys of its blocks, in runs of 16. A block takes up as much of the line as it has
// runs, and block_cost more. The line is cut into equal parts, one a CTA, wherever the cuts fall; one that is
// shorter than that has parts of length 1. What of a
// unit and kv head lies in one part is a segment; what of a block lies in it, a piece.
#pragma once

#include <cstdint>

#include "csrc/attention/config.h"
#include "csrc/attention/divide.h"

namespace hogwild::cuda {

struct Unit {
    int group;
    int first_row;  // of the group
    int num_rows;
    int weight;  // length on the line for one kv head
    int start;   // on the line, of the first kv head
};

// All that its users need to know, so that they look nothing up.
struct alignas(16) Piece {
    int block;  // of the group
    int begin;  // keys, begin a multiple of 16; none in a piece that only opens or closes its segment
    int end;
    int first_item;   // of the ring
    int num_angles;   // items of the queries' rotation, before the tiles
    int table_row;    // of the block, in the call's block table
    int head;         // kv head
    int first_token;  // of the group
    int begin_token;  // the first that has a row of the unit
    int num_tokens;   // that have
    int first_row;    // of the unit, in its group
    int num_rows;
    int segment;          // how many came before, on this CTA
    std::uint8_t slabs;   // of 16 rows
    std::uint8_t slices;  // warps that share a slab, each with some of the tiles
    bool opens;           // the first piece of its segment
    bool closes;          // the last
    bool began_before;    // the segment has keys before this CTA's part of the line
    bool goes_on;         // or behind it

    __device__ int num_tiles() const { return max(1, (end - begin + kTileKeys - 1) / kTileKeys); }
};

struct KeyRange {
    int begin;  // a multiple of 16
    int end;

    __device__ int runs() const { return max(0, (end - begin + kRun - 1) / kRun); }
};

// How the line is cut.
struct Line {
    int length;
    int part;    // length / num_ctas, but at least 1
    int rest;    // length % num_ctas
    float rate;  // CTAs per length

    Line() = default;
    __device__ Line(int length, const Divisor& num_ctas) : length(length) {
        const bool is_short = length < num_ctas.divisor();
        part = is_short ? 1 : num_ctas.quotient(length);
        rest = is_short ? 0 : num_ctas.remainder(length);
        rate = is_short ? 1.f : __fdividef(num_ctas.divisor(), length);
    }

    // Where a CTA's part begins: at cta * length / num_ctas, so that parts and kv heads begin together where
    // the heads divide the CTAs up.
    __device__ int begin_of(int cta, const Divisor& num_ctas) const {
        return min(cta * part + num_ctas.quotient(cta * rest), length);
    }
};

constexpr int kMaxPieces = 48;
static_assert(kMaxPieces > 32);

// Shared memory of a CTA's plan, but for its units.
struct PlanMemory {
    Piece pieces[kMaxPieces];
    int num_pieces;
    int num_items;
    bool more_pieces;
    int num_lists;  // so far: there is another one behind a list with more_pieces
    int num_units;
    Line line;
};

}  // namespace hogwild::cuda
