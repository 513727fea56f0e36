// From the tensors of a call to the plain struct of its launch, with every check that needs no element's
// value: dtypes, devices, shapes, strides, ratios. Shared by the CPU and CUDA implementations.
//
// The structs point into the tensors given (and into `keep_alive`, where a tensor had to be converted).
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "csrc/params.h"

namespace hogwild::api {

using OptionalTensor = std::optional<at::Tensor>;
using KeepAlive = std::vector<at::Tensor>;

AppendParams append_params(const at::Tensor& k, const at::Tensor& v, const at::Tensor& k_cache,
                           const at::Tensor& v_cache, const at::Tensor& slots, KeepAlive& keep_alive);

// `table` is left null: the caller allocates it.
RotationTableParams rotation_table_params(const at::Tensor& query_pos, const at::Tensor& rotary_pos,
                                          const at::Tensor& inv_freq);

// `out` and `lse` are left null: the caller allocates them.
AttentionParams attention_params(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                                 const at::Tensor& block_table, const at::Tensor& block_lens,
                                 const at::Tensor& group_tokens, const at::Tensor& group_blocks,
                                 const at::Tensor& query_pos, const at::Tensor& rotary_pos,
                                 const at::Tensor& own_block, const OptionalTensor& rotation, double scale,
                                 int64_t window, double softcap, const OptionalTensor& sinks,
                                 bool interleaved, int64_t rotary_start, KeepAlive& keep_alive);

MoveParams move_params(const at::Tensor& k_cache, const at::Tensor& v_cache, const at::Tensor& src_slots,
                       const at::Tensor& dst_slots, const at::Tensor& shift, const OptionalTensor& inv_freq,
                       bool interleaved, int64_t rotary_start);

AdmitParams admit_params(const at::Tensor& tokens, const at::Tensor& plain, const at::Tensor& classes,
                         const at::Tensor& ids, const at::Tensor& admitted);

}  // namespace hogwild::api
