// Times of launches as a decode forward sees them: replayed from a CUDA graph, with nothing of theirs in L2.
// Or launched on a stream, as Triton's do_bench has them.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>
#include <vector>

#include "bench/cpp/device.h"

namespace hogwild::bench {

// Puts the work to be timed on a stream and returns the launch's error.
using Launch = std::function<cudaError_t(cudaStream_t)>;

enum class LaunchedBy { kGraph, kStream };

class Timer {
  public:
    explicit Timer(int repetitions);
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    // Median microseconds of each launch. They take turns, so that a drift of the machine's clocks is the
    // same for all of them.
    std::vector<double> medians_us(const std::vector<Launch>& launches,
                                   LaunchedBy by = LaunchedBy::kGraph) const;

    static std::string method(const std::string& launches = "CUDA-graph replays");

  private:
    int repetitions_;
    cudaStream_t stream_;
    DeviceArray<char> flush_;  // written before every launch; several times the size of L2
};

}  // namespace hogwild::bench
