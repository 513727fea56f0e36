#include "csrc/flight/admit.h"

#include <algorithm>

namespace hogwild::cuda {
namespace {

constexpr int kMaxThreads = 256;

__global__ void __launch_bounds__(kMaxThreads) admit_kernel(const AdmitParams p) {
    bool all = true;
    for (int i = threadIdx.x; i < p.num_tokens; i += blockDim.x) {
        const std::int64_t token = p.tokens[i];
        // Token and class count as refused where they are out of range: nothing is read for them.
        const bool known =
            token >= 0 && token < p.num_ids && p.classes[i] >= 0 && p.classes[i] < p.num_classes;
        all = all && known && p.plain[p.classes[i] * p.num_ids + token];
        p.ids[i] = token;
    }
    const bool admitted = __syncthreads_and(all);
    if (threadIdx.x == 0) *p.admitted = admitted;
}

}  // namespace

cudaError_t admit(const AdmitParams& params, cudaStream_t stream) {
    const int threads = std::clamp((params.num_tokens + 31) / 32 * 32, 32, kMaxThreads);
    admit_kernel<<<1, threads, 0, stream>>>(params);
    return cudaGetLastError();
}

}  // namespace hogwild::cuda
