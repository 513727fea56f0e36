// Checks of what the elements of arguments say, which must be in the CPU's memory: the CPU implementations
// make them, as reading is free there, and `_check_attention`.
#pragma once

#include "csrc/params.h"

namespace hogwild::api {

void check_values(const AppendParams& params);
void check_values(const AttentionParams& params);
void check_values(const MoveParams& params);

}  // namespace hogwild::api
