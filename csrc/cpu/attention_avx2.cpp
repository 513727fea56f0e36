#include "csrc/cpu/attention_kernel.h"
#include "csrc/cpu/attention_plan.h"
#include "csrc/cpu/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>

// Set in the source rather than by flags, so that every build compiles all files alike. Headers come first:
// what they define is shared with files that run on any machine.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors as arguments: all such functions are inlined
#endif

#define HOGWILD_VECTOR_BYTES 32
namespace hogwild::cpu::avx2 {
#include "csrc/cpu/attention_kernel.inl"
}  // namespace hogwild::cpu::avx2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
