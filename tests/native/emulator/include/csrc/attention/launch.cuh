// In place of the launch of csrc/attention/launch.cuh.
#pragma once

#include "csrc/attention/attention.h"
#include "csrc/attention/kernel.cuh"

namespace hogwild::cuda {

template <typename T, int kHeadDim>
cudaError_t launch_attention(const AttentionParams& params, const AttentionLaunch& launch, void* workspace,
                             cudaStream_t) {
    using Kernel = Traits<T, kHeadDim>;
    emulator::launch(launch.num_ctas.divisor(), Kernel::kThreads, launch.shared_bytes,
                     [&] { attention_kernel<Kernel>(params, launch, StagedArrays(params), workspace); });
    return cudaSuccess;
}

}  // namespace hogwild::cuda
