// The instructions of sm_80 and newer that the attention kernel is made of.
#pragma once

#include <cstdint>

#include "csrc/attention/pack.cuh"

namespace hogwild::cuda {

__device__ inline std::uint32_t shared_address(const void* pointer) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// How long L2 is to keep lines.
class CachePolicy {
  public:
    // For what is read once: it goes before all others.
    __device__ static CachePolicy evict_first() {
        CachePolicy policy;
        asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy.bits));
        return policy;
    }
    __device__ static CachePolicy normal() {
        CachePolicy policy;
        asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy.bits));
        return policy;
    }

    std::uint64_t bits;
};

// 16 bytes from device to shared memory past L1; zeros, and no access, where `valid` is false.
__device__ inline void copy_async(std::uint32_t to, const void* from, bool valid) {
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
                 : "memory");
}

__device__ inline void copy_async(std::uint32_t to, const void* from, bool valid, CachePolicy policy) {
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, %3;" ::"r"(to),
                 "l"(from), "r"(bytes), "l"(policy.bits)
                 : "memory");
}

__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Copies are waited for in groups: those of this thread since the last commit are one.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All but the last so many groups.
template <int kGroups>
__device__ inline void wait_for_copies_but() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

// 4 bytes, where there is no better alignment.
__device__ inline void copy_word_async(std::uint32_t to, const void* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from) : "memory");
}

__device__ inline void prefetch_l2(const void* pointer) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(pointer));
}

// So many bytes, which start at a multiple of 16. By one warp; where there is a copy engine, by that, since
// requests for lines are in the way of those that follow.
template <int kBytes>
__device__ inline void prefetch_l2(const void* pointer) {
    const int lane = threadIdx.x % 32;
#if __CUDA_ARCH__ >= 900
    if (lane == 0) asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(pointer), "n"(kBytes));
#else
    constexpr int kLine = 128;
#pragma unroll
    for (int byte = lane * kLine; byte < kBytes; byte += 32 * kLine) {
        prefetch_l2(static_cast<const char*>(pointer) + byte);
    }
#endif
}

// Words in device memory that other CTAs read while they are written.
template <int kWords>
struct Words {
    std::uint32_t at[kWords];
};
__device__ inline void store_relaxed(void* to, const Words<2>& words) {
    asm volatile("st.relaxed.gpu.global.v2.b32 [%0], {%1, %2};" ::"l"(to), "r"(words.at[0]), "r"(words.at[1])
                 : "memory");
}
__device__ inline void store_relaxed(void* to, const Words<4>& words) {
    asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words.at[0]),
                 "r"(words.at[1]), "r"(words.at[2]), "r"(words.at[3])
                 : "memory");
}
__device__ inline void load_relaxed(const void* from, Words<1>& words) {
    asm volatile("ld.relaxed.gpu.global.b32 %0, [%1];" : "=r"(words.at[0]) : "l"(from) : "memory");
}
__device__ inline void load_relaxed(const void* from, Words<2>& words) {
    asm volatile("ld.relaxed.gpu.global.v2.b32 {%0, %1}, [%2];"
                 : "=r"(words.at[0]), "=r"(words.at[1])
                 : "l"(from)
                 : "memory");
}
__device__ inline void load_relaxed(const void* from, Words<4>& words) {
    asm volatile("ld.relaxed.gpu.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.at[0]), "=r"(words.at[1]), "=r"(words.at[2]), "=r"(words.at[3])
                 : "l"(from)
                 : "memory");
}

// Four 8 x 8 matrices of 16-bit elements; lanes 8i to 8i + 7 name the rows of matrix i.
__device__ inline void load_matrices(std::uint32_t (&to)[4], std::uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}

__device__ inline void load_matrices_transposed(std::uint32_t (&to)[4], std::uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}

// c += a b, with a 16 x 16, b 16 x 8 and fp32 c 16 x 8.
template <typename T>
__device__ inline void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1);
template <>
__device__ inline void multiply_add<__nv_bfloat16>(float (&c)[4], const std::uint32_t (&a)[4],
                                                   std::uint32_t b0, std::uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ inline void multiply_add<__half>(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                            std::uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// x, but unknown to the compiler: what is worked out from it is not kept in registers over a loop.
__device__ inline unsigned opaque(unsigned x) {
    asm volatile("" : "+r"(x));
    return x;
}

__device__ inline float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

}  // namespace hogwild::cuda
