// Attention over few keys: all that a CTA reads has room in shared memory, and is asked for in one burst.
#pragma once

#include <cstdint>

#include "csrc/attention/copier.cuh"
#include "csrc/attention/merge.cuh"

namespace hogwild::cuda {

// The part of one CTA where a call of one session has so few keys that no CTA has more than launch.burst_runs
// runs of them. Entering a block costs next to nothing here, so the runs of a kv head are divided evenly
// among its CTAs. There is no ring, no list and no warp that only copies: all warps ask for keys, then for
// values; then for each slab some of them have the scores of some of the runs, and for each slab and 16 dims
// one has the sums over all runs. By all threads.
template <typename Traits>
class Burst {
  public:
    static constexpr bool kExists = Traits::kHeadDim <= 128;

    __device__ Burst(const AttentionParams& params, const AttentionLaunch& launch, const Plan& plan)
        : p(params), launch(launch), plan(plan), lane(threadIdx.x % 32), warp(threadIdx.x / 32) {}

    // Whether all CTAs' parts are small enough. A lane a block.
    __device__ bool fits() {
        const Tables& tables = plan.tables;
        first_token = tables.staged_group_tokens()[0];
        num_tokens = tables.staged_group_tokens()[1] - first_token;
        first_block = tables.staged_group_blocks()[0];
        KeyRange keys{0, 0};
        if (lane < tables.staged_group_blocks()[1] - first_block) {
            const int* position = tables.staged_query_pos() + first_token * p.num_columns + lane;
            keys = plan.seen(tables.staged_block_lens()[first_block + lane], num_tokens,
                             [&](int t) { return position[t * p.num_columns]; });
        }
        first_key = keys.begin;
        end_key = keys.end;
        runs = keys.runs();
        all_runs = __reduce_add_sync(~0u, runs);
        const int ctas = launch.head_ctas.divisor();
        return all_runs > 0 && launch.head_ctas.quotient(all_runs + ctas - 1) <= launch.burst_runs;
    }

    __device__ void run(void* workspace) {
        take_part();
        if (begin == end) return;
        ask();
        add_scores(Role(warp, num_slabs(num_rows())));
        add_values(Partials<Traits>(launch, workspace));
    }

    // What merging has to know: how the line has been cut, and which CTAs have parts of the warp's row.
    __device__ void tell(const RowMerge<Traits>& merge, PlanMemory& memory, SplitRow* found) const {
        if (threadIdx.x == 0) {
            plan.units[0] = {0, 0, num_rows(), all_runs, 0};
            memory.num_units = 1;
            memory.line = Line(all_runs * p.cache.num_kv_heads, launch.num_ctas);
        }
        const int output = merge.first_row(warp);
        SplitRow row{output, 0, 0, 0};
        const int token = launch.num_heads.quotient(output) - first_token;
        if (token >= 0 && token < num_tokens) {  // others are padding
            const int query_head = launch.num_heads.remainder(output);
            const int kv_head = launch.ratio.quotient(query_head);
            row.num_splits = num_splits();
            row.first_cta = kv_head * row.num_splits;
            row.row = token * launch.ratio.divisor() + query_head - kv_head * launch.ratio.divisor();
        }
        if (lane == 0) found[warp] = row;
        __syncwarp();
    }

  private:
    using T = typename Traits::T;
    static constexpr int kRunBytes = kRun * Traits::kRowBytes;
    static constexpr int kDimSteps = Traits::kDimSteps;
    static constexpr int kMostRunsOfWarp = most_runs_of_warp(Traits::kHeadDim);
    static constexpr int kOctets = Traits::kHeadDim / 8;

    // A warp's slab, and which of the runs are its own: slice, slice + slices, ...
    struct Role {
        int slab, slice, slices;

        __device__ Role(int warp, int slabs) {
            slices = slabs == 3 ? Traits::kWarps / 3 : Traits::kWarps >> (slabs >> 1);
            slice = slabs == 3 ? static_cast<int>(static_cast<unsigned>(warp) / 3) : warp >> (slabs >> 1);
            slab = warp - slice * slabs;
        }
        __device__ bool active() const { return slice < slices; }
    };
    static_assert(kMostBurstSlabs == 4);

