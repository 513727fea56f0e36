// The launch of the kernels of one element type and head dim; each has a file of its own under
// instantiations/.
#pragma once

#include "csrc/attention/attention.h"
#include "csrc/attention/kernel.cuh"

namespace hogwild::cuda {

template <typename Traits>
cudaError_t launch_kernel(const AttentionParams& params, const AttentionLaunch& launch, void* workspace,
                          cudaStream_t stream) {
    const auto kernel = attention_kernel<Traits>;
    // Always all that the device has: another thread may be about to launch the same kernel with more.
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, launch.most_shared_bytes);
    if (error != cudaSuccess) return error;
    cudaLaunchAttribute cooperative{};
    cooperative.id = cudaLaunchAttributeCooperative;
    cooperative.val.cooperative = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = launch.num_ctas.divisor();
    config.blockDim = Traits::kThreads;
    config.dynamicSmemBytes = launch.shared_bytes;
    config.stream = stream;
    config.attrs = &cooperative;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, params, launch, StagedArrays(params), workspace);
}

template <typename T, int kHeadDim>
cudaError_t launch_attention(const AttentionParams& params, const AttentionLaunch& launch, void* workspace,
                             cudaStream_t stream) {
    return launch.calls == Calls::kOneSession
               ? launch_kernel<Traits<T, kHeadDim, Calls::kOneSession>>(params, launch, workspace, stream)
               : launch_kernel<Traits<T, kHeadDim, Calls::kAll>>(params, launch, workspace, stream);
}

}  // namespace hogwild::cuda
