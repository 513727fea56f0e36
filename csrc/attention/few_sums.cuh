// Scores, softmax and sums of the kernel for few keys.
#pragma once

#include "csrc/attention/attend.cuh"
#include "csrc/attention/few_part.cuh"
#include "csrc/attention/output.cuh"

namespace hogwild::cuda {

// By the workers: for each slab of rows and run of keys, one of them has the scores and what softmax makes of
// them; then for each slab and some dims, one has the sums over all runs.
template <typename Traits>
class FewSums {
  public:
    __device__ FewSums(const AttentionParams& params, const AttentionLaunch& launch,
                       const Tables<Traits>& tables, const FewPart<Traits>& part,
                       const FewLayout<Traits>& layout)
        : p(params), launch(launch), tables(tables), part(part), layout(layout) {}

    // From rotated queries of the part's blocks from the `first_rank`-th on, and keys, to probabilities and
    // softmaxes, for some runs of those blocks. Waits for both.
    __device__ void add_scores(int first_rank, int begin, int end) const {
        const int count = end - begin;
        const int items = launch.few.slabs * count;
        constexpr int kWorkers = Traits::kComputeWarps;
        const int each = items <= kWorkers ? 1 : (items + kWorkers - 1) / kWorkers;
        int item = few_worker() * each;
        const int end_item = min(item + each, items);
        int slab = static_cast<int>(__fdividef(item + 0.5f, count));
        int run = begin + item - slab * count;
        bool are_there = false;
#pragma unroll 1
        do {
            const int block = part.block_of(run);
            const int key = part.key_of(block, run);
            const int end_key = part.end_of(block);
            Limits seen[2];
            if (item < end_item) find_limits(slab, block, seen);
            if (!are_there) {
                wait_for_copies_but<1>();
                sync_workers<Traits>();  // rotated queries and keys are there
                are_there = true;
            }
            if (item < end_item) {
                const unsigned char* const queries =
                    layout.queries(part.rank_of(block) - first_rank) + slab * Traits::kSlabBytes;
                score(shared_address(queries), seen, key, end_key, slab, run);
            }
            if (++run == end) {
                run = begin;
                ++slab;
            }
        } while (++item < end_item);
    }

    // The weighted sums of values, to where they are merged.
    __device__ void write(const Partials<Traits>& partials) const {
        const int count = part.num_runs();
        constexpr int kSteps = kDimSteps % 2 == 0 ? 2 : 1;  // of 16 dims each
        constexpr int kParts = kDimSteps / kSteps;
        const int lane = threadIdx.x % 32;
#pragma unroll 1
        for (int index = few_worker(); index < kParts * launch.few.slabs; index += Traits::kComputeWarps) {
            const int slab = index / kParts;
            const int first_step = index % kParts * kSteps;
            const Softmax* const softmax = layout.softmaxes(slab, 0) + lane / 4;
            Softmax all[2];
#pragma unroll 2
            for (int i = 0; i < count; ++i) {
#pragma unroll
                for (int row = 0; row < 2; ++row) {
                    all[row].top = fmaxf(all[row].top, softmax[i * kSlab + 8 * row].top);
                }
            }
            float out[kSteps][2][4] = {};
            const std::uint32_t values = layout.values(0) + Traits::offset(lane % 16, lane / 16);
#pragma unroll 2
            for (int i = 0; i < count; ++i) {
                const uint4 a = *layout.probabilities(slab, i);
                const std::uint32_t weights[4] = {a.x, a.y, a.z, a.w};
                float factor[2];
#pragma unroll
                for (int row = 0; row < 2; ++row) {
                    const Softmax one = softmax[i * kSlab + 8 * row];
                    factor[row] = exp2_approx(one.top - all[row].base());
                    all[row].sum += one.sum * factor[row];
                }
#pragma unroll
                for (int step = 0; step < kSteps; ++step) {
                    std::uint32_t b[4];
                    load_matrices_transposed(
                        b, Traits::at_step(values, first_step + step) + i * kRun * Traits::kRowBytes);
                    float sums[2][4] = {};
                    multiply_add<T>(sums[0], weights, b[0], b[1]);
                    multiply_add<T>(sums[1], weights, b[2], b[3]);
#pragma unroll
                    for (int j = 0; j < 8; ++j) {
                        out[step][j / 4][j % 4] += sums[j / 4][j % 4] * factor[j / 2 % 2];
                    }
                }
            }
#pragma unroll
            for (int row = 0; row < 2; ++row) {
                const int to_row = slab * kSlab + SlabRows::of_thread(row);
                if (to_row >= launch.few.rows.divisor()) break;
                const int cta = launch.head_ctas.remainder(opaque(blockIdx.x));
                const int place = partials.place(to_row, blockIdx.x, cta == 0);
                float* const sums = partials.sums(place) + 16 * first_step + lane % 4 * 2;
#pragma unroll
                for (int n = 0; n < 2 * kSteps; ++n) {
                    const float (&x)[4] = out[n / 2][n % 2];
                    Published<2>::of(x[2 * row], x[2 * row + 1]).store(sums + 8 * n);
                }
                if (first_step == 0 && lane % 4 == 0) {
                    Published<2>::of(all[row].top, all[row].sum).store(partials.softmax(place));
                }
            }
        }
    }