    struct Run {
        int block;  // of the group
        int key;
        int end;  // of the block's keys that are seen
    };

    __device__ int num_rows() const { return num_tokens * launch.ratio.divisor(); }
    __device__ int num_splits() const { return min(all_runs, launch.head_ctas.divisor()); }

    // The part's kv head.
    __device__ int head() const {
        const int index = opaque(blockIdx.x);
        return all_runs < launch.head_ctas.divisor() ? static_cast<int>(__fdividef(index + 0.5f, all_runs))
                                                     : launch.head_ctas.quotient(index);
    }

    // As Line cuts it, but with no division by what is known only here: with fewer runs than CTAs of a head,
    // the first CTAs have one each.
    __device__ void take_part() {
        const int ctas = launch.head_ctas.divisor();
        const int kv_head = head();
        const int cta = blockIdx.x - kv_head * num_splits();
        if (all_runs < ctas) {
            begin = cta;
            end = cta + (kv_head < p.cache.num_kv_heads);
        } else {
            begin = launch.head_ctas.quotient(cta * all_runs);
            end = launch.head_ctas.quotient((cta + 1) * all_runs);
        }
        last_run = inclusive_sum(runs);
        first_key -= (last_run - runs) * kRun;
    }

    // The block of the part's i-th run.
    __device__ int block_of(int i) const { return __popc(__ballot_sync(~0u, last_run <= begin + i)); }
    __device__ Run run_of(int block, int i) const {
        return {block, __shfl_sync(~0u, first_key, block) + (begin + i) * kRun,
                __shfl_sync(~0u, end_key, block)};
    }

    // As the parts of the kernel that this shares want it.
    __device__ Piece segment() const {
        Piece piece{};
        piece.head = head();
        piece.first_token = first_token;
        piece.num_rows = num_rows();
        piece.slabs = num_slabs(num_rows());
        return piece;
    }

    // Shared memory.
    __device__ std::uint32_t keys(int run) const { return shared_address(shared_memory) + run * kRunBytes; }
    __device__ std::uint32_t values(int run) const { return keys(launch.burst_runs + run); }
    __device__ unsigned char* queries() const { return shared_memory + 2 * launch.burst_runs * kRunBytes; }
    __device__ unsigned char* angles() const { return queries() + launch.burst_slabs * Traits::kSlabBytes; }
    __device__ Softmax* softmaxes() const {  // of each warp's rows
        return reinterpret_cast<Softmax*>(shared_memory + launch.burst_bytes) - Traits::kWarps * kSlab;
    }
    // Where keys were: the probabilities of a slab and run, four registers of each lane as mma wants its A.
    __device__ uint4* probabilities(int slab, int run) const {
        return reinterpret_cast<uint4*>(shared_memory) + (slab * launch.burst_runs + run) * 32 + lane;
    }

    // Asks for everything, in the order of its use.
    __device__ void ask() {
        // The runs that the warp asks for, a lane each, and their pages.
        Run mine{};
        const int count = (end - begin - warp + Traits::kWarps - 1) / Traits::kWarps;
#pragma unroll 1
        for (int i = 0; i < count; ++i) {
            const int index = warp + i * Traits::kWarps;
            const Run of = run_of(block_of(index), index);
            if (lane == i) mine = of;
        }
        int page = 0;
        if (lane < count) {
            page = __ldg(p.block_table + std::int64_t{first_block + mine.block} * p.max_pages +
                         (mine.key >> log2_of(p.cache.page_size)));
        }
        ask_for_queries();
        commit_copies();
        const int kv_head = head();
        const std::int64_t row = (std::int64_t{page} * p.cache.num_kv_heads + kv_head) * p.cache.page_size +
                                 (mine.key & (p.cache.page_size - 1));
#pragma unroll 1
        for (int pass = 0; pass < 2; ++pass) {
            const T* const from = static_cast<const T*>(pass == 0 ? p.cache.k : p.cache.v);
            const std::uint32_t to = pass == 0 ? keys(warp) : values(warp);
#pragma unroll 1
            for (int i = 0; i < count; ++i) {
                ask_for_run(to + i * Traits::kWarps * kRunBytes,
                            from + __shfl_sync(~0u, row, i) * Traits::kHeadDim,
                            __shfl_sync(~0u, mine.end - mine.key, i));
            }
            commit_copies();
        }
    }

