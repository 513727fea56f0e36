// What the compiler of CUDA knows without an include, for the one of C++: included before everything else.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/native/emulator/fibers.h"

#undef __launch_bounds__
#define __launch_bounds__(...)
#define threadIdx (::emulator::thread())
#define blockIdx (::emulator::block())

namespace emulator {

// By all lanes of a warp: what lane `from` has given.
template <typename T>
T shuffle(T mine, int from) {
    static_assert(sizeof mine <= sizeof(Words));
    Words words{};
    std::memcpy(&words, &mine, sizeof mine);
    std::memcpy(&mine, &exchange(words)[from], sizeof mine);
    return mine;
}

// By all lanes of a warp: everything that they have given, added up in some way.
template <typename T, typename Add>
T reduce(T mine, Add add) {
    const Exchanged& all = exchange({{static_cast<std::uint32_t>(mine)}});
    T result = static_cast<T>(all[0].at[0]);
    for (int i = 1; i < kLanes; ++i) result = add(result, static_cast<T>(all[i].at[0]));
    return result;
}

}  // namespace emulator

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(unsigned x) { return __builtin_ffs(static_cast<int>(x)); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline float __fdividef(float a, float b) { return a / b; }
inline std::uint32_t __float_as_uint(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float __uint_as_float(std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
inline float __log2f(float x) { return std::log2(x); }

template <typename T>
T __ldg(const T* from) {
    return *from;
}
template <typename T>
T __ldcg(const T* from) {
    return *from;
}

// Only with all lanes: the kernels use no other mask.
template <typename T>
T __shfl_sync(unsigned, T mine, int from) {
    return emulator::shuffle(mine, from);
}
template <typename T>
T __shfl_xor_sync(unsigned, T mine, int mask) {
    return emulator::shuffle(mine, emulator::lane() ^ mask);
}
template <typename T>
T __shfl_up_sync(unsigned, T mine, int distance) {
    const int from = emulator::lane() - distance;
    return emulator::shuffle(mine, from < 0 ? emulator::lane() : from);
}
inline unsigned __reduce_or_sync(unsigned, unsigned mine) {
    return emulator::reduce(mine, [](unsigned a, unsigned b) { return a | b; });
}
inline int __reduce_add_sync(unsigned, int mine) {
    return emulator::reduce(mine, [](int a, int b) { return a + b; });
}
inline int __reduce_max_sync(unsigned, int mine) {
    return emulator::reduce(mine, [](int a, int b) { return max(a, b); });
}
inline unsigned __ballot_sync(unsigned mask, bool mine) {
    return __reduce_or_sync(mask, mine ? 1u << emulator::lane() : 0);
}
inline bool __any_sync(unsigned mask, bool mine) { return __ballot_sync(mask, mine) != 0; }
inline bool __all_sync(unsigned mask, bool mine) { return __ballot_sync(mask, mine) == ~0u; }
inline void __syncwarp() { __ballot_sync(~0u, false); }
inline void __syncthreads() { emulator::sync_cta(); }
inline bool __syncthreads_or(bool mine) { return emulator::any_of_cta(mine); }
