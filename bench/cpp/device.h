// Device memory with an owner, and the check that every CUDA call of the native programs goes through.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

namespace hogwild {

inline void check(cudaError_t error, const char* call, const char* file, int line) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "%s:%d: %s: %s\n", file, line, call, cudaGetErrorString(error));
    std::exit(EXIT_FAILURE);
}

#define HOGWILD_CHECK(call) ::hogwild::check((call), #call, __FILE__, __LINE__)

// A machine without a GPU has the runtime but no device.
inline bool has_device() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

// Of the current device.
inline int device_attribute(cudaDeviceAttr attribute) {
    int device = 0;
    int value = 0;
    HOGWILD_CHECK(cudaGetDevice(&device));
    HOGWILD_CHECK(cudaDeviceGetAttribute(&value, attribute, device));
    return value;
}

template <typename T>
class DeviceArray {
  public:
    explicit DeviceArray(std::size_t size) : size_(size) {
        HOGWILD_CHECK(cudaMalloc(reinterpret_cast<void**>(&data_), bytes() ? bytes() : 1));
    }
    explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) { upload(host); }
    DeviceArray(DeviceArray&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    DeviceArray& operator=(DeviceArray&&) = delete;
    ~DeviceArray() { cudaFree(data_); }

    T* data() const { return data_; }
    std::size_t size() const { return size_; }
    std::size_t bytes() const { return size_ * sizeof(T); }

    void upload(const std::vector<T>& host) {
        HOGWILD_CHECK(cudaMemcpy(data_, host.data(), bytes(), cudaMemcpyHostToDevice));
    }
    std::vector<T> download() const {
        std::vector<T> host(size_);
        HOGWILD_CHECK(cudaMemcpy(host.data(), data_, bytes(), cudaMemcpyDeviceToHost));
        return host;
    }

  private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace hogwild
