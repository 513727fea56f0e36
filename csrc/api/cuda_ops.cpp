// The CUDA implementations of torch.ops.hogwild. `attention` is registered from Python
// (hogwild_cuda/fallback.py) as long as it has no kernel of its own.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "csrc/api/arguments.h"
#include "csrc/cache/append.h"
#include "csrc/cache/move.h"
#include "csrc/cache/rotation_table.h"

namespace hogwild::api {
namespace {

void append(const at::Tensor& k, const at::Tensor& v, at::Tensor k_cache, at::Tensor v_cache,
            const at::Tensor& slots) {
    KeepAlive keep_alive;
    const AppendParams params = append_params(k, v, k_cache, v_cache, slots, keep_alive);
    const c10::cuda::CUDAGuard guard(k_cache.device());
    C10_CUDA_CHECK(cuda::append(params, c10::cuda::getCurrentCUDAStream()));
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

void move(at::Tensor k_cache, at::Tensor v_cache, const at::Tensor& src_slots, const at::Tensor& dst_slots,
          const at::Tensor& shift, const OptionalTensor& inv_freq, bool interleaved, int64_t rotary_start) {
    const MoveParams params =
        move_params(k_cache, v_cache, src_slots, dst_slots, shift, inv_freq, interleaved, rotary_start);
    const c10::cuda::CUDAGuard guard(k_cache.device());
    C10_CUDA_CHECK(cuda::move(params, c10::cuda::getCurrentCUDAStream()));
}

}  // namespace

TORCH_LIBRARY_IMPL(hogwild, CUDA, library) {
    library.impl("append", &append);
    library.impl("rotation_table", &rotation_table);
    library.impl("move", &move);
}

}  // namespace hogwild::api
