// A few elements that are loaded and stored in one instruction, and fp32 conversions of one element.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace hogwild::cuda {

template <typename T, int N>
struct alignas(sizeof(T) * N) Vector {
    T at[N];
};

template <int N, typename T>
__device__ inline Vector<T, N> load(const T* from) {
    return *reinterpret_cast<const Vector<T, N>*>(from);
}

template <int N, typename T>
__device__ inline void store(T* to, const Vector<T, N>& value) {
    *reinterpret_cast<Vector<T, N>*>(to) = value;
}

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
    return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

}  // namespace hogwild::cuda
