// Where what is in shared memory.
#pragma once

#include "csrc/attention/ring.cuh"
#include "csrc/attention/traits.cuh"

namespace hogwild::cuda {

// What has the same place in all launches is in front: addresses that the compiler knows take no registers.
// Tiles begin at a multiple of 1024 bytes, as their swizzle wants it.
constexpr int kTilesAt = (sizeof(RingMemory) + sizeof(PlanMemory) + 1023) / 1024 * 1024;

// Of the kernel for few keys: it has a plan alone in front of them.
constexpr int kFewKeysAt = (sizeof(PlanMemory) + 1023) / 1024 * 1024;

// A place of the ring.
template <typename Traits>
__device__ inline unsigned char* tile_at(const RingPlace& place) {
    return shared_memory + kTilesAt + place.index() * Traits::kTileBytes;
}

// Behind the ring: slabs of rotated queries, where slices are added too; the queries of segments; the
// rotation of the first piece; units; the call's integers.
template <typename Traits>
class SharedLayout {
  public:
    __device__ explicit SharedLayout(const AttentionLaunch& launch) : launch(launch) {}

    __device__ static RingMemory& ring() { return *reinterpret_cast<RingMemory*>(shared_memory); }
    __device__ static PlanMemory& memory() { return *reinterpret_cast<PlanMemory*>(&ring() + 1); }
    __device__ unsigned char* slabs() const {
        return shared_memory + kTilesAt + launch.ring_slots * Traits::kTileBytes;
    }
    __device__ unsigned char* queries() const { return shared_memory + launch.queries_at; }
    __device__ unsigned char* first_angles() const { return shared_memory + launch.first_angles_at; }
    __device__ Unit* units() const { return reinterpret_cast<Unit*>(shared_memory + launch.units_at); }
    __device__ int* staged() const { return reinterpret_cast<int*>(shared_memory + launch.staged_at); }

  private:
    const AttentionLaunch& launch;
};

// Sets the places in a launch and how many bytes there are in all. `first_angles` are the bytes of that
// rotation.
inline void lay_out(int head_dim, int first_angles, AttentionLaunch* launch) {
    const int slabs_at = kTilesAt + launch->ring_slots * tile_bytes(head_dim);
    launch->queries_at =
        slabs_at + launch->num_slabs * launch->slab_stride + launch->shared_slabs * slab_bytes(head_dim);
    launch->first_angles_at =
        launch->queries_at + launch->query_buffers * launch->max_rows * row_bytes(head_dim);
    launch->units_at = launch->first_angles_at + first_angles;
    launch->staged_at = launch->units_at + static_cast<int>(sizeof(Unit)) * launch->max_units;
    launch->shared_bytes = launch->staged_at + sizeof(std::int32_t) * launch->staged_ints;
}

// The same of the kernel for few keys, of whose CTAs none has more runs.
inline void lay_out_few(int head_dim, int runs, int num_pages, AttentionLaunch* launch) {
    FewKeys& few = launch->few;
    few.runs = runs;
    launch->queries_at = kFewKeysAt + 2 * runs * kRun * row_bytes(head_dim);
    few.probabilities_at = launch->queries_at + few.blocks * few.slabs * slab_bytes(head_dim);
    few.softmaxes_at = few.probabilities_at + few.slabs * runs * 32 * static_cast<int>(sizeof(uint4));
    few.pages_at = few.softmaxes_at + few.slabs * runs * kSlab * static_cast<int>(sizeof(Softmax));
    launch->staged_at = few.pages_at + static_cast<int>(sizeof(std::int32_t)) * num_pages;
    launch->shared_bytes = launch->staged_at + sizeof(std::int32_t) * launch->staged_ints;
}

}  // namespace hogwild::cuda
