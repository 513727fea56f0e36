// The kernel: plan, pipeline over the tiles of a CTA's pieces, reduction over splits. docs/kernel.md explains
// it.
#pragma once

#include "csrc/attention/attention.h"
#include "csrc/attention/computation.cuh"
#include "csrc/attention/lister.cuh"
#include "csrc/attention/merge.cuh"
#include "csrc/attention/prefetch.cuh"
#include "csrc/attention/session.cuh"

namespace hogwild::cuda {

// What is done piece by piece, by two kinds of warps, each with loops of its own, so that neither keeps the
// other's registers. Each round is a list of pieces; `listed` and `list_free` hand it over and back.
template <typename Traits>
__device__ inline void run_pipeline(const Cta<Traits>& cta) {
    const int warp = threadIdx.x / 32;
    RingPlace place;  // of the list's first item
    unsigned phase = 0;
    if (warp < Traits::kComputeWarps) {
        Computation<Traits> computation(cta);
        prefetch_keys<Traits>(cta.p, cta.launch, cta.plan.tables);
        while (true) {
            cta.ring.listed.wait(phase);
            place = computation.use_all(place);
            if (!cta.memory.more_pieces) break;
            phase = cta.memory.num_lists % 2;
            cta.ring.list_free.arrive();
        }
    } else {
        Copier<Traits> copier(cta.p, cta.launch, cta.memory, cta.ring, cta.layout.queries());
        Lister<Traits> lister(cta.p, cta.launch, cta.plan, cta.memory);
        if (warp == Traits::kPlanningWarp) lister.begin();
        while (true) {
            if (warp == Traits::kPlanningWarp) {
                cta.ring.list_free.wait(phase ^ 1);  // at first, the phase before counts as over
                lister.list();
                cta.ring.listed.arrive();  // by each lane, for what it has written itself
            }
            cta.ring.listed.wait(phase);
            place = copier.copy_all(place, warp - Traits::kComputeWarps);
            if (!cta.memory.more_pieces) break;
            phase = cta.memory.num_lists % 2;
            cta.ring.list_free.arrive();
        }
    }
}

// The same where there is one list.
template <typename Traits>
__device__ inline void run_session(const Cta<Traits>& cta) {
    const int warp = threadIdx.x / 32;
    if (warp < Traits::kComputeWarps) {
        SessionComputation<Traits> computation(cta);
        prefetch_keys<Traits>(cta.p, cta.launch, cta.plan.tables);
        computation.run();
    } else {
        if (warp == Traits::kPlanningWarp) {
            list_session(cta.p, cta.launch, cta.plan, cta.memory);
            cta.ring.listed.arrive();  // by each lane, for what it has written itself
        }
        cta.ring.listed.wait(0);
        Copier<Traits> copier(cta.p, cta.launch, cta.memory, cta.ring, cta.layout.queries());
        copier.copy_all({}, warp - Traits::kComputeWarps);
    }
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, 1)
    attention_kernel(const __grid_constant__ AttentionParams p,
                     const __grid_constant__ AttentionLaunch launch,
                     const __grid_constant__ StagedArrays arrays, void* workspace) {
    const SharedLayout<Traits> layout(launch);
    RingMemory& ring = layout.ring();
    PlanMemory& memory = layout.memory();

    const int warp = threadIdx.x / 32;
    Plan<Traits> plan(p, launch, memory, layout.units(), layout.staged());
    GridBarrier barrier(launch.num_ctas.divisor());
    plan.make(
        arrays,
        [&] {
            if (Traits::kOneSession && warp < Traits::kComputeWarps)
                clear_partials<Traits>(p, launch, workspace);
            ring.init<Traits>(launch.ring_slots);
            if (warp != Traits::kPlanningWarp) prefetch_tables(p, launch);
        },
        [&] { Traits::kOneSession ? barrier.arrive() : __syncthreads(); });
    const Cta<Traits> cta{p, launch, plan, layout, workspace};
    if constexpr (Traits::kOneSession) {
        run_session(cta);
    } else {
        run_pipeline(cta);
    }

    // Each warp merges a part of a row. Which splits it has is looked up by the copying warp that does not
    // plan, since those are there before the others; with one session, by each.
    const RowMerge<Traits> merge(p, launch, plan, memory, workspace);
    const int lane = threadIdx.x % 32;
    if (!Traits::kOneSession && warp == Traits::kWarps - 1 && lane < Traits::kWarps) {
        merge.find_first(lane, &ring.found[lane]);
    }
    merge.merge_all(ring.found, barrier);
}

}  // namespace hogwild::cuda
