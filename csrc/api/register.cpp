// The schemas of torch.ops.hogwild; docs/architecture.md says what the arguments mean.
#include <torch/library.h>

// Those of `_check_...`, which write nothing, and of the ops, with what they write.
#define APPEND_ARGUMENTS(K_CACHE, V_CACHE) \
    "Tensor k, Tensor v, " K_CACHE " k_cache, " V_CACHE " v_cache, Tensor slots"
#define ROTATION_TABLE_ARGUMENTS "Tensor query_pos, Tensor rotary_pos, Tensor inv_freq"
#define ATTENTION_ARGUMENTS                                                                             \
    "Tensor q, Tensor k_cache, Tensor v_cache, Tensor block_table, Tensor block_lens, "                 \
    "Tensor group_tokens, Tensor group_blocks, Tensor query_pos, Tensor rotary_pos, Tensor own_block, " \
    "Tensor? rotation, *, float scale, int window=0, float softcap=0., Tensor? sinks=None, "            \
    "bool interleaved=False, int rotary_start=0"
#define MOVE_ARGUMENTS(K_CACHE, V_CACHE)                                                   \
    K_CACHE " k_cache, " V_CACHE                                                           \
            " v_cache, Tensor src_slots, Tensor dst_slots, Tensor shift, Tensor? inv_freq" \
            ", *, bool interleaved=False, int rotary_start=0"
#define ADMIT_ARGUMENTS(IDS, ADMITTED) \
    "Tensor tokens, Tensor plain, Tensor classes, " IDS " ids, " ADMITTED " admitted"

TORCH_LIBRARY(hogwild, library) {
    library.def("append(" APPEND_ARGUMENTS("Tensor(a!)", "Tensor(b!)") ") -> ()");
    library.def("_check_append(" APPEND_ARGUMENTS("Tensor", "Tensor") ") -> ()");
    library.def("rotation_table(" ROTATION_TABLE_ARGUMENTS ") -> Tensor");
    library.def("_check_rotation_table(" ROTATION_TABLE_ARGUMENTS ") -> ()");
    library.def("attention(" ATTENTION_ARGUMENTS ") -> (Tensor out, Tensor lse)");
    library.def("_attention_by_torch_ops(" ATTENTION_ARGUMENTS ", str reason) -> (Tensor out, Tensor lse)");
    library.def("_check_attention(" ATTENTION_ARGUMENTS ") -> ()");
    library.def("move(" MOVE_ARGUMENTS("Tensor(a!)", "Tensor(b!)") ") -> ()");
    library.def("_check_move(" MOVE_ARGUMENTS("Tensor", "Tensor") ") -> ()");
    library.def("admit(" ADMIT_ARGUMENTS("Tensor(a!)", "Tensor(b!)") ") -> ()");
    library.def("_check_admit(" ADMIT_ARGUMENTS("Tensor", "Tensor") ") -> ()");
}