  private:
    using T = typename Traits::T;
    static constexpr int kDimSteps = Traits::kDimSteps;

    // What the thread's rows of a slab see of a block. Rows that do not exist, and those of padding, see
    // nothing.
    __device__ void find_limits(int slab, int block, Limits (&seen)[2]) const {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = slab * kSlab + SlabRows::of_thread(i);
            const int token = launch.ratio.quotient(min(row, launch.few.rows.divisor() - 1));
            seen[i] = {0, -1};
            if (row >= launch.few.rows.divisor() || token < part.first_token ||
                token >= part.first_token + part.num_tokens) {
                continue;
            }
            const int position = tables.query_pos(token, block);
            if (p.window > 0) seen[i].first = max(position - p.window + 1, 0);
            seen[i].last =
                tables.own_block(token) == block ? min(position, tables.rotary_pos(token)) : position;
        }
    }

    __device__ void score(std::uint32_t queries, const Limits (&seen)[2], int key, int end_key, int slab,
                          int run) const {
        const int lane = threadIdx.x % 32;
        // Sums of even steps and of odd ones: each waits for half as many others.
        float sums[2][2][4] = {};
        const std::uint32_t rows = queries + Traits::offset(lane % 16, lane / 16);
        const std::uint32_t keys = layout.keys(run) + Traits::offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
        for (int step = 0; step < kDimSteps; ++step) {
            std::uint32_t a[4], b[4];
            load_matrices(a, Traits::at_step(rows, step));
            load_matrices(b, Traits::at_step(keys, step));
            multiply_add<T>(sums[step % 2][0], a, b[0], b[1]);
            multiply_add<T>(sums[step % 2][1], a, b[2], b[3]);
        }
        std::uint32_t weights[4];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            // Counted from the first key of the lane's.
            const int start = key + lane % 4 * 2;
            const int first = seen[row].first - start;
            const int last = min(seen[row].last, end_key - 1) - start;
            float s[4];
            Softmax softmax;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int j = i / 2 * 8 + i % 2;  // of the keys
                const int at = 2 * row + i % 2;
                s[i] = (sums[0][i / 2][at] + sums[1][i / 2][at]) * launch.score_factor;
                if (j < first || j > last) s[i] = -INFINITY;
                softmax.top = fmaxf(softmax.top, s[i]);
            }
            softmax.top = fmaxf(softmax.top, __shfl_xor_sync(~0u, softmax.top, 1));
            softmax.top = fmaxf(softmax.top, __shfl_xor_sync(~0u, softmax.top, 2));
            const float base = softmax.base();
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                s[i] = exp2_approx(s[i] - base);
                softmax.sum += s[i];
            }
            weights[row] = pack<T>(s[0], s[1]);
            weights[2 + row] = pack<T>(s[2], s[3]);
            softmax.sum += __shfl_xor_sync(~0u, softmax.sum, 1);
            softmax.sum += __shfl_xor_sync(~0u, softmax.sum, 2);
            if (lane % 4 == 0) layout.softmaxes(slab, run)[SlabRows::of_thread(row)] = softmax;
        }
        *layout.probabilities(slab, run) = make_uint4(weights[0], weights[1], weights[2], weights[3]);
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const Tables<Traits>& tables;
    const FewPart<Traits>& part;
    const FewLayout<Traits>& layout;
};

}  // namespace hogwild::cuda
