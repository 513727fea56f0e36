#include "csrc/attention/launch.cuh"

namespace hogwild::cuda {

template cudaError_t launch_attention<__half, 256>(const AttentionParams&, const AttentionLaunch&, void*,
                                                   cudaStream_t);

}  // namespace hogwild::cuda
