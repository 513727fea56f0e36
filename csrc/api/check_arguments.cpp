// The argument checks of each op by themselves, for the path by PyTorch ops (hogwild_cuda/fallback.py):
// whoever serves a call, it is refused for the same reasons in the same words. That path reads lengths on the
// host anyway, so waiting here for the elements on a device costs it little.
#include <torch/library.h>

#include "csrc/api/arguments.h"
#include "csrc/api/cpu_values.h"

namespace hogwild::api {
namespace {

// Elements in the CPU's memory, for as long as this lives.
class OnCpu {
  public:
    template <typename T>
    const T* elements(const at::Tensor& tensor) {
        return kept_.emplace_back(tensor.cpu()).data_ptr<T>();  // itself if it is there
    }

  private:
    KeepAlive kept_;
};

void check_append(const at::Tensor& k, const at::Tensor& v, const at::Tensor& k_cache,
                  const at::Tensor& v_cache, const at::Tensor& slots) {
    KeepAlive keep_alive;
    AppendParams params = append_params(k, v, k_cache, v_cache, slots, keep_alive);
    OnCpu on_cpu;
    params.slots = on_cpu.elements<int64_t>(slots);
    check_values(params);
}

void check_rotation_table(const at::Tensor& query_pos, const at::Tensor& rotary_pos,
                          const at::Tensor& inv_freq) {
    rotation_table_params(query_pos, rotary_pos, inv_freq);
}

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
    OnCpu on_cpu;
    params.block_table = on_cpu.elements<int32_t>(block_table);
    params.block_lens = on_cpu.elements<int32_t>(block_lens);
    params.group_tokens = on_cpu.elements<int32_t>(group_tokens);
    params.group_blocks = on_cpu.elements<int32_t>(group_blocks);
    params.query_pos = on_cpu.elements<int32_t>(query_pos);
    params.rotary_pos = on_cpu.elements<int32_t>(rotary_pos);
    params.own_block = on_cpu.elements<int32_t>(own_block);
    check_values(params);
}

void check_move(const at::Tensor& k_cache, const at::Tensor& v_cache, const at::Tensor& src_slots,
                const at::Tensor& dst_slots, const at::Tensor& shift, const OptionalTensor& inv_freq,
                bool interleaved, int64_t rotary_start) {
    MoveParams params =
        move_params(k_cache, v_cache, src_slots, dst_slots, shift, inv_freq, interleaved, rotary_start);
    OnCpu on_cpu;
    params.src_slots = on_cpu.elements<int64_t>(src_slots);
    params.dst_slots = on_cpu.elements<int64_t>(dst_slots);
    check_values(params);
}

void check_admit(const at::Tensor& tokens, const at::Tensor& plain, const at::Tensor& classes,
                 const at::Tensor& ids, const at::Tensor& admitted) {
    admit_params(tokens, plain, classes, ids, admitted);
}

}  // namespace

TORCH_LIBRARY_IMPL(hogwild, CompositeExplicitAutograd, library) {
    library.impl("_check_append", check_append);
    library.impl("_check_rotation_table", check_rotation_table);
    library.impl("_check_attention", check_attention);
    library.impl("_check_move", check_move);
    library.impl("_check_admit", check_admit);
}

}  // namespace hogwild::api
