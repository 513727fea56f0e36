// The launch of one instantiation of the kernel; each has a file of its own under instantiations/.
#pragma once

#include "csrc/attention/attention.h"
#include "csrc/attention/kernel.cuh"

namespace hogwild::cuda {

template <typename T, int kHeadDim>
cudaError_t launch_attention(const AttentionParams& params, const AttentionLaunch& launch, void* workspace,
                             cudaStream_t stream) {
    const auto kernel = attention_kernel<Traits<T, kHeadDim>>;
    // Always all that the device has: another thread may be about to launch the same kernel with more.
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, launch.most_shared_bytes);
    if (error != cudaSuccess) return error;
    cudaLaunchAttribute cooperative{};
    cooperative.id = cudaLaunchAttributeCooperative;
    cooperative.val.cooperative = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = launch.num_ctas.divisor();
    config.blockDim = Traits<T, kHeadDim>::kThreads;
    config.dynamicSmemBytes = launch.shared_bytes;
    config.stream = stream;
    config.attrs = &cooperative;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, params, launch, StagedArrays(params), workspace);
}

}  // namespace hogwild::cuda
