// Barriers in shared memory (mbarrier), between warps that copy and warps that compute.
#pragma once

#include <cstdint>

#include "csrc/attention/mma.cuh"

namespace hogwild::cuda {

// A barrier in shared memory that a phase's arrivals turn over.
class Barrier {
  public:
    __device__ void init(int arrivals) {
        asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(&state_)), "r"(arrivals)
                     : "memory");
    }
    __device__ void arrive() {
        asm volatile(
            "{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(shared_address(&state_))
            : "memory");
    }
    // Arrives when all copies that this thread has issued are done.
    __device__ void arrive_after_copies() {
        asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(&state_))
                     : "memory");
    }
    // Waits for the end of a phase; they are numbered 0, 1, 0, 1...
    __device__ void wait(unsigned phase) {
        const std::uint32_t address = shared_address(&state_);
        std::uint32_t done = 0;
        while (done == 0) {
#if __CUDA_ARCH__ >= 900
            asm volatile(
                "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                : "=r"(done)
                : "r"(address), "r"(phase)
                : "memory");
#else
            asm volatile(
                "{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, "
                "p;\n}"
                : "=r"(done)
                : "r"(address), "r"(phase)
                : "memory");
#endif
        }
    }

  private:
    std::uint64_t state_;
};

}  // namespace hogwild::cuda
