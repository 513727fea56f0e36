// hogwild::attention in plain loops of fp64, with the error that a result in the dtype may have.
//
// The bounds. A right kernel rounds, in the dtype, the rotated query, the probabilities and the output, and
// sums in fp32. Rounding changes a number x by at most unit * |x|, up or down alike, so a sum of rounded
// terms is not off by the sum of its terms' errors but, as Hoeffding has it, by more than kSigmas times their
// root sum of squares only once in 10^7 sums even if each were as large as can be; as they are smaller,
// practically never. To first order:
//
//   score j:  s_j is off by kSigmas * e_j,      e_j^2 = scale^2 * sum_d ((unit * q_d)^2 + fp32 sum) k_jd^2
//   lse:      sum_j p_j ds_j, and all ds_j come from the same rounded query: off by kSigmas * sum_j p_j e_j
//   out_d:    sum_j p_j ds_j (v_jd - out_d) and sum_j p_j r_j v_jd with |r_j| <= unit. The values, of random
//   sign,
//             make the terms independent: off by kSigmas * sqrt(sum_j p_j^2 (e_j^2 + unit^2) (|v_jd| +
//             |out_d|)^2), and by unit * |out_d| when it is stored.
//
// So in a mean of n values the bound shrinks with sqrt(n), and one key too many or too few among a thousand
// is seen.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "attention_case.h"

namespace hogwild {

constexpr double kSigmas = 6;

struct Rounding {
    double unit;       // half the distance of 1 to the next number
    double subnormal;  // half the distance of the numbers around 0
};

inline Rounding rounding(DType dtype) {
    switch (dtype) {
        case DType::kBFloat16:
            return {0x1p-9, 0x1p-134};
        case DType::kFloat16:
            return {0x1p-11, 0x1p-25};
        case DType::kFloat32:
            break;
    }
    return {0x1p-24, 0x1p-150};
}

// A sum of n terms in fp32, relative to their root sum of squares: tensor cores take 16 terms at a time and
// cut off what does not fit.
inline double fp32_sum(int n) { return 0x1p-22 * (1 + n / 16.0); }

struct Expected {
    std::vector<double> out, out_bound;  // [T, H, Dv]
    std::vector<double> lse, lse_bound;  // [T, H]
};

class AttentionReference {
  public:
    explicit AttentionReference(const AttentionCase& c) : c_(c), p_(c.params) {
        const std::size_t rows = std::size_t(p_.num_tokens) * p_.num_heads;
        expected_.out.resize(rows * p_.cache.value_dim);
        expected_.out_bound.resize(rows * p_.cache.value_dim);
        expected_.lse.resize(rows);
        expected_.lse_bound.resize(rows);
        std::vector<int> group_of(p_.num_tokens, -1);
        for (int group = 0; group < p_.num_groups; ++group)
            std::fill(&group_of[0] + c.group_tokens[group], &group_of[0] + c.group_tokens[group + 1], group);
        const cpu::Parallel threads = all_threads();
        threads.run(threads.num_threads, [&](int thread) {
            for (std::size_t row = thread; row < rows; row += threads.num_threads) {
                const int token = static_cast<int>(row / p_.num_heads);
                attend(group_of[token], token, static_cast<int>(row % p_.num_heads));
            }
        });
    }

    const Expected& expected() const { return expected_; }

  private:
    struct Seen {
        std::int64_t row;  // of k and v
        double score;
        double error;
    };

    // The query as a block sees it, and the square of what is uncertain in each element.
    struct Query {
        std::vector<double> value, variance;
    };

    Query query(int token, int head, std::size_t entry) const {
        const RotaryDims& rotary = p_.rotary;
        const Rounding round = rounding(p_.dtype);
        Query query;
        for (int d = 0; d < p_.cache.head_dim; ++d)
            query.value.push_back(c_.q[token * p_.q_token_stride + head * p_.q_head_stride + d]);
        query.variance.assign(p_.cache.head_dim, 0);
        const float* cosines = c_.rotation.data() + entry * 2 * rotary.half;
        for (int i = 0; i < rotary.half; ++i) {
            const int x = rotary.start + (rotary.interleaved ? 2 * i : i);
            const int y = rotary.interleaved ? x + 1 : x + rotary.half;
            const double a = query.value[x], b = query.value[y];
            const double cosine = cosines[i], sine = cosines[rotary.half + i];
            query.value[x] = a * cosine - b * sine;
            query.value[y] = a * sine + b * cosine;
            for (const int d : {x, y}) {
                const double error =
                    round.unit * std::abs(query.value[d]) + round.subnormal + 0x1p-22 * std::hypot(a, b);
                query.variance[d] = error * error;
            }
        }
        const double sum = fp32_sum(p_.cache.head_dim);
        for (int d = 0; d < p_.cache.head_dim; ++d)
            query.variance[d] += sum * sum * query.value[d] * query.value[d];
        return query;
    }

