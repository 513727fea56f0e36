// Numbers of a softmax in base 2, and what a row's end makes of them.
#pragma once

#include <cmath>

#include "csrc/attention/mma.cuh"

namespace hogwild::cuda {

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;

// What the scores of a row have come to: exp2 of them, `top` subtracted, adds up to `sum`.
struct alignas(8) Softmax {
    float top = -INFINITY;
    float sum = 0;

    // What is subtracted from scores: anything finite where there are none.
    __device__ float base() const { return top == -INFINITY ? 0.f : top; }
};

// tanh(x / 2 log2(e)) = 1 - 2 / (exp2(x) + 1), whose error is that of the 1 whatever x is.
__device__ inline float tanh_of_half(float x) { return 1 - __fdividef(2.f, 1 + exp2_approx(x)); }

// The end of a row: what its weighted sum of values is multiplied by, and the logarithm of its denominator.
struct RowEnd {
    float factor;
    float lse;
    bool empty;  // no key was seen: the output is zero, whatever the values were

    __device__ RowEnd(const Softmax& row, const float* sink) {
        empty = row.sum == 0;
        float top = row.top;
        float sum = row.sum;
        factor = 1;
        if (sink) {
            const float score = *sink * kLog2E;
            const float both = fmaxf(top, score);
            factor = top == both ? 1.f : exp2f(top - both);
            sum = sum * factor + (score == both ? 1.f : exp2f(score - both));
            top = both;
        }
        factor = __fdividef(factor, sum);
        lse = sum == 0 ? -INFINITY : (top + __log2f(sum)) * kLn2;
    }
};

}  // namespace hogwild::cuda
