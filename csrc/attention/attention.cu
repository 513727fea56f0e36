// The host side of hogwild::attention on CUDA.
#include "csrc/attention/attention.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <limits>

#include "csrc/attention/config.h"
#include "csrc/attention/layout.cuh"
#include "csrc/attention/plain.h"

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

// Rows of a group that has all of the call's tokens.
std::int64_t rows_of(const AttentionParams& params) {
    return std::int64_t{params.num_tokens} * (params.num_heads / params.cache.num_kv_heads);
}

// A group with rows has one row tile, and one more for every max_rows rows beyond its first.
std::int64_t units_of(const AttentionParams& params, int max_rows) {
    const std::int64_t groups = params.num_groups;
    return groups + std::max<std::int64_t>(rows_of(params) - groups, 0) / max_rows;
}

// How many integers the kernel reads before all else, if they are worth copying to shared memory.
int staged_ints(const AttentionParams& params) {
    const std::int64_t size = 2 * (std::int64_t{params.num_groups} + 1) + params.num_blocks +
                              std::int64_t{params.num_tokens} * (params.num_columns + 2);
    return size <= kMaxStagedInts ? static_cast<int>(size) : 0;
}

// Of all kv heads, if all pages of the block tables are used.
std::int64_t most_tiles(const AttentionParams& params) {
    return std::int64_t{params.num_blocks} * params.max_pages * params.cache.page_size / kTileKeys *
           params.cache.num_kv_heads;
}

// The line of work is counted in 32 bits. It is as long as it can be if all units see all blocks.
bool line_fits(const AttentionParams& params, const AttentionLaunch& launch) {
    const double runs_of_block = double(params.max_pages) * params.cache.page_size / kRun + launch.block_cost;
    const double tiles = 1 + double(rows_of(params)) / launch.max_rows;
    return runs_of_block * params.num_blocks * tiles * params.cache.num_kv_heads < 2e9;
}

bool is_aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

// What a launch depends on beside the call.
struct Device {
    int num_sms;
    int most_shared;  // bytes of a CTA
    int l2_bytes;
};

// How long the line of work may be for keys and values to leave L2 first. They are read once, and what they
// displace otherwise may have to be written back. But of much more than L2 has room for, some would leave
// before their use; only where rows are not whole lines it is still faster (measured, docs/kernel.md).
int streamed_length(const AttentionParams& params, const AttentionLaunch& launch, const Device& device) {
    if (launch.max_units > params.num_groups) return 0;  // row tiles of a group read the same keys
    if (!rows_are_lines(params.cache.head_dim)) return std::numeric_limits<int>::max();
    constexpr std::int64_t kTimesL2 = 4;
    return static_cast<int>(kTimesL2 * device.l2_bytes / (2 * kRun * 2 * params.cache.head_dim));
}

// As many CTAs as multiprocessors; or the multiple of the kv heads below, if at least such a part of the
// device is busy then: each CTA has keys of one head there.
int ctas_of(const AttentionParams& params, const AttentionTuning& tuning, const Device& device,
            double least_part) {
    if (tuning.num_ctas > 0) return std::min(tuning.num_ctas, device.num_sms);
    const int by_heads = device.num_sms / params.cache.num_kv_heads * params.cache.num_kv_heads;
    return by_heads >= least_part * device.num_sms ? by_heads : device.num_sms;
}

// Takes the kernel for calls of one session, if this is one. It needs less shared memory for queries, and
// some for the first rotation. It is worth more than some idle multiprocessors.
void choose_session(const AttentionParams& params, const AttentionTuning& tuning, const Device& device,
                    AttentionLaunch* launch) {
    const int head_dim = params.cache.head_dim;
    const int num_ctas = ctas_of(params, tuning, device, 0.7);
    constexpr int kLanes = 32;  // one a block
    if (params.softcap > 0 || params.num_groups != 1 || launch->max_units != 1 || launch->staged_ints == 0 ||
        params.num_blocks > kLanes || num_ctas % params.cache.num_kv_heads != 0) {
        return;
    }
    AttentionLaunch changed = *launch;
    changed.calls = Calls::kOneSession;
    changed.num_ctas = Divisor(num_ctas);
    changed.query_buffers = 1;
    changed.sum_passes = least_sum_passes(head_dim);
    changed.slab_stride = sums_bytes(head_dim, changed.sum_passes);
    int first_angles = 0;
    if (rotates_registers(changed.calls, head_dim)) {
        const RotaryDims& rotary = params.rotary;
        const bool halves = 2 * rotary.half == head_dim && !rotary.interleaved && is_aligned(params.rotation);
        if (rotary.half > 0 && (!halves || params.num_tokens > launch->slot_tokens)) return;
        changed.shared_slabs = 0;
        first_angles = rotary.half > 0 ? params.num_tokens * launch->angle_stride : 0;
    }
    const auto fits = [&] {
        lay_out(head_dim, first_angles, &changed);
        return changed.shared_bytes <= std::size_t(device.most_shared);
    };
    while (!fits()) {
        changed.ring_slots -= kCopyWarps;
        if (changed.ring_slots < kFewSlots) return;
    }
    changed.head_ctas = Divisor(num_ctas / params.cache.num_kv_heads);
    changed.streamed_length /= params.cache.num_kv_heads;  // of the line of one
    *launch = changed;
}

