// Times of launches as a decode forward sees them: replayed from a CUDA graph, with nothing of theirs in L2.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

#include "bench/cpp/device.h"

namespace hogwild::bench {

class Timer {
  public:
    explicit Timer(int repetitions);
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    // Median microseconds of one replay of what `launch` puts on the stream.
    double median_us(const std::function<cudaError_t(cudaStream_t)>& launch);

    // Median microseconds of a plain kernel that reads, or copies half of, as many bytes.
    double read_us(std::size_t bytes);
    double copy_us(std::size_t bytes);

    static const char* method();

  private:
    int repetitions_;
    cudaStream_t stream_;
    DeviceArray<char> flush_;  // written before every repetition; several times the size of L2
    DeviceArray<int> sink_;    // where the read kernel could write
};

}  // namespace hogwild::bench
