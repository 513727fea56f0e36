// torch.ops.hogwild on the CPU.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>

#include "csrc/api/arguments.h"
#include "csrc/api/cpu_values.h"
#include "csrc/api/torch_threads.h"
#include "csrc/api/written.h"
#include "csrc/cpu/attention_plan.h"
#include "csrc/cpu/ops.h"

namespace hogwild::api {
namespace {

void append(const at::Tensor& k, const at::Tensor& v, at::Tensor k_cache, at::Tensor v_cache,
            const at::Tensor& slots) {
    KeepAlive keep_alive;
    const AppendParams params = append_params(k, v, k_cache, v_cache, slots, keep_alive);
    check_values(params);
    cpu::append(params, torch_threads());
    count_write(k_cache);
    count_write(v_cache);
}

at::Tensor rotation_table(const at::Tensor& query_pos, const at::Tensor& rotary_pos,
                          const at::Tensor& inv_freq) {
    RotationTableParams params = rotation_table_params(query_pos, rotary_pos, inv_freq);
    at::Tensor table = at::empty({params.num_tokens, params.num_columns, 2, params.half}, inv_freq.options());
    params.table = table.data_ptr<float>();
    cpu::rotation_table(params, torch_threads());
    return table;
}

std::tuple<at::Tensor, at::Tensor> attention(const at::Tensor& q, const at::Tensor& k_cache,
                                             const at::Tensor& v_cache, const at::Tensor& block_table,
                                             const at::Tensor& block_lens, const at::Tensor& group_tokens,
                                             const at::Tensor& group_blocks, const at::Tensor& query_pos,
                                             const at::Tensor& rotary_pos, const at::Tensor& own_block,
                                             const OptionalTensor& rotation, double scale, int64_t window,
                                             double softcap, const OptionalTensor& sinks, bool interleaved,
                                             int64_t rotary_start) {
    KeepAlive keep_alive;
    AttentionParams params = attention_params(q, k_cache, v_cache, block_table, block_lens, group_tokens,
                                              group_blocks, query_pos, rotary_pos, own_block, rotation, scale,
                                              window, softcap, sinks, interleaved, rotary_start, keep_alive);
    check_values(params);
    at::Tensor out = at::empty({params.num_tokens, params.num_heads, params.cache.value_dim}, q.options());
    at::Tensor lse = at::empty({params.num_tokens, params.num_heads}, q.options().dtype(at::kFloat));
    params.out = out.data_ptr();
    params.lse = lse.data_ptr<float>();

    const cpu::AttentionPlan plan(params);
    const cpu::Parallel threads = torch_threads();
    at::Tensor workspace = at::empty({cpu::attention_workspace(plan, threads)}, lse.options());
    cpu::attention(params, plan, threads, workspace.data_ptr<float>());
    return {out, lse};
}

void move(at::Tensor k_cache, at::Tensor v_cache, const at::Tensor& src_slots, const at::Tensor& dst_slots,
          const at::Tensor& shift, const OptionalTensor& inv_freq, bool interleaved, int64_t rotary_start) {
    const MoveParams params =
        move_params(k_cache, v_cache, src_slots, dst_slots, shift, inv_freq, interleaved, rotary_start);
    check_values(params);
    cpu::move(params, torch_threads());
    count_write(k_cache);
    count_write(v_cache);
}

void admit(const at::Tensor& tokens, const at::Tensor& plain, const at::Tensor& classes, at::Tensor ids,
           at::Tensor admitted) {
    cpu::admit(admit_params(tokens, plain, classes, ids, admitted));
    count_write(ids);
    count_write(admitted);
}

}  // namespace

TORCH_LIBRARY_IMPL(hogwild, CPU, library) {
    library.impl("append", append);
    library.impl("rotation_table", rotation_table);
    library.impl("attention", attention);
    library.impl("move", move);
    library.impl("admit", admit);
}

}  // namespace hogwild::api
