// The argument checks of `attention` by themselves, for the path by PyTorch ops (hogwild_cuda/fallback.py):
// whoever serves a call, it is refused for the same reasons in the same words.
#include <torch/library.h>

#include "csrc/api/arguments.h"

namespace hogwild::api {
namespace {

void check_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                     const at::Tensor& block_table, const at::Tensor& block_lens,
                     const at::Tensor& group_tokens, const at::Tensor& group_blocks,
                     const at::Tensor& query_pos, const at::Tensor& rotary_pos, const at::Tensor& own_block,
                     const OptionalTensor& rotation, double scale, int64_t window, double softcap,
                     const OptionalTensor& sinks, bool interleaved, int64_t rotary_start) {
    KeepAlive keep_alive;
    attention_params(q, k_cache, v_cache, block_table, block_lens, group_tokens, group_blocks, query_pos,
                     rotary_pos, own_block, rotation, scale, window, softcap, sinks, interleaved,
                     rotary_start, keep_alive);
}

}  // namespace

TORCH_LIBRARY_IMPL(hogwild, CompositeExplicitAutograd, library) {
    library.impl("_check_attention", &check_attention);
}

}  // namespace hogwild::api
