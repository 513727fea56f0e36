#include "bench/cpp/random.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "bench/cpp/device.h"

namespace hogwild::bench {
namespace {

constexpr int kThreads = 256;
constexpr int kCtas = 1024;

// The finalizer of splitmix64: a bijection, so neighbouring counters give unrelated bits.
__device__ unsigned long long mix(unsigned long long bits) {
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9ull;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebull;
    return bits ^ bits >> 31;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) fill_kernel(T* data, std::size_t count, unsigned seed) {
    const std::size_t step = std::size_t{gridDim.x} * kThreads;
    for (std::size_t i = blockIdx.x * std::size_t{kThreads} + threadIdx.x; i < count; i += step) {
        const auto bits = static_cast<unsigned>(mix((std::size_t{seed} << 40) + i) >> 40);
        data[i] = static_cast<T>((bits * 0x1p-23f - 1.f) * 1.7320508f);  // 24 bits
    }
}

template <typename T>
void fill(void* data, std::size_t count, unsigned seed) {
    fill_kernel<<<kCtas, kThreads>>>(static_cast<T*>(data), count, seed);
    HOGWILD_CHECK(cudaGetLastError());
    HOGWILD_CHECK(cudaDeviceSynchronize());
}

}  // namespace

void fill_random(void* data, DType dtype, std::size_t count, unsigned seed) {
    switch (dtype) {
        case DType::kFloat32:
            return fill<float>(data, count, seed);
        case DType::kBFloat16:
            return fill<__nv_bfloat16>(data, count, seed);
        case DType::kFloat16:
            return fill<__half>(data, count, seed);
    }
}

}  // namespace hogwild::bench
