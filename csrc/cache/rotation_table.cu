#include "csrc/cache/rotation_table.h"

#include "csrc/cache/rotation.cuh"

namespace hogwild::cuda {
namespace {

constexpr int kThreads = 128;

// One thread an angle.
__global__ void __launch_bounds__(kThreads) rotation_table_kernel(const RotationTableParams p) {
    const std::int64_t angle = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
    const std::int64_t entry = angle / p.half;  // token * F + column
    const int i = static_cast<int>(angle % p.half);
    const std::int64_t token = entry / p.num_columns;
    if (token >= p.num_tokens) return;

    float cosine = 1.f;
    float sine = 0.f;
    const std::int32_t query_pos = p.query_pos[entry];
    if (query_pos >= 0) rotation(query_pos - p.rotary_pos[token], p.inv_freq[i], &cosine, &sine);
    float* row = p.table + entry * 2 * p.half;
    row[i] = cosine;
    row[p.half + i] = sine;
}

}  // namespace

cudaError_t rotation_table(const RotationTableParams& params, cudaStream_t stream) {
    const std::int64_t angles = std::int64_t{params.num_tokens} * params.num_columns * params.half;
    if (angles == 0) return cudaSuccess;
    const auto grid = static_cast<unsigned>((angles + kThreads - 1) / kThreads);
    rotation_table_kernel<<<grid, kThreads, 0, stream>>>(params);
    return cudaGetLastError();
}

}  // namespace hogwild::cuda
