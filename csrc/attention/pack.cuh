// Pairs of 16-bit elements as registers of 32 bits.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace hogwild::cuda {

// Two neighbouring elements as one register, the first in the low half.
template <typename T>
__device__ std::uint32_t pack(float first, float second);
template <>
__device__ inline std::uint32_t pack<__nv_bfloat16>(float first, float second) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return reinterpret_cast<const std::uint32_t&>(pair);
}
template <>
__device__ inline std::uint32_t pack<__half>(float first, float second) {
    const __half2 pair = __floats2half2_rn(first, second);
    return reinterpret_cast<const std::uint32_t&>(pair);
}

template <typename T>
__device__ float2 unpack(std::uint32_t pair);
template <>
__device__ inline float2 unpack<__nv_bfloat16>(std::uint32_t pair) {
    return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(pair));
}
template <>
__device__ inline float2 unpack<__half>(std::uint32_t pair) {
    return __half22float2(reinterpret_cast<const __half2&>(pair));
}

__device__ inline int log2_of(int power) { return 31 - __clz(power); }

}  // namespace hogwild::cuda
