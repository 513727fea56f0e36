#include "bench/cpp/baselines.h"

#include <algorithm>
#include <memory>

#include "bench/cpp/device.h"
#include "bench/cpp/dtype.h"
#include "bench/cpp/random.h"

namespace hogwild::bench {
namespace {

constexpr int kThreads = 256;
constexpr int kCtasPerSm = 8;
constexpr int kUnroll = 4;  // 16-byte loads in flight per thread

int grid_for(std::size_t words) {
    const std::size_t most = std::size_t{kCtasPerSm} * device_attribute(cudaDevAttrMultiProcessorCount);
    const std::size_t useful = (words + kThreads * kUnroll - 1) / (kThreads * kUnroll);
    return static_cast<int>(std::clamp<std::size_t>(useful, 1, most));
}

__global__ void empty_kernel() {}

__global__ void __launch_bounds__(kThreads) read_kernel(const uint4* from, std::size_t words, int* sink) {
    const std::size_t step = std::size_t{gridDim.x} * kThreads;
    unsigned folded = 0;
    for (std::size_t i = blockIdx.x * std::size_t{kThreads} + threadIdx.x; i < words; i += step * kUnroll) {
#pragma unroll
        for (int j = 0; j < kUnroll; ++j) {
            if (i + j * step < words) {
                const uint4 word = from[i + j * step];
                folded ^= word.x ^ word.y ^ word.z ^ word.w;
            }
        }
    }
    if (folded == 0x9e3779b9u) *sink = 1;  // as good as never true, but the compiler cannot know
}

__global__ void __launch_bounds__(kThreads) copy_kernel(const uint4* from, uint4* to, std::size_t words) {
    const std::size_t step = std::size_t{gridDim.x} * kThreads;
    for (std::size_t i = blockIdx.x * std::size_t{kThreads} + threadIdx.x; i < words; i += step * kUnroll) {
#pragma unroll
        for (int j = 0; j < kUnroll; ++j) {
            if (i + j * step < words) to[i + j * step] = from[i + j * step];
        }
    }
}

// Shared, since launches are copied.
std::shared_ptr<DeviceArray<uint4>> random_words(std::size_t bytes) {
    auto words = std::make_shared<DeviceArray<uint4>>((bytes + sizeof(uint4) - 1) / sizeof(uint4));
    fill_random(words->data(), DType::kBFloat16, words->bytes() / element_size(DType::kBFloat16), 0);
    return words;
}

}  // namespace

Launch empty_launch() {
    return [](cudaStream_t stream) {
        empty_kernel<<<1, 1, 0, stream>>>();
        return cudaGetLastError();
    };
}

Launch read_launch(std::size_t bytes) {
    return [from = random_words(bytes), sink = std::make_shared<DeviceArray<int>>(1)](cudaStream_t stream) {
        read_kernel<<<grid_for(from->size()), kThreads, 0, stream>>>(from->data(), from->size(),
                                                                     sink->data());
        return cudaGetLastError();
    };
}

Launch copy_launch(std::size_t bytes) {
    return [from = random_words(bytes / 2), to = random_words(bytes / 2)](cudaStream_t stream) {
        copy_kernel<<<grid_for(from->size()), kThreads, 0, stream>>>(from->data(), to->data(), from->size());
        return cudaGetLastError();
    };
}

}  // namespace hogwild::bench
