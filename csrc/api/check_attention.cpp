// The argument checks of `attention` by themselves, for the path by PyTorch ops (hogwild_cuda/fallback.py):
// whoever serves a call, it is refused for the same reasons in the same words. That path reads lengths on the
// host anyway, so waiting here for the elements on a device costs it little.
#include <torch/library.h>

#include "csrc/api/arguments.h"
#include "csrc/api/cpu_values.h"

namespace hogwild::api {
namespace {

void check_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                     const at::Tensor& block_table, const at::Tensor& block_lens,
                     const at::Tensor& group_tokens, const at::Tensor& group_blocks,
                     const at::Tensor& query_pos, const at::Tensor& rotary_pos, const at::Tensor& own_block,
                     const OptionalTensor& rotation, double scale, int64_t window, double softcap,
                     const OptionalTensor& sinks, bool interleaved, int64_t rotary_start) {
    KeepAlive keep_alive;
    AttentionParams params = attention_params(q, k_cache, v_cache, block_table, block_lens, group_tokens,
                                              group_blocks, query_pos, rotary_pos, own_block, rotation, scale,
                                              window, softcap, sinks, interleaved, rotary_start, keep_alive);
    KeepAlive on_cpu;
    const auto elements = [&](const at::Tensor& tensor) {
        return on_cpu.emplace_back(tensor.cpu()).data_ptr<int32_t>();  // itself if it is there
    };
    params.block_table = elements(block_table);
    params.block_lens = elements(block_lens);
    params.group_tokens = elements(group_tokens);
    params.group_blocks = elements(group_blocks);
    params.query_pos = elements(query_pos);
    params.rotary_pos = elements(rotary_pos);
    params.own_block = elements(own_block);
    check_values(params);
}

}  // namespace

TORCH_LIBRARY_IMPL(hogwild, CompositeExplicitAutograd, library) {
    library.impl("_check_attention", &check_attention);
}

}  // namespace hogwild::api
