// The simple kernel of hogwild::attention: fp32, any head dims and page size, right but not fast.
#pragma once

#include <cuda_runtime_api.h>

#include "csrc/params.h"

namespace hogwild::cuda {

// Why the kernel does not serve the call, or null if it does.
const char* why_no_plain_kernel(const AttentionParams& params);

// Launches on `stream` and returns the launch's error; needs no workspace. params.dtype is fp32.
cudaError_t plain_attention(const AttentionParams& params, cudaStream_t stream);

}  // namespace hogwild::cuda
