// The CUDA implementations of torch.ops.hogwild. Calls of `attention` that no kernel serves go on to
// `_attention_by_torch_ops`, which is registered from Python (hogwild_cuda/fallback.py).
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <cstdint>
#include <string_view>
#include <tuple>

#include "csrc/api/arguments.h"
#include "csrc/api/text.h"
#include "csrc/api/written.h"
#include "csrc/attention/attention.h"
#include "csrc/cache/append.h"
#include "csrc/cache/move.h"
#include "csrc/cache/rotation_table.h"
#include "csrc/flight/admit.h"

namespace hogwild::api {
namespace {

void append(const at::Tensor& k, const at::Tensor& v, at::Tensor k_cache, at::Tensor v_cache,
            const at::Tensor& slots) {
    KeepAlive keep_alive;
    const AppendParams params = append_params(k, v, k_cache, v_cache, slots, keep_alive);
    const c10::cuda::CUDAGuard guard(k_cache.device());
    C10_CUDA_CHECK(cuda::append(params, c10::cuda::getCurrentCUDAStream()));
    count_write(k_cache);
    count_write(v_cache);
}

at::Tensor rotation_table(const at::Tensor& query_pos, const at::Tensor& rotary_pos,
                          const at::Tensor& inv_freq) {
    RotationTableParams params = rotation_table_params(query_pos, rotary_pos, inv_freq);
    const c10::cuda::CUDAGuard guard(query_pos.device());
    at::Tensor table = at::empty({params.num_tokens, params.num_columns, 2, params.half}, inv_freq.options());
    params.table = table.data_ptr<float>();
    C10_CUDA_CHECK(cuda::rotation_table(params, c10::cuda::getCurrentCUDAStream()));
    return table;
}

// Whether the query's rows start where the tensor-core kernels can load them, at multiples of 16 bytes.
bool query_is_aligned(const AttentionParams& params) {
    constexpr int64_t kElements = 8;  // of bf16 or fp16, in 16 bytes
    return reinterpret_cast<std::uintptr_t>(params.q) % 16 == 0 && params.q_token_stride % kElements == 0 &&
           params.q_head_stride % kElements == 0;
}

using OutAndLse = std::tuple<at::Tensor, at::Tensor>;

OutAndLse attention_by_torch_ops(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                                 const at::Tensor& block_table, const at::Tensor& block_lens,
                                 const at::Tensor& group_tokens, const at::Tensor& group_blocks,
                                 const at::Tensor& query_pos, const at::Tensor& rotary_pos,
                                 const at::Tensor& own_block, const OptionalTensor& rotation, double scale,
                                 int64_t window, double softcap, const OptionalTensor& sinks,
                                 bool interleaved, int64_t rotary_start, std::string_view reason) {
    static const auto op = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("hogwild::_attention_by_torch_ops", "")
                               .typed<decltype(attention_by_torch_ops)>();
    // What comes before CUDA in the dispatcher, autograd for one, is behind `attention` already.
    return op.redispatch(c10::DispatchKeySet(c10::DispatchKey::CUDA), q, k_cache, v_cache, block_table,
                         block_lens, group_tokens, group_blocks, query_pos, rotary_pos, own_block, rotation,
                         scale, window, softcap, sinks, interleaved, rotary_start, reason);
}

OutAndLse attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                    const at::Tensor& block_table, const at::Tensor& block_lens,
                    const at::Tensor& group_tokens, const at::Tensor& group_blocks,
                    const at::Tensor& query_pos, const at::Tensor& rotary_pos, const at::Tensor& own_block,
                    const OptionalTensor& rotation, double scale, int64_t window, double softcap,
                    const OptionalTensor& sinks, bool interleaved, int64_t rotary_start) {
    KeepAlive keep_alive;
    AttentionParams params = attention_params(q, k_cache, v_cache, block_table, block_lens, group_tokens,
                                              group_blocks, query_pos, rotary_pos, own_block, rotation, scale,
                                              window, softcap, sinks, interleaved, rotary_start, keep_alive);
    const c10::cuda::CUDAGuard guard(q.device());
    const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
    at::Tensor out = at::empty({params.num_tokens, params.num_heads, params.cache.value_dim}, q.options());
    at::Tensor lse = at::empty({params.num_tokens, params.num_heads}, q.options().dtype(at::kFloat));
    if (params.num_tokens == 0) return {out, lse};

    if (const char* reason = cuda::why_no_kernel(params)) {
        cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
        C10_CUDA_CHECK(cudaStreamIsCapturing(stream, &capture));
        TORCH_CHECK(
            capture == cudaStreamCaptureStatusNone,
            cat("attention: only a kernel can be captured into a CUDA graph, and none serves this call: ",
                reason));
        return attention_by_torch_ops(q, k_cache, v_cache, block_table, block_lens, group_tokens,
                                      group_blocks, query_pos, rotary_pos, own_block, rotation, scale, window,
                                      softcap, sinks, interleaved, rotary_start, reason);
    }
    if (params.dtype != DType::kFloat32 && !query_is_aligned(params)) {
        const at::Tensor copy = keep_alive.emplace_back(q.clone(at::MemoryFormat::Contiguous));
        params.q = copy.data_ptr();
        params.q_token_stride = copy.stride(0);
        params.q_head_stride = copy.stride(1);
    }
    params.out = out.data_ptr();
    params.lse = lse.data_ptr<float>();

    cuda::AttentionLaunch launch{};
    C10_CUDA_CHECK(cuda::plan_attention(params, &launch));
    at::Tensor workspace =
        at::empty({static_cast<int64_t>(launch.workspace_bytes)}, q.options().dtype(at::kByte));
    C10_CUDA_CHECK(cuda::attention(params, launch, workspace.data_ptr(), stream));
    return {out, lse};
}

void move(at::Tensor k_cache, at::Tensor v_cache, const at::Tensor& src_slots, const at::Tensor& dst_slots,
          const at::Tensor& shift, const OptionalTensor& inv_freq, bool interleaved, int64_t rotary_start) {
    const MoveParams params =
        move_params(k_cache, v_cache, src_slots, dst_slots, shift, inv_freq, interleaved, rotary_start);
    const c10::cuda::CUDAGuard guard(k_cache.device());
    C10_CUDA_CHECK(cuda::move(params, c10::cuda::getCurrentCUDAStream()));
    count_write(k_cache);
    count_write(v_cache);
}

void admit(const at::Tensor& tokens, const at::Tensor& plain, const at::Tensor& classes, at::Tensor ids,
           at::Tensor admitted) {
    const AdmitParams params = admit_params(tokens, plain, classes, ids, admitted);
    const c10::cuda::CUDAGuard guard(tokens.device());
    C10_CUDA_CHECK(cuda::admit(params, c10::cuda::getCurrentCUDAStream()));
    count_write(ids);
    count_write(admitted);
}

}  // namespace

TORCH_LIBRARY_IMPL(hogwild, CUDA, library) {
    library.impl("append", &append);
    library.impl("rotation_table", &rotation_table);
    library.impl("attention", &attention);
    library.impl("move", &move);
    library.impl("admit", &admit);
}

}  // namespace hogwild::api
