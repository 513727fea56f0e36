// The launch of the kernels of one element type and head dim; each has a file of its own under
// instantiations/.
#pragma once

#include "csrc/attention/attention.h"
#include "csrc/attention/few_keys.cuh"
#include "csrc/attention/kernel.cuh"

namespace hogwild::cuda {

template <typename Traits, typename Kernel>
cudaError_t launch_kernel(Kernel* kernel, const AttentionParams& params, const AttentionLaunch& launch,
                          void* workspace, cudaStream_t stream) {
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
    if constexpr (queries_in_registers(kHeadDim)) {
        if (launch.calls == Calls::kFewKeys) {
            using Few = Traits<T, kHeadDim, Calls::kFewKeys>;
            return launch_kernel<Few>(few_keys_kernel<Few>, params, launch, workspace, stream);
        }
    }
    using Session = Traits<T, kHeadDim, Calls::kOneSession>;
    using All = Traits<T, kHeadDim, Calls::kAll>;
    return launch.calls == Calls::kOneSession
               ? launch_kernel<Session>(attention_kernel<Session>, params, launch, workspace, stream)
               : launch_kernel<All>(attention_kernel<All>, params, launch, workspace, stream);
}

}  // namespace hogwild::cuda
