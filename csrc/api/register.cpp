// The schemas of torch.ops.hogwild; docs/architecture.md says what the arguments mean.
#include <torch/library.h>

#define ATTENTION_ARGUMENTS                                                                             \
    "Tensor q, Tensor k_cache, Tensor v_cache, Tensor block_table, Tensor block_lens, "                 \
    "Tensor group_tokens, Tensor group_blocks, Tensor query_pos, Tensor rotary_pos, Tensor own_block, " \
    "Tensor? rotation, *, float scale, int window=0, float softcap=0., Tensor? sinks=None, "            \
    "bool interleaved=False, int rotary_start=0"

TORCH_LIBRARY(hogwild, library) {
    library.def("append(Tensor k, Tensor v, Tensor(a!) k_cache, Tensor(b!) v_cache, Tensor slots) -> ()");
    library.def("rotation_table(Tensor query_pos, Tensor rotary_pos, Tensor inv_freq) -> Tensor");
    library.def("attention(" ATTENTION_ARGUMENTS ") -> (Tensor out, Tensor lse)");
    library.def("_attention_by_torch_ops(" ATTENTION_ARGUMENTS ", str reason) -> (Tensor out, Tensor lse)");
    library.def("_check_attention(" ATTENTION_ARGUMENTS ") -> ()");
    library.def(
        "move(Tensor(a!) k_cache, Tensor(b!) v_cache, Tensor src_slots, Tensor dst_slots, Tensor shift, "
        "Tensor? inv_freq, *, bool interleaved=False, int rotary_start=0) -> ()");
    library.def(
        "admit(Tensor tokens, Tensor plain, Tensor classes, Tensor(a!) ids, Tensor(b!) admitted) -> ()");
}
