// Barriers between some warps of a CTA: in shared memory (mbarrier), and the numbered ones (bar.sync).
#pragma once

#include <cstdint>
#include <utility>

#include "csrc/attention/config.h"
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

  private:
    std::uint64_t state_;
};

// The number of the first barrier between warps that share a slab.
constexpr int kSlabBarrier = 2;

#ifdef HOGWILD_RACECHECK
template <int kSlab, int kWarps>
__device__ inline bool sync_slab_warps() {
    asm volatile("bar.sync %0, %1;" ::"n"(kSlabBarrier + kSlab), "n"(32 * kWarps) : "memory");
    return true;
}

template <int kWarps, int... kSlabs>
__device__ inline void sync_slab_warps(int slab, std::integer_sequence<int, kSlabs...>) {
    ((slab == kSlabs && sync_slab_warps<kSlabs, kWarps>()) || ...);
}
#endif

// The warps that share a slab wait for each other; two or more of them.
__device__ inline void sync_slab_warps(int slab, int num_warps) {
#ifdef HOGWILD_RACECHECK
    // racecheck follows barriers whose number is in the instruction, not in a register.
    using Slabs = std::make_integer_sequence<int, kMaxSlabs>;
    static_assert(kMaxSlices == 4);
    if (num_warps == 2) sync_slab_warps<2>(slab, Slabs{});
    if (num_warps == 3) sync_slab_warps<3>(slab, Slabs{});
    if (num_warps == 4) sync_slab_warps<4>(slab, Slabs{});
#else
    asm volatile("bar.sync %0, %1;" ::"r"(kSlabBarrier + slab), "r"(32 * num_warps) : "memory");
#endif
}

}  // namespace hogwild::cuda
