// What an attention call has returned, beside what it should have.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "attention_case.h"
#include "attention_reference.h"
#include "cuda_check.h"

namespace hogwild {

struct Result {
    std::vector<unsigned char> out;  // as in memory, so that bits can be compared
    std::vector<float> lse;
};

inline bool same_bits(const Result& a, const Result& b) {
    return same_bits(a.out, b.out) && same_bits(a.lse, b.lse);
}

// The largest error of one array in units of its bound; what is not within its bound is told, once. NaNs are
// to be where they are expected.
inline double compare(const char* array, const std::vector<float>& actual,
                      const std::vector<double>& expected, const std::vector<double>& bound,
                      const std::string& name) {
    std::size_t wrong = 0, first = 0;
    double largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        if (actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i]))) continue;
        const double error = std::abs(actual[i] - expected[i]) / bound[i];
        if (error <= 1) {
            largest = std::max(largest, error);
        } else if (wrong++ == 0) {
            first = i;
        }
    }
    EXPECT(wrong == 0, "%s: %zu of %zu elements of %s are off; the first, %zu, is %g, not %g within %g",
           name.c_str(), wrong, expected.size(), array, first, actual[first], expected[first], bound[first]);
    return largest;
}

inline double compare(const Result& result, const Expected& expected, DType dtype, const std::string& name) {
    return std::max(compare("out", from_memory(result.out, dtype), expected.out, expected.out_bound, name),
                    compare("lse", result.lse, expected.lse, expected.lse_bound, name));
}

}  // namespace hogwild
