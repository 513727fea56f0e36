// PyTorch's threads for the CPU ops.
#pragma once

#include "csrc/cpu/parallel.h"

namespace hogwild::api {

// As many as torch.get_num_threads() says. HOGWILD_CPU_MIN_WORK, read at the first call, replaces the default
// of cpu::Parallel::min_work: a whole number, 1 or more (ValueError); 1 wakes as many threads as there are
// tasks.
cpu::Parallel torch_threads();

}  // namespace hogwild::api
