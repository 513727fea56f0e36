// Numbers that CTAs tell each other through device memory without meeting: each word says by itself whether
// it is there. A CTA makes its own absent before the CTAs meet for the only time, early, and who reads one
// behind that asks until it is there.
#pragma once

#include <cstdint>

#include "csrc/attention/mma.cuh"

namespace hogwild::cuda {

// A NaN that no published number is.
constexpr std::uint32_t kAbsent = ~0u;

template <int kNumbers>
struct Published {
    Words<kNumbers> words;

    // Not there yet.
    __device__ static Published absent() {
        Published all;
#pragma unroll
        for (int i = 0; i < kNumbers; ++i) all.words.at[i] = kAbsent;
        return all;
    }
    template <typename... Floats>
    __device__ static Published of(Floats... x) {
        static_assert(sizeof...(x) == kNumbers);
        return {{{min(__float_as_uint(x), kAbsent - 1)...}}};
    }

    __device__ float operator[](int i) const { return __uint_as_float(words.at[i]); }

    __device__ bool is_there() const {
        std::uint32_t most = words.at[0];
#pragma unroll
        for (int i = 1; i < kNumbers; ++i) most = max(most, words.at[i]);
        return most != kAbsent;
    }

    __device__ void store(void* to) const { store_relaxed(to, words); }
    __device__ void load(const void* from) { load_relaxed(from, words); }
};

}  // namespace hogwild::cuda