    // The queries, and their rotations for the blocks of the part.
    __device__ void ask_for_queries() {
        copy_segment_queries<Traits>(p, launch, segment(), shared_address(queries()), threadIdx.x,
                                     Traits::kThreads);
        used = __ballot_sync(~0u, max(last_run - runs, begin) < min(last_run, end));
        if (p.rotary.half == 0) return;
        std::uint32_t to = shared_address(angles());
#pragma unroll 1
        for (unsigned left = used; left != 0; left &= left - 1) {
            copy_angles(p, launch, __ffs(left) - 1, first_token, num_tokens, to, warp, Traits::kWarps);
            to += num_tokens * launch.angle_stride;
        }
    }

    // Keys or values of a run, which is contiguous in its page; zeros beyond the `valid` first of them.
    __device__ void ask_for_run(std::uint32_t to, const T* from, int valid) const {
        constexpr int kCopies = kRun * Traits::kChunks / 32;
        const CachePolicy policy =
            launch.streamed_length > 0 ? CachePolicy::evict_first() : CachePolicy::normal();
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            const int chunk = lane + 32 * i;
            const int row = chunk / Traits::kChunks;
            copy_async(to + Traits::offset(row, chunk % Traits::kChunks), from + chunk * 8, row < valid,
                       policy);
        }
    }

    // From queries and keys to probabilities, and each warp's softmaxes.
    __device__ void add_scores(const Role& role) {
        const int count = role.active() ? end - begin : 0;  // the warp's runs are below it
        float scores[kMostRunsOfWarp][8];
        float top[2] = {-INFINITY, -INFINITY};
        const SlabRows rows(launch.ratio, segment(), role.slab);
        wait_for_copies_but<2>();
        __syncthreads();  // queries and angles are there
        bool keys_are_there = false;
        int next = role.slice < count ? block_of(role.slice) : -1;
#pragma unroll 1
        do {
            const int block = next;
            std::uint32_t query[kDimSteps][4];
            Limits seen[2];
            if (block >= 0) enter(rows, role.slab, block, query, seen);
            if (!keys_are_there) {
                wait_for_copies_but<1>();
                __syncthreads();
                keys_are_there = true;
            }
            next = -1;
#pragma unroll
            for (int i = 0; i < kMostRunsOfWarp; ++i) {
                const int index = role.slice + i * role.slices;
                if (index >= count) break;
                const int its_block = block_of(index);
                if (its_block == block) {
                    score(query, seen, run_of(block, index), index, scores[i], top);
                } else if (its_block > block) {
                    next = its_block;
                    break;
                }
            }
        } while (next >= 0);
        Softmax* const mine = softmaxes() + warp * kSlab;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 1));
            top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 2));
            if (lane % 4 == 0) mine[SlabRows::of_thread(i)].top = top[i];
        }
        __syncthreads();  // nobody needs keys any more
        float base[2];
        float sum[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            base[i] = Softmax{top_of(role.slab, num_slabs(num_rows()), SlabRows::of_thread(i)), 0}.base();
        }
