#include "csrc/cache/move.h"

#include <cstddef>

#include "csrc/cache/rotation.cuh"
#include "csrc/cache/vector.cuh"

namespace hogwild::cuda {
namespace {

constexpr int kThreads = 128;

// The element of [P, K, S, dim] at which a slot's entry of a head starts.
__device__ std::int64_t entry_offset(std::int64_t slot, int head, int dim, const Cache& cache) {
    const std::int64_t page = slot / cache.page_size;
    return ((page * cache.num_kv_heads + head) * cache.page_size + slot % cache.page_size) * dim;
}

// (x, y) turned by the angle whose cos and sin are given; in fp32, rounded once.
template <typename T>
__device__ void rotate(T& x, T& y, float cosine, float sine) {
    const float a = to_float(x);
    const float b = to_float(y);
    x = from_float<T>(a * cosine - b * sine);
    y = from_float<T>(a * sine + b * cosine);
}

// Pairs (i, i + half) for i in [first, first + N).
template <typename T, int N>
__device__ void rotate_halves(const T* from, T* to, const float* cosine, const float* sine, int first,
                              int half) {
    Vector<T, N> x = load<N>(from + first);
    Vector<T, N> y = load<N>(from + first + half);
#pragma unroll
    for (int j = 0; j < N; ++j) rotate(x.at[j], y.at[j], cosine[first + j], sine[first + j]);
    store(to + first, x);
    store(to + first + half, y);
}

// Pairs (2i, 2i + 1) for i in [first, first + N).
template <typename T, int N>
__device__ void rotate_neighbours(const T* from, T* to, const float* cosine, const float* sine, int first) {
    alignas(sizeof(T) * N) T pairs[2 * N];
    store(pairs, load<N>(from + 2 * first));
    store(pairs + N, load<N>(from + 2 * first + N));
#pragma unroll
    for (int j = 0; j < N; ++j) rotate(pairs[2 * j], pairs[2 * j + 1], cosine[first + j], sine[first + j]);
    store(to + 2 * first, load<N>(pairs));
    store(to + 2 * first + N, load<N>(pairs + N));
}

// One CTA an entry: its angles once, then all heads of its key, then of its value. A thread's unit of work is
// N pairs that are rotated or N elements that are copied.
template <typename T, int N, bool kInterleaved>
__global__ void __launch_bounds__(kThreads) move_kernel(const MoveParams p) {
    extern __shared__ float cosines[];  // [2, half]
    const std::int64_t src = p.src_slots[blockIdx.x];
    const std::int64_t dst = p.dst_slots[blockIdx.x];
    if (src < 0 || dst < 0) return;
    const int shift = p.shift[blockIdx.x];
    const int half = shift == 0 ? 0 : p.rotary.half;  // a shift of 0 copies the bits, those of a NaN too
    float* sines = cosines + half;
    for (int i = threadIdx.x; i < half; i += kThreads) rotation(shift, p.inv_freq[i], &cosines[i], &sines[i]);
    __syncthreads();

    const int rotations = half / N;
    const int units = rotations + (p.cache.head_dim - 2 * half) / N;  // of one head
    for (int i = threadIdx.x; i < p.cache.num_kv_heads * units; i += kThreads) {
        const int head = i / units;
        const int unit = i % units;
        const T* from = static_cast<const T*>(p.cache.k) + entry_offset(src, head, p.cache.head_dim, p.cache);
        T* to = static_cast<T*>(p.cache.k) + entry_offset(dst, head, p.cache.head_dim, p.cache);
        const int start = p.rotary.start;
        if (unit >= rotations) {
            int d = (unit - rotations) * N;
            if (d >= start) d += 2 * half;
            store(to + d, load<N>(from + d));
        } else if constexpr (kInterleaved) {
            rotate_neighbours<T, N>(from + start, to + start, cosines, sines, unit * N);
        } else {
            rotate_halves<T, N>(from + start, to + start, cosines, sines, unit * N, half);
        }
    }

    const int v_units = p.cache.value_dim / N;  // of one head
    for (int i = threadIdx.x; i < p.cache.num_kv_heads * v_units; i += kThreads) {
        const int head = i / v_units;
        const int d = i % v_units * N;
        const T* from =
            static_cast<const T*>(p.cache.v) + entry_offset(src, head, p.cache.value_dim, p.cache);
        T* to = static_cast<T*>(p.cache.v) + entry_offset(dst, head, p.cache.value_dim, p.cache);
        store(to + d, load<N>(from + d));
    }
}

template <typename T, int N>
bool vectors_fit(const MoveParams& p) {
    for (const void* pointer : {p.cache.k, p.cache.v}) {
        if (reinterpret_cast<std::uintptr_t>(pointer) % (sizeof(T) * N) != 0) return false;
    }
    for (const int dims : {p.cache.head_dim, p.cache.value_dim, p.rotary.start, p.rotary.half}) {
        if (dims % N != 0) return false;
    }
    return true;
}

template <typename T, int N>
void launch(const MoveParams& p, cudaStream_t stream) {
    const std::size_t shared = 2 * p.rotary.half * sizeof(float);
    const auto kernel = p.rotary.interleaved ? move_kernel<T, N, true> : move_kernel<T, N, false>;
    kernel<<<p.num_entries, kThreads, shared, stream>>>(p);
}

template <typename T>
void dispatch(const MoveParams& p, cudaStream_t stream) {
    constexpr int kWidest = 16 / sizeof(T);  // elements of the widest load
    if (vectors_fit<T, kWidest>(p)) {
        launch<T, kWidest>(p, stream);
    } else {
        launch<T, 1>(p, stream);
    }
}

}  // namespace

cudaError_t move(const MoveParams& params, cudaStream_t stream) {
    if (params.num_entries == 0) return cudaSuccess;
    switch (params.dtype) {
        case DType::kFloat32:
            dispatch<float>(params, stream);
            break;
        case DType::kFloat16:
            dispatch<__half>(params, stream);
            break;
        case DType::kBFloat16:
            dispatch<__nv_bfloat16>(params, stream);
            break;
    }
    return cudaGetLastError();
}

}  // namespace hogwild::cuda