    void attend(int group, int token, int head) {
        const std::size_t row = std::size_t(token) * p_.num_heads + head;
        const double sink = c_.sinks.empty() ? -INFINITY : c_.sinks[head];
        std::vector<Seen> seen;
        if (group >= 0) {
            for (int column = 0; column < c_.group_blocks[group + 1] - c_.group_blocks[group]; ++column)
                look_at(c_.group_blocks[group] + column, column, token, head, seen);
        }
        double largest = sink;
        for (const Seen& key : seen) largest = std::max(largest, key.score);
        double denominator = seen.empty() ? 0 : std::exp(sink - largest);
        for (const Seen& key : seen) denominator += std::exp(key.score - largest);
        const double lse = seen.empty() ? sink : largest + std::log(denominator);
        expected_.lse[row] = lse;
        expected_.lse_bound[row] = std::isfinite(lse) ? 1e-5 * std::max(1.0, std::abs(lse)) : 0;
        if (!seen.empty()) average(seen, row, largest, denominator);
    }

    // The visible keys of a block, with their scores.
    void look_at(int block, int column, int token, int head, std::vector<Seen>& seen) const {
        const std::size_t entry = std::size_t(token) * p_.num_columns + column;
        const std::int64_t position = c_.query_pos[entry];
        std::int64_t end = std::min<std::int64_t>(c_.block_lens[block], position + 1);
        if (c_.own_block[token] == column) end = std::min<std::int64_t>(end, c_.rotary_pos[token] + 1);
        const std::int64_t begin = p_.window > 0 ? std::max<std::int64_t>(0, position - p_.window + 1) : 0;
        if (begin >= end) return;
        const Query q = query(token, head, entry);
        for (std::int64_t key = begin; key < end; ++key) {
            const std::int64_t row =
                c_.key_row(block, static_cast<int>(key), head / (p_.num_heads / p_.cache.num_kv_heads));
            const float* k = &c_.k[row * p_.cache.head_dim];
            double product = 0, variance = 0;
            for (int d = 0; d < p_.cache.head_dim; ++d) {
                product += q.value[d] * k[d];
                variance += q.variance[d] * k[d] * k[d];
            }
            double score = product * p_.scale;
            // The exponential is taken in fp32: of the score before and after the softcap.
            double error = std::abs(p_.scale) * std::sqrt(variance) + 0x1p-22 * (1 + std::abs(score));
            if (p_.softcap > 0) {
                score = std::tanh(score / p_.softcap) * p_.softcap;
                error += 0x1p-20 * p_.softcap;
            }
            seen.push_back({row, score, error});
        }
    }

    void average(const std::vector<Seen>& seen, std::size_t row, double largest, double denominator) {
        const int dim = p_.cache.value_dim;
        const Rounding round = rounding(p_.dtype);
        const double sum = fp32_sum(static_cast<int>(seen.size()));
        double* out = &expected_.out[row * dim];
        double* bound = &expected_.out_bound[row * dim];
        double variance = 0, score_error = 0;
        for (const Seen& key : seen) {
            const double weight = std::exp(key.score - largest) / denominator;
            // A probability is stored relative to the largest, so that of a small one less is left.
            const double error =
                weight * std::hypot(key.error, round.unit, sum) + round.subnormal / denominator;
            score_error += weight * key.error;
            variance += error * error;
            const float* v = &c_.v[key.row * dim];
            for (int d = 0; d < dim; ++d) {
                out[d] += weight * v[d];
                bound[d] += error * error * v[d] * v[d];
            }
        }
        for (int d = 0; d < dim; ++d) {
            // (|v| + |out|)^2 is at most twice the sum of the squares.
            bound[d] = kSigmas * std::sqrt(2 * (bound[d] + variance * out[d] * out[d])) +
                       (round.unit + sum) * std::abs(out[d]) + round.subnormal;
        }
        expected_.lse_bound[row] += kSigmas * score_error;
    }

    const AttentionCase& c_;
    const AttentionParams& p_;
    Expected expected_;
};

}  // namespace hogwild
