// The ops on the CPU, free of torch. Arguments are checked by the caller (csrc/api, or a native test).
#pragma once

#include "csrc/cpu/isa.h"
#include "csrc/cpu/parallel.h"
#include "csrc/params.h"

namespace hogwild::cpu {

class AttentionPlan;

void append(const AppendParams& params, const Parallel& parallel);

void rotation_table(const RotationTableParams& params, const Parallel& parallel);

void move(const MoveParams& params, const Parallel& parallel);

void admit(const AdmitParams& params);

// Floats of workspace that `attention` needs; the workspace is to be aligned to 64 bytes.
int64_t attention_workspace(const AttentionPlan& plan, const Parallel& parallel);

// The bits of a group's results depend on the group alone: not on the other groups, nor on the number of
// threads.
void attention(const AttentionParams& params, const AttentionPlan& plan, const Parallel& parallel,
               float* workspace, Isa isa = best_isa());

}  // namespace hogwild::cpu