// Takes the kernel for few keys instead, if no block table of this shape has more of them.
void choose_few_keys(const AttentionParams& params, const Device& device, AttentionLaunch* launch) {
    const int head_dim = params.cache.head_dim;
    const std::int64_t pages = std::int64_t{params.num_blocks} * params.max_pages;
    const std::int64_t slabs = (rows_of(params) + kSlab - 1) / kSlab;
    if (!queries_in_registers(head_dim) || pages == 0 || pages > kMostFewPages || slabs > kMostFewSlabs)
        return;
    const int ctas = launch->head_ctas.divisor();  // of a head
    const std::int64_t runs = (pages * (params.cache.page_size / kRun) + ctas - 1) / ctas;
    if (runs > kMostFewRuns) return;
    AttentionLaunch changed = *launch;
    changed.calls = Calls::kFewKeys;
    changed.few.slabs = static_cast<int>(slabs);
    changed.few.blocks = std::min({params.num_blocks, static_cast<int>(runs), kMostFewBlocks});
    changed.few.rows = Divisor(static_cast<int>(rows_of(params)));
    lay_out_few(head_dim, static_cast<int>(runs), static_cast<int>(pages), &changed);
    if (changed.shared_bytes <= std::size_t(device.most_shared)) *launch = changed;
}

// Whether a launch of tensor cores on a device can serve the call.
bool choose(const AttentionParams& params, const AttentionTuning& tuning, const Device& device,
            AttentionLaunch* launch) {
    const int head_dim = params.cache.head_dim;
    launch->compute_warps = compute_warps(head_dim);
    const auto rows = static_cast<int>(std::min<std::int64_t>(rows_of(params), most_rows(head_dim)));
    launch->staged_ints = staged_ints(params);
    const float cap = std::max(params.softcap, 0.f);
    launch->score_factor = cap > 0 ? 2 * kLog2E * params.scale / cap : kLog2E * params.scale;
    launch->cap = kLog2E * cap;
    launch->angle_stride = angle_bytes(params.rotary.half);
    launch->slot_tokens = params.rotary.half > 0 ? tile_bytes(head_dim) / launch->angle_stride : 0;
    const auto fits = [&](int max_rows, int max_slices, int ring_slots, int query_buffers, bool share = false,
                          int sum_passes = kMaxSumPasses) {
        const std::int64_t units = units_of(params, max_rows);
        if (units > kMaxUnits) return false;
        launch->max_units = static_cast<int>(units);
        launch->max_rows = max_rows;
        launch->max_slices = max_slices;
        launch->num_slabs = 0;
        launch->shared_slabs = 0;
        for (int slabs = 1; slabs <= max_rows / kSlab; ++slabs) {
            const int slices = std::min(max_slices, launch->compute_warps / slabs);
            launch->num_slabs = std::max(launch->num_slabs, slabs * slices);
            if (share && slices > 1) launch->shared_slabs = slabs;
        }
        launch->ring_slots = ring_slots;
        launch->query_buffers = query_buffers;
        launch->sum_passes = sum_passes;
        launch->slab_stride = sums_bytes(head_dim, sum_passes);
        lay_out(head_dim, 0, launch);
        return launch->shared_bytes <= std::size_t(device.most_shared);
    };
    // All rows in one pass, with a few tiles if possible; fewer warps for each row where their queries would
    // take that room, and fewer rows where shared memory is small.
    const int needed_rows = std::max((rows + kSlab - 1) / kSlab, 1) * kSlab;
    const auto search = [&] {
        for (const int ring_slots : {kFewSlots, kMinSlots}) {
            for (int max_rows = needed_rows; max_rows > (ring_slots == kFewSlots ? needed_rows - kSlab : 0);
                 max_rows -= kSlab) {
                for (int max_slices = kMaxSlices; max_slices > 0; --max_slices) {
                    if (fits(max_rows, max_slices, ring_slots, 1)) return true;
                }
            }
        }
        return false;
    };
    if (!search()) return false;
    const int max_rows = launch->max_rows;
    const int max_slices = launch->max_slices;
    int ring_slots = launch->ring_slots;
    const bool many_tiles = most_tiles(params) > std::int64_t{kManyTiles} * device.num_sms;
    const int most_slots = tuning.ring_slots > 0 ? std::clamp(tuning.ring_slots, kMinSlots, kMaxSlots)
                                                 : best_slots(head_dim, many_tiles);
    while (ring_slots + kCopyWarps <= most_slots && fits(max_rows, max_slices, ring_slots + kCopyWarps, 1)) {
        ring_slots += kCopyWarps;
    }
    if (tuning.ring_slots > 0) ring_slots = std::min(ring_slots, most_slots - most_slots % kCopyWarps);
    int query_buffers = kMaxQueryBuffers;
    while (!fits(max_rows, max_slices, ring_slots, query_buffers)) --query_buffers;
    // Where queries stay in shared memory, other warps would have to wait for the last use of them.
    const bool share = queries_in_registers(head_dim) && params.rotary.half > 0;
    if (!fits(max_rows, max_slices, ring_slots, query_buffers, share, least_sum_passes(head_dim)) &&
        !fits(max_rows, max_slices, ring_slots, query_buffers, share)) {
        fits(max_rows, max_slices, ring_slots, query_buffers);
    }

    launch->num_ctas = Divisor(ctas_of(params, tuning, device, 15. / 16));
    launch->block_cost = tuning.block_cost >= 0 ? tuning.block_cost : block_cost(head_dim);
    launch->streamed_length = streamed_length(params, *launch, device);
    launch->ratio = Divisor(params.num_heads / params.cache.num_kv_heads);
    launch->num_heads = Divisor(params.num_heads);
    if (tuning.calls != Calls::kAll) choose_session(params, tuning, device, launch);
    if (tuning.calls == Calls::kFewKeys && launch->calls == Calls::kOneSession) {
        choose_few_keys(params, device, launch);
    }
    launch->workspace_bytes =
        2 * sizeof(float) * launch->num_ctas.divisor() * launch->max_rows * (head_dim + 2);
    return line_fits(params, *launch);
}

