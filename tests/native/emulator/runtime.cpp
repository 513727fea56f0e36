// The functions of the CUDA runtime that the tests and the attention op call: one small device, whose memory
// is the host's.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>

#include "tests/native/emulator/fibers.h"

namespace {

constexpr int kMultiprocessors = 16;
constexpr int kL2Bytes = 50 << 20;
constexpr std::size_t kAlignment = 512;

}  // namespace

extern "C" {

cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount:
            *value = kMultiprocessors;
            return cudaSuccess;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
            *value = emulator::kMostShared;
            return cudaSuccess;
        case cudaDevAttrL2CacheSize:
            *value = kL2Bytes;
            return cudaSuccess;
        default:
            return cudaErrorInvalidValue;
    }
}

cudaError_t cudaMalloc(void** memory, std::size_t size) {
    *memory = std::aligned_alloc(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void* memory) {
    std::free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t size, cudaMemcpyKind) {
    if (size > 0) std::memcpy(to, from, size);
    return cudaSuccess;
}

cudaError_t cudaMemset(void* memory, int value, std::size_t size) {
    std::memset(memory, value, size);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t size, cudaStream_t) {
    return cudaMemset(memory, value, size);
}

cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }

const char* cudaGetErrorString(cudaError_t) { return "an error of the emulated device"; }

}  // extern "C"
