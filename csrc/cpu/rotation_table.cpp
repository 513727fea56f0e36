#include <cmath>

#include "csrc/cpu/ops.h"

namespace hogwild::cpu {

void rotation_table(const RotationTableParams& params, const Parallel& parallel) {
    const int64_t rows = int64_t{params.num_tokens} * params.num_columns;
    for_ranges(parallel, rows, 32, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t query_pos = params.query_pos[row];
            const int64_t offset =
                query_pos < 0 ? 0 : query_pos - params.rotary_pos[row / params.num_columns];
            float* cos_row = params.table + row * 2 * params.half;
            float* sin_row = cos_row + params.half;
            for (int pair = 0; pair < params.half; ++pair) {
                // In fp64: at an offset of a million an fp32 angle is off by a twentieth of a radian.
                const double angle = static_cast<double>(offset) * static_cast<double>(params.inv_freq[pair]);
                cos_row[pair] = static_cast<float>(std::cos(angle));
                sin_row[pair] = static_cast<float>(std::sin(angle));
            }
        }
    });
}

}  // namespace hogwild::cpu