cudaError_t current_device(Device* device) {
    int index = 0;
    cudaError_t error = cudaGetDevice(&index);
    const auto get = [&](int* value, cudaDeviceAttr attribute) {
        if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, index);
    };
    get(&device->num_sms, cudaDevAttrMultiProcessorCount);
    get(&device->most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    get(&device->l2_bytes, cudaDevAttrL2CacheSize);
    return error;
}

}  // namespace

const char* why_no_kernel(const AttentionParams& params) {
    const Cache& cache = params.cache;
    if (params.dtype == DType::kFloat32) return why_no_plain_kernel(params);
    if (cache.head_dim != cache.value_dim) return "keys and values have different head dims";
    if (!find_launch(params.dtype, cache.head_dim)) {
        return "bf16 and fp16 have kernels for head dims 64, 80, 96, 112, 128 and 256";
    }
    if (cache.page_size < kRun || (cache.page_size & (cache.page_size - 1)) != 0) {
        return "bf16 and fp16 have kernels for page sizes that are powers of two from 16 on";
    }
    if (!is_aligned(cache.k) || !is_aligned(cache.v)) {
        return "k_cache or v_cache does not start at a multiple of 16 bytes";
    }
    Device device;
    AttentionLaunch launch{};
    if (current_device(&device) == cudaSuccess && !choose(params, {}, device, &launch)) {
        return "it has more groups, tokens or pages than one launch serves";
    }
    return nullptr;
}

cudaError_t plan_attention(const AttentionParams& params, AttentionLaunch* launch,
                           const AttentionTuning& tuning) {
    *launch = AttentionLaunch{};
    if (params.dtype == DType::kFloat32) return cudaSuccess;
    Device device;
    const cudaError_t error = current_device(&device);
    if (error != cudaSuccess) return error;
    launch->most_shared_bytes = device.most_shared;
    if (tuning.shared_bytes > 0) device.most_shared = std::min(device.most_shared, tuning.shared_bytes);
    return choose(params, tuning, device, launch) ? cudaSuccess : cudaErrorInvalidConfiguration;
}

cudaError_t attention(const AttentionParams& params, const AttentionLaunch& launch, void* workspace,
                      cudaStream_t stream) {
    if (params.num_tokens == 0) return cudaSuccess;
    if (params.dtype == DType::kFloat32) return plain_attention(params, stream);
    return find_launch(params.dtype, params.cache.head_dim)(params, launch, workspace, stream);
}

}  // namespace hogwild::cuda
