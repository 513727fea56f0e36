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
#if __CUDA_ARCH__ >= 900
#define HOGWILD_WAIT "mbarrier.try_wait.parity.shared.b64"
#else
#define HOGWILD_WAIT "mbarrier.test_wait.parity.shared.b64"
#endif
        asm volatile("{\n.reg .pred over;\nagain:\n" HOGWILD_WAIT
                     " over, [%0], %1;\n@!over bra again;\n}" ::"r"(shared_address(&state_)),
                     "r"(phase)
                     : "memory");
#undef HOGWILD_WAIT
    }

    // Arrives, and waits for all others.
    __device__ void sync() {
        std::uint64_t phase;
        asm volatile("mbarrier.arrive.shared.b64 %0, [%1];"
                     : "=l"(phase)
                     : "r"(shared_address(&state_))
                     : "memory");
        asm volatile(
            "{\n.reg .pred over;\nagain:\nmbarrier.test_wait.shared.b64 over, [%0], %1;\n"
            "@!over bra again;\n}" ::"r"(shared_address(&state_)),
            "l"(phase)
            : "memory");
    }

  private:
    std::uint64_t state_;
};

}  // namespace hogwild::cuda
