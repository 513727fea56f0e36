// hogwild::move on CUDA: entries of pages to other slots, keys rotated by the difference in position.
#pragma once

#include <cuda_runtime_api.h>

#include "csrc/params.h"

namespace hogwild::cuda {

// Launches on `stream` and returns the launch's error. Nothing is allocated and nothing waits, so the call is
// legal inside graph capture.
cudaError_t move(const MoveParams& params, cudaStream_t stream);

}  // namespace hogwild::cuda
