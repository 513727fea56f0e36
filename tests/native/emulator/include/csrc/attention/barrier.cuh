// In place of the barriers of csrc/attention/barrier.cuh.
#pragma once

#include <cstdint>

#include "csrc/attention/mma.cuh"

namespace hogwild::cuda {

class Barrier {
  public:
    void init(int arrivals) {
        arrivals_ = missing_ = static_cast<std::int16_t>(arrivals);
        phase_ = 0;
    }
    void arrive() {
        if (--missing_ > 0) return;
        missing_ = arrivals_;
        phase_ ^= 1;
    }
    void arrive_after_copies() {
        wait_for_copies();
        arrive();
    }
    void wait(unsigned phase) { emulator::wait_while(phase_, phase); }
    void sync() {
        const unsigned phase = phase_;
        arrive();
        wait(phase);
    }

  private:
    std::int16_t arrivals_, missing_;
    std::uint32_t phase_;
};
static_assert(sizeof(Barrier) == 8);  // as the device's

}  // namespace hogwild::cuda
