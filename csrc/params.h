// What a launch of each op is given: raw pointers and sizes, checked by csrc/api/arguments.cpp.
//
// T packed tokens, G groups (sessions), B blocks, F columns of query_pos (at least the blocks of the largest
// group), H query heads, K kv heads, D and Dv head dims of keys and values, P pages of S tokens, R rotary
// dims. Tensors are contiguous but for q, k and v, whose last dimension alone is dense.
#pragma once

#include <cstdint>

namespace hogwild {

enum class DType { kFloat32, kBFloat16, kFloat16 };

// The pages of one layer. `DType` of an op is that of its pages, and of q, k, v and out.
struct Cache {
    void* k;  // [P, K, S, D]
    void* v;  // [P, K, S, Dv]
    int num_pages;
    int num_kv_heads;
    int page_size;
    int head_dim;
    int value_dim;
};

// Which dims of a head are rotated: with half = R / 2, pair i is (start + i, start + i + half), or
// (start + 2i, start + 2i + 1) where interleaved.
struct RotaryDims {
    int half;  // 0: no rotation
    int start;
    bool interleaved;
};

struct AppendParams {
    DType dtype;
    Cache cache;
    const void* k;  // [T, K, D]
    const void* v;  // [T, K, Dv]
    int64_t k_token_stride, k_head_stride;
    int64_t v_token_stride, v_head_stride;
    const int64_t* slots;  // [T] page * S + offset; negative: not written
    int num_tokens;
};

struct RotationTableParams {
    const int32_t* query_pos;   // [T, F]
    const int32_t* rotary_pos;  // [T]
    const float* inv_freq;      // [R/2]
    float* table;               // [T, F, 2, R/2] cos row, sin row
    int num_tokens;
    int num_columns;  // F
    int half;         // R/2
};

struct AttentionParams {
    DType dtype;
    Cache cache;
    const void* q;  // [T, H, D]
    int64_t q_token_stride, q_head_stride;
    const int32_t* block_table;   // [B, max_pages] entries beyond a block's length are never read
    const int32_t* block_lens;    // [B]
    const int32_t* group_tokens;  // [G + 1]
    const int32_t* group_blocks;  // [G + 1]
    const int32_t* query_pos;     // [T, F] -1: the block is not seen
    const int32_t* rotary_pos;    // [T] index in the block that is written to
    const int32_t* own_block;     // [T] that block's index in the group; -1: none
    const float* rotation;        // [T, F, 2, R/2] or null
    const float* sinks;           // [H] or null
    void* out;                    // [T, H, Dv]
    float* lse;                   // [T, H]
    RotaryDims rotary;
    int num_tokens;
    int num_groups;
    int num_blocks;
    int num_columns;  // F
    int max_pages;
    int num_heads;
    int window;  // 0: none
    float scale;
    float softcap;  // 0: none
};

struct MoveParams {
    DType dtype;
    Cache cache;
    const int64_t* src_slots;  // [N] negative: not moved
    const int64_t* dst_slots;  // [N] negative: not moved
    const int32_t* shift;      // [N] what is added to the key's position; 0 copies the bits
    const float* inv_freq;     // [R/2] or null: no rotation
    RotaryDims rotary;
    int num_entries;  // N
};

struct AdmitParams {
    const int64_t* tokens;   // [T]
    const bool* plain;       // [C, V] whether a token is one of a class
    const int32_t* classes;  // [T]
    int64_t* ids;            // [T or more] the first T become the tokens
    int32_t* admitted;       // [1] becomes whether each token is of its class
    int num_tokens;
    int num_classes;  // C
    int64_t num_ids;  // V
};

}  // namespace hogwild
