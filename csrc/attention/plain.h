// The simple kernel of hogwild::attention: fp32, any head dims and page size, right but not fast.
#pragma once

#include <cuda_runtime_api.h>

#include "csrc/params.h"

namespace hogwild::cuda {

// Launches on `stream` and returns the launch's error; needs no workspace. params.dtype is fp32.
cudaError_t plain_attention(const AttentionParams& params, cudaStream_t stream);

}  // namespace hogwild::cuda