#pragma unroll
        for (int i = 0; i < kMostRunsOfWarp; ++i) {
            if (role.slice + i * role.slices >= count) break;
            float (&s)[8] = scores[i];
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                s[j] = exp2_approx(s[j] - base[j / 2 % 2]);
                sum[j / 2 % 2] += s[j];
            }
            *probabilities(role.slab, role.slice + i * role.slices) = make_uint4(
                pack<T>(s[0], s[1]), pack<T>(s[2], s[3]), pack<T>(s[4], s[5]), pack<T>(s[6], s[7]));
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            sum[i] += __shfl_xor_sync(~0u, sum[i], 1);
            sum[i] += __shfl_xor_sync(~0u, sum[i], 2);
            if (lane % 4 == 0) mine[SlabRows::of_thread(i)].sum = sum[i];
        }
        wait_for_copies();
        __syncthreads();  // values and probabilities are there
    }

    // The queries of a slab in a block's frame, as mma wants its A, and what its rows see of the block.
    __device__ void enter(const SlabRows& rows, int slab, int block, std::uint32_t (&query)[kDimSteps][4],
                          Limits (&seen)[2]) const {
        const int lane = opaque(threadIdx.x) % 32;
        const Tables& tables = plan.tables;
        const std::uint32_t from =
            shared_address(queries()) + slab * Traits::kSlabBytes + Traits::offset(lane % 16, lane / 16);
#pragma unroll
        for (int step = 0; step < kDimSteps; ++step) load_matrices(query[step], Traits::at_step(from, step));
        const int index = __popc(used & ((1u << block) - 1)) * num_tokens;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = lane / 4 + 8 * i;
            const int token = rows.token(row);
            const int position = tables.query_pos(token, block);
            seen[i].first = p.window > 0 ? max(position - p.window + 1, 0) : 0;
            seen[i].last =
                tables.own_block(token) == block ? min(position, tables.rotary_pos(token)) : position;
            if (p.rotary.half == 0) continue;
            const float* cosine = reinterpret_cast<const float*>(angles() + (index + token - first_token) *
                                                                                launch.angle_stride);
            // Dims d and d + D / 2 make a pair: octets of a row, of which a lane has two elements.
#pragma unroll
            for (int octet = 0; octet < kOctets / 2; ++octet) {
                const int pair = octet * 8 + lane % 4 * 2;
                const float2 c = *reinterpret_cast<const float2*>(cosine + pair);
                const float2 s = *reinterpret_cast<const float2*>(cosine + Traits::kHeadDim / 2 + pair);
                constexpr int kHalf = kOctets / 2;
                std::uint32_t& low = query[octet / 2][octet % 2 * 2 + i];
                std::uint32_t& high = query[(octet + kHalf) / 2][(octet + kHalf) % 2 * 2 + i];
                const float2 x = unpack<T>(low);
                const float2 y = unpack<T>(high);
                low = pack<T>(x.x * c.x - y.x * s.x, x.y * c.y - y.y * s.y);
                high = pack<T>(x.x * s.x + y.x * c.x, x.y * s.y + y.y * c.y);
            }
        }
    }

    // The scores of a slab's rows for a run's keys: pairs of the first row and of the second, for eight keys
    // and then for the other eight.
    __device__ void score(const std::uint32_t (&query)[kDimSteps][4], const Limits (&seen)[2], const Run& of,
                          int index, float (&scores)[8], float (&top)[2]) const {
        const int lane = opaque(threadIdx.x) % 32;  // what follows from it would be kept in registers
        // Sums of even steps and of odd ones: each waits for half as many others.
        float sums[2][2][4] = {};
        const std::uint32_t from = keys(index) + Traits::offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
        for (int step = 0; step < kDimSteps; ++step) {
            std::uint32_t b[4];
            load_matrices(b, Traits::at_step(from, step));
            multiply_add<T>(sums[step % 2][0], query[step], b[0], b[1]);
            multiply_add<T>(sums[step % 2][1], query[step], b[2], b[3]);
        }
#pragma unroll
        for (int j = 0; j < 8; ++j)
            scores[j] = (sums[0][j / 4][j % 4] + sums[1][j / 4][j % 4]) * launch.score_factor;
        if (launch.cap > 0) {
#pragma unroll
            for (int j = 0; j < 8; ++j) scores[j] = launch.cap * tanh_of_half(scores[j]);
        }
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            // Counted from the first key of the lane's.
            const int start = of.key + lane % 4 * 2;
            const int first = seen[row].first - start;
            const int last = min(seen[row].last, of.end - 1) - start;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int key = i / 2 * 8 + i % 2;
                float& score = scores[i / 2 * 4 + row * 2 + i % 2];
                if (key < first || key > last) score = -INFINITY;
                top[row] = fmaxf(top[row], score);
            }
        }
    }

    // The largest score of a slab's row; four lanes ask for the same one.
    __device__ float top_of(int slab, int slabs, int row) const {
        const int slices = Role(0, slabs).slices;
        float top = -INFINITY;
#pragma unroll 1
        for (int slice = lane % 4; slice < slices; slice += 4) {
            top = fmaxf(top, softmaxes()[(slice * slabs + slab) * kSlab + row].top);
        }
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        return fmaxf(top, __shfl_xor_sync(~0u, top, 2));
    }

    // The softmax of a row, likewise; sums count from the same base.
    __device__ Softmax softmax_of(int slab, int slabs, int row) const {
        const int slices = Role(0, slabs).slices;
        Softmax all;
#pragma unroll 1
        for (int slice = lane % 4; slice < slices; slice += 4) {
            const Softmax one = softmaxes()[(slice * slabs + slab) * kSlab + row];
            all.top = fmaxf(all.top, one.top);
            all.sum += one.sum;
        }
#pragma unroll
        for (int i = 1; i < 4; i *= 2) {
            all.top = fmaxf(all.top, __shfl_xor_sync(~0u, all.top, i));
            all.sum += __shfl_xor_sync(~0u, all.sum, i);
        }
        return all;
    }

    // The weighted sums of values, 16 dims of a slab at a time, to where they go.
    __device__ void add_values(const Partials<Traits>& partials) const {
        const int slabs = num_slabs(num_rows());
        const int count = end - begin;
#pragma unroll 1
        for (int item = warp; item < kDimSteps * slabs; item += Traits::kWarps) {
            const int slab = item / kDimSteps;
            const int step = item % kDimSteps;
            float sums[2][2][4] = {};  // of even runs and of odd ones
            const std::uint32_t from =
                Traits::at_step(values(0) + Traits::offset(lane % 16, lane / 16), step);
#pragma unroll 1
            for (int first = 0; first < count; first += 4) {
                uint4 a[4];
                std::uint32_t b[4][4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    a[i] = make_uint4(0, 0, 0, 0);
                    b[i][0] = b[i][1] = b[i][2] = b[i][3] = 0;
                    if (first + i >= count) continue;
                    a[i] = *probabilities(slab, first + i);
                    load_matrices_transposed(b[i], from + (first + i) * kRunBytes);
                }
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const std::uint32_t weights[4] = {a[i].x, a[i].y, a[i].z, a[i].w};
                    multiply_add<T>(sums[i % 2][0], weights, b[i][0], b[i][1]);
                    multiply_add<T>(sums[i % 2][1], weights, b[i][2], b[i][3]);
                }
            }
            SegmentRows<Traits> to(p, partials, SlabRows(launch.ratio, segment(), slab), slab,
                                   num_splits() == 1, begin == 0);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const Softmax softmax = softmax_of(slab, slabs, SlabRows::of_thread(i));
                const float factor = to.begin(i, softmax, step == 0);
#pragma unroll
                for (int n = 0; n < 2; ++n) {
                    to.write(i, 2 * step + n, (sums[0][n][2 * i] + sums[1][n][2 * i]) * factor,
                             (sums[0][n][2 * i + 1] + sums[1][n][2 * i + 1]) * factor);
                }
            }
        }
    }

    const AttentionParams& p;
    const AttentionLaunch& launch;
    const Plan& plan;
    const int lane;
    const int warp;
    int first_token;
    int num_tokens;
    int first_block;
    int all_runs;  // of a kv head
    // Of the lane's block.
    int runs;
    int last_run;   // on the line of the head's runs, behind those of the block
    int first_key;  // of run 0 of the line, if it were the block's
    int end_key;
    // Of the part.
    int begin;  // runs of the head
    int end;
    unsigned used;  // a bit for each block
};

// Does all of a CTA's work but for merging if the call's keys are few; tells whether they are.
template <typename Traits>
__device__ inline bool run_burst(const AttentionParams& p, const AttentionLaunch& launch, const Plan& plan,
                                 PlanMemory& memory, void* workspace, SplitRow* found) {
    if constexpr (Burst<Traits>::kExists) {
        if (launch.burst_runs == 0) return false;
        Burst<Traits> burst(p, launch, plan);
        if (!burst.fits()) return false;
        burst.run(workspace);
        burst.tell(RowMerge<Traits>(p, launch, plan, memory, workspace), memory, found);
        return true;
    }
    return false;
}

}  // namespace hogwild::cuda
