// hogwild::append on CUDA: new keys and values into pages.
#pragma once

#include <cuda_runtime_api.h>

#include "csrc/params.h"

namespace hogwild::cuda {

// Launches on `stream` and returns the launch's error. Nothing is allocated and nothing waits, so the call is
// legal inside graph capture.
cudaError_t append(const AppendParams& params, cudaStream_t stream);

}  // namespace hogwild::cuda
