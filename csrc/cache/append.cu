#include "csrc/cache/append.h"

namespace hogwild::cuda {
namespace {

constexpr int kThreads = 256;

// Copies the heads of the CTA's token to its slot. Dims and strides count words, what one thread moves at a
// time.
template <typename Word>
__device__ void copy_heads(const void* from, void* to, std::int64_t token_stride, std::int64_t head_stride,
                           std::int64_t slot, int dim, const Cache& cache) {
    const Word* rows = static_cast<const Word*>(from) + blockIdx.x * token_stride;
    Word* page = static_cast<Word*>(to) + slot / cache.page_size * cache.num_kv_heads * cache.page_size * dim;
    const int offset = static_cast<int>(slot % cache.page_size);
    for (int i = threadIdx.x; i < cache.num_kv_heads * dim; i += kThreads) {
        const int head = i / dim;
        const int d = i % dim;
        page[(std::int64_t{head} * cache.page_size + offset) * dim + d] = rows[head * head_stride + d];
    }
}

// One CTA a token.
template <typename Word>
__global__ void __launch_bounds__(kThreads) append_kernel(const AppendParams p) {
    const std::int64_t slot = p.slots[blockIdx.x];
    if (slot < 0) return;
    copy_heads<Word>(p.k, p.cache.k, p.k_token_stride, p.k_head_stride, slot, p.cache.head_dim, p.cache);
    copy_heads<Word>(p.v, p.cache.v, p.v_token_stride, p.v_head_stride, slot, p.cache.value_dim, p.cache);
}

// Launches with words of `Word` if every row starts and ends at one, and says whether it did.
template <typename Word>
bool try_append(AppendParams p, cudaStream_t stream) {
    const std::int64_t element = p.dtype == DType::kFloat32 ? 4 : 2;
    const std::int64_t word = sizeof(Word);
    for (const void* pointer :
         {p.k, p.v, static_cast<const void*>(p.cache.k), static_cast<const void*>(p.cache.v)}) {
        if (reinterpret_cast<std::uintptr_t>(pointer) % word != 0) return false;
    }
    for (std::int64_t* stride : {&p.k_token_stride, &p.k_head_stride, &p.v_token_stride, &p.v_head_stride}) {
        if (*stride * element % word != 0) return false;
        *stride = *stride * element / word;
    }
    for (int* dim : {&p.cache.head_dim, &p.cache.value_dim}) {
        if (*dim * element % word != 0) return false;
        *dim = static_cast<int>(*dim * element / word);
    }
    append_kernel<Word><<<p.num_tokens, kThreads, 0, stream>>>(p);
    return true;
}

}  // namespace

cudaError_t append(const AppendParams& params, cudaStream_t stream) {
    if (params.num_tokens == 0) return cudaSuccess;
    // Bits are copied, so a dtype is only its size: the widest word that fits does the work.
    if (!try_append<uint4>(params, stream) && !try_append<uint2>(params, stream) &&
        !try_append<std::uint32_t>(params, stream)) {
        try_append<std::uint16_t>(params, stream);
    }
    return cudaGetLastError();
}

}  // namespace hogwild::cuda
