// hogwild::admit on CUDA: the tokens of a forward that is launched before they are known.
#pragma once

#include <cuda_runtime_api.h>

#include "csrc/params.h"

namespace hogwild::cuda {

// Launches on `stream` and returns the launch's error. Nothing is allocated and nothing waits.
cudaError_t admit(const AdmitParams& params, cudaStream_t stream);

}  // namespace hogwild::cuda
