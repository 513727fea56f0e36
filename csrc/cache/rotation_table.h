// hogwild::rotation_table on CUDA: cos and sin of every rotation that a forward needs.
#pragma once

#include <cuda_runtime_api.h>

#include "csrc/params.h"

namespace hogwild::cuda {

// Launches on `stream` and returns the launch's error. Nothing is allocated and nothing waits, so the call is
// legal inside graph capture.
cudaError_t rotation_table(const RotationTableParams& params, cudaStream_t stream);

}  // namespace hogwild::cuda
