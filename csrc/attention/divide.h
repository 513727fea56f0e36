// Division by a number that is known before the launch, by a multiplication.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define HOGWILD_HOST_DEVICE __host__ __device__
#else
#define HOGWILD_HOST_DEVICE
#endif

namespace hogwild::cuda {

class Divisor {
  public:
    Divisor() = default;
    // 1 to 2^30.
    explicit Divisor(int divisor) : divisor_(divisor) {
        while ((1u << shift_) < static_cast<unsigned>(divisor)) ++shift_;
        const std::uint64_t power = std::uint64_t{1} << (31 + shift_);
        multiplier_ = static_cast<std::uint32_t>((power + divisor - 1) / divisor);
    }

    HOGWILD_HOST_DEVICE int divisor() const { return divisor_; }

    // Of dividends from 0 to 2^31 - 1.
    HOGWILD_HOST_DEVICE int quotient(int dividend) const {
        return static_cast<int>(std::uint64_t{static_cast<std::uint32_t>(dividend)} * multiplier_ >>
                                (31 + shift_));
    }
    HOGWILD_HOST_DEVICE int remainder(int dividend) const { return dividend - quotient(dividend) * divisor_; }

  private:
    int divisor_ = 1;
    std::uint32_t multiplier_ = 1u << 31;  // 2^(31 + shift) / divisor, rounded up
    int shift_ = 0;
};

}  // namespace hogwild::cuda
