// The grid's barrier.
#pragma once

namespace cooperative_groups {

struct grid_group {
    struct arrival_token {};
    arrival_token barrier_arrive() {
        emulator::arrive_at_grid_barrier();
        return {};
    }
    void barrier_wait(arrival_token&&) { emulator::wait_at_grid_barrier(); }
};

inline grid_group this_grid() { return {}; }

}  // namespace cooperative_groups
