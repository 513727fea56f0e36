// Angles of rotary embeddings, right at positions of many millions.
#pragma once

namespace hogwild::cuda {

// cos and sin of offset * inv_freq. In fp64 and in half turns: the product keeps its fraction at any offset,
// and sincospi reduces its argument exactly, without the slow path (and its stack frame) that sincos has.
__device__ inline void rotation(int offset, float inv_freq, float* cosine, float* sine) {
    constexpr double kInversePi = 0.318309886183790671537767526745028724;
    double s, c;
    sincospi(static_cast<double>(offset) * static_cast<double>(inv_freq) * kInversePi, &s, &c);
    *cosine = static_cast<float>(c);
    *sine = static_cast<float>(s);
}

}  // namespace hogwild::cuda
