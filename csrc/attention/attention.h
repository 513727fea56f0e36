// hogwild::attention on CUDA: which kernel serves a call, what it needs, and its launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "csrc/attention/config.h"
#include "csrc/attention/divide.h"
#include "csrc/params.h"

namespace hogwild::cuda {

// For measurements: what a launch is told instead of what it would choose.
struct AttentionTuning {
    int num_ctas = 0;     // 0: chosen
    int ring_slots = 0;   // tiles in shared memory; 0: chosen
    int block_cost = -1;  // runs of 16 keys that entering a block counts as when work is divided; -1: chosen
    Calls calls = Calls::kFewKeys;  // no kernel that serves fewer calls than this one does
    int shared_bytes = 0;  // no more shared memory than this, as smaller devices have it; 0: all there is
};

// What the kernel for few keys has in shared memory, and where, in bytes.
struct FewKeys {
    int runs;    // of keys; there is room for no more
    int blocks;  // whose rotated queries there is room for
    int slabs;
    Divisor rows;  // of all tokens
    int probabilities_at;
    int softmaxes_at;
    int pages_at;
};

// A launch that has been decided on. It depends on shapes alone, so a captured one stays right when blocks
// grow.
struct AttentionLaunch {
    Calls calls;  // that the kernel serves
    Divisor num_ctas;
    int ring_slots;  // tiles in shared memory
    // Places in shared memory, in bytes; layout.cuh says of what.
    int staged_at;
    int units_at;
    int queries_at;
    int first_angles_at;
    int query_buffers;    // segments whose queries are in shared memory
    int max_slices;       // warps that share 16 rows, each with some of the tiles
    int num_slabs;        // slabs of rotated queries in shared memory, where slices are added too
    int slab_stride;      // bytes from one of them to the next
    int sum_passes;       // in which slices are added, each with the dims that have room there
    int shared_slabs;     // more slabs, each rotated by all warps that share it; 0: each warp does all for
                          // itself
    int slot_tokens;      // tokens whose rotation takes up a tile's place; 0: no rotation
    int angle_stride;     // bytes from one token's to the next
    int max_rows;         // rows (tokens x heads per kv head) of a session that one pass over its keys serves
    int max_units;        // row tiles that the call can have
    int block_cost;       // runs of 16 keys that entering a block counts as
    int streamed_length;  // of the line of work, up to which keys do not displace what else is in L2
    int staged_ints;      // the call's integers, where they are few enough for shared memory, or 0
    // Scores are in bits, so that exponentials are powers of two. With a softcap they are first brought into
    // units of half of it.
    float score_factor;
    float cap;      // 0: none
    Divisor ratio;  // query heads of a kv head
    Divisor num_heads;
    Divisor head_ctas;            // CTAs of a kv head, where calls are of one session
    int compute_warps;            // of a CTA
    std::size_t shared_bytes;     // dynamic shared memory of a CTA
    int most_shared_bytes;        // that a CTA of the device can have
    std::size_t workspace_bytes;  // device memory that the launch may use; it need not be initialised
    FewKeys few;
};

// Why no kernel serves the call, as the end of a sentence ("head_dim is 72; ..."), or null if one does. fp32
// of any shape is served by a simple kernel, bf16 and fp16 by tensor cores where D = Dv is one of the
// instantiated.
const char* why_no_kernel(const AttentionParams& params);

// Decides on the launch of a call that has a kernel, for the current device.
cudaError_t plan_attention(const AttentionParams& params, AttentionLaunch* launch,
                           const AttentionTuning& tuning = {});

// Launches on `stream` and returns the launch's error. `workspace` has launch.workspace_bytes on the current
// device, aligned to 16 bytes, and is free again when the launch is done. Nothing is allocated and nothing
// waits, so the call is legal inside graph capture. Rows of q, k_cache and v_cache start at multiples of 16
// bytes.
cudaError_t attention(const AttentionParams& params, const AttentionLaunch& launch, void* workspace,
                      cudaStream_t stream);

}  // namespace hogwild::cuda
