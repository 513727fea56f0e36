// A CUDA graph that the device runs or leaves out.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace hogwild::cuda {

// Makes a graph that runs a copy of `body` if `*condition`, in device memory, is not 0 when it is launched.
// What `body` reads and writes must outlive `executable`; `body` itself need not. The current device must be
// that of both. cudaErrorNotSupported before CUDA 12.4.
cudaError_t make_conditional_graph(cudaGraph_t body, const std::int32_t* condition,
                                   cudaGraphExec_t* executable);

}  // namespace hogwild::cuda
