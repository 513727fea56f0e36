// A barrier of all CTAs of a launch, in two halves.
#pragma once

#include <cooperative_groups.h>

namespace hogwild::cuda {

// Each half by all threads of a CTA, once; each is a barrier of the CTA as well. A CTA that needs nothing of
// the others may leave the second out. Thread 0 is busy with the first for as long as a trip to L2 takes.
class GridBarrier {
  public:
    __device__ explicit GridBarrier(int num_ctas) : is_alone(num_ctas == 1) {}

    // What this CTA's threads have written so far is seen by all behind the barrier.
    __device__ void arrive() {
        if (is_alone) {
            __syncthreads();
        } else {
            token = cooperative_groups::this_grid().barrier_arrive();
        }
    }
    __device__ void wait() {
        if (is_alone) {
            __syncthreads();
        } else {
            cooperative_groups::this_grid().barrier_wait(static_cast<Token&&>(token));
        }
    }

  private:
    using Token = cooperative_groups::grid_group::arrival_token;
    const bool is_alone;
    Token token;
};

}  // namespace hogwild::cuda
