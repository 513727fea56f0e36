// The host side of hogwild::attention on CUDA.
#include "csrc/attention/attention.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "csrc/attention/config.h"
#include "csrc/attention/plain.h"
#include "csrc/attention/plan.cuh"

namespace hogwild::cuda {

// In instantiations/.
template <typename T, int kHeadDim>
cudaError_t launch_attention(const AttentionParams&, const AttentionLaunch&, void*, cudaStream_t);

namespace {

using Launch = cudaError_t (*)(const AttentionParams&, const AttentionLaunch&, void*, cudaStream_t);

template <int kHeadDim>
Launch launch_of(DType dtype) {
    return dtype == DType::kBFloat16 ? launch_attention<__nv_bfloat16, kHeadDim>
                                     : launch_attention<__half, kHeadDim>;
}

Launch find_launch(DType dtype, int head_dim) {
    switch (head_dim) {
        case 64:
            return launch_of<64>(dtype);
        case 80:
            return launch_of<80>(dtype);
        case 96:
            return launch_of<96>(dtype);
        case 112:
            return launch_of<112>(dtype);
        case 128:
            return launch_of<128>(dtype);
        case 256:
            return launch_of<256>(dtype);
        default:
            return nullptr;
    }
}

int rows_of(const AttentionParams& params) {  // if all tokens were of one group
    return params.num_tokens * (params.num_heads / params.cache.num_kv_heads);
}

// A group has one row tile, and one more for every max_rows rows that are full.
std::int64_t units_of(const AttentionParams& params, int max_rows) {
    return params.num_groups + std::int64_t{rows_of(params)} / max_rows;
}

std::size_t shared_bytes(int head_dim, int num_stages, int max_rows, int max_units) {
    const std::size_t units = std::size_t{sizeof(Unit)} * std::max(max_units, 1);
    return std::size_t{1} * num_stages * stage_bytes(head_dim) +
           std::size_t{1} * max_rows * row_bytes(head_dim) + sizeof(PlanMemory) + units;
}

bool is_aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

}  // namespace

const char* why_no_kernel(const AttentionParams& params) {
    if (params.dtype == DType::kFloat32) return nullptr;
    const Cache& cache = params.cache;
    if (cache.head_dim != cache.value_dim) return "keys and values have different head dims";
    if (!find_launch(params.dtype, cache.head_dim)) {
        return "bf16 and fp16 have kernels for head dims 64, 80, 96, 112, 128 and 256";
    }
    if (cache.page_size < kRun || (cache.page_size & (cache.page_size - 1)) != 0) {
        return "bf16 and fp16 have kernels for page sizes that are powers of two from 16 on";
    }
    if (!is_aligned(cache.k) || !is_aligned(cache.v)) return "k_cache or v_cache does not start at 16 bytes";
    if (units_of(params, most_rows(cache.head_dim) / 2) > kMaxUnits) {
        return "there are more groups or tokens than one launch serves";
    }
    return nullptr;
}

cudaError_t plan_attention(const AttentionParams& params, AttentionLaunch* launch,
                           const AttentionTuning& tuning) {
    *launch = AttentionLaunch{};
    if (params.dtype == DType::kFloat32) return cudaSuccess;
    int device = 0;
    int num_sms = 0;
    int most_shared = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess) {
        error = cudaDeviceGetAttribute(&most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    }
    if (error != cudaSuccess) return error;

    // As many rows as the call can need, fewer where shared memory is small, then as many stages as fit.
    const int head_dim = params.cache.head_dim;
    int max_rows = (std::min(rows_of(params), most_rows(head_dim)) + kSlab - 1) / kSlab * kSlab;
    max_rows = std::max(max_rows, kSlab);
    const auto fits = [&](int num_stages) {
        const int units = static_cast<int>(units_of(params, max_rows));
        return shared_bytes(head_dim, num_stages, max_rows, units) <= static_cast<std::size_t>(most_shared);
    };
    while (!fits(kMinStages) && max_rows > kSlab) max_rows -= kSlab;
    int num_stages =
        tuning.num_stages > 0 ? std::clamp(tuning.num_stages, kMinStages, kMaxStages) : kMaxStages;
    while (num_stages > kMinStages && !fits(num_stages)) --num_stages;
    if (!fits(num_stages)) return cudaErrorInvalidConfiguration;

    // One CTA on each multiprocessor. Where kv heads divide most of them up, each CTA has one head's keys.
    const int num_kv_heads = params.cache.num_kv_heads;
    const int by_heads = num_sms / num_kv_heads * num_kv_heads;
    int num_ctas = by_heads * 16 >= num_sms * 15 ? by_heads : num_sms;
    if (tuning.num_ctas > 0) num_ctas = std::min(tuning.num_ctas, num_sms);

    launch->num_ctas = num_ctas;
    launch->num_stages = num_stages;
    launch->max_rows = max_rows;
    launch->max_units = static_cast<int>(units_of(params, max_rows));
    launch->block_cost = tuning.block_cost >= 0 ? tuning.block_cost : kBlockCost;
    launch->shared_bytes = shared_bytes(head_dim, num_stages, max_rows, launch->max_units);
    launch->workspace_bytes =
        std::size_t{2} * num_ctas * max_rows * (head_dim + sizeof(float2) / sizeof(float)) * sizeof(float);
    return cudaSuccess;
}

cudaError_t attention(const AttentionParams& params, const AttentionLaunch& launch, void* workspace,
                      cudaStream_t stream) {
    if (params.num_tokens == 0) return cudaSuccess;
    if (params.dtype == DType::kFloat32) return plain_attention(params, stream);
    return find_launch(params.dtype, params.cache.head_dim)(params, launch, workspace, stream);
}

}  // namespace hogwild::cuda
