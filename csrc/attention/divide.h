// Division by a number that is known before the launch, by a multiplication.
#pragma once

#include <cstdint>

namespace hogwild::cuda {

class Divisor {
  public:
    Divisor() = default;
    // Of dividends from 0 to 2^31 - 1.
    explicit Divisor(int divisor) : divisor_(divisor) {
        while ((1u << shift_) < static_cast<unsigned>(divisor)) ++shift_;
        const std::uint64_t power = std::uint64_t{1} << (31 + shift_);
        multiplier_ = static_cast<std::uint32_t>((power + divisor - 1) / divisor);
    }

#ifdef __CUDACC__
    __device__ int divisor() const { return divisor_; }
    __device__ int quotient(int dividend) const {
        const unsigned product = __umulhi(static_cast<unsigned>(dividend), multiplier_);
        return divisor_ == 1 ? dividend : static_cast<int>(product >> (shift_ - 1));
    }
    __device__ int remainder(int dividend) const { return dividend - quotient(dividend) * divisor_; }
#endif

  private:
    int divisor_ = 1;
    std::uint32_t multiplier_ = 0;
    int shift_ = 0;
};

}  // namespace hogwild::cuda
