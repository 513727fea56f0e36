// In place of the launch of csrc/attention/launch.cuh.
#pragma once

#include "csrc/attention/attention.h"
#include "csrc/attention/few_keys.cuh"
#include "csrc/attention/kernel.cuh"

namespace hogwild::cuda {

template <typename Traits>
void launch_kernel(const AttentionParams& params, const AttentionLaunch& launch, void* workspace) {
    emulator::launch(launch.num_ctas.divisor(), Traits::kThreads, launch.shared_bytes,
                     [&] { attention_kernel<Traits>(params, launch, StagedArrays(params), workspace); });
}

template <typename T, int kHeadDim>
cudaError_t launch_attention(const AttentionParams& params, const AttentionLaunch& launch, void* workspace,
                             cudaStream_t) {
    if constexpr (queries_in_registers(kHeadDim)) {
        if (launch.calls == Calls::kFewKeys) {
            using Few = Traits<T, kHeadDim, Calls::kFewKeys>;
            emulator::launch(launch.num_ctas.divisor(), Few::kThreads, launch.shared_bytes,
                             [&] { few_keys_kernel<Few>(params, launch, StagedArrays(params), workspace); });
            return cudaSuccess;
        }
    }
    if (launch.calls == Calls::kOneSession) {
        launch_kernel<Traits<T, kHeadDim, Calls::kOneSession>>(params, launch, workspace);
    } else {
        launch_kernel<Traits<T, kHeadDim, Calls::kAll>>(params, launch, workspace);
    }
    return cudaSuccess;
}

}  // namespace hogwild::cuda
