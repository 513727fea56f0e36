#include <cstring>

#include "csrc/cpu/dtype.h"
#include "csrc/cpu/ops.h"

namespace hogwild::cpu {
namespace {

template <typename T>
void append_token(const AppendParams& params, int64_t token) {
    const Cache& cache = params.cache;
    const int64_t page = params.slots[token] / cache.page_size;
    const int64_t offset = params.slots[token] % cache.page_size;
    const T* k = static_cast<const T*>(params.k) + token * params.k_token_stride;
    const T* v = static_cast<const T*>(params.v) + token * params.v_token_stride;
    for (int64_t head = 0; head < cache.num_kv_heads; ++head) {
        const int64_t row = (page * cache.num_kv_heads + head) * cache.page_size + offset;
        std::memcpy(static_cast<T*>(cache.k) + row * cache.head_dim, k + head * params.k_head_stride,
                    sizeof(T) * cache.head_dim);
        std::memcpy(static_cast<T*>(cache.v) + row * cache.value_dim, v + head * params.v_head_stride,
                    sizeof(T) * cache.value_dim);
    }
}

}  // namespace

void append(const AppendParams& params, const Parallel& parallel) {
    dispatch(params.dtype, [&](auto element) {
        for_ranges(parallel, params.num_tokens, 64, [&](int64_t begin, int64_t end) {
            for (int64_t token = begin; token < end; ++token) {
                if (params.slots[token] >= 0) append_token<decltype(element)>(params, token);
            }
        });
    });
}

}  // namespace hogwild::cpu
