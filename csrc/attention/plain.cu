#include "csrc/attention/plain.h"

#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "csrc/cache/vector.cuh"

namespace hogwild::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kCtasPerSm = 5;  // at least; if it is not told so, the compiler spills for the sake of more
constexpr int kTeamLanes = 8;  // a team forms the score of a key: its lanes read 128 bytes side by side
constexpr int kTeams = kThreads / kTeamLanes;
constexpr int kTileKeys = kThreads;  // each thread has the weight of one: kTeamLanes times one for each team

// The keys of a block that a token sees.
struct KeyRange {
    int begin;
    int end;
};

__device__ KeyRange visible_keys(const AttentionParams& p, int token, int column, int length) {
    const int query_pos = p.query_pos[std::int64_t{token} * p.num_columns + column];
    if (query_pos < 0) return {0, 0};
    int last = min(query_pos, length - 1);
    if (p.own_block[token] == column) last = min(last, p.rotary_pos[token]);
    const bool windowed = p.window > 0 && query_pos >= p.window;
    return {windowed ? query_pos - p.window + 1 : 0, last + 1};
}

// The group that holds a token, or -1: padding. Offsets ascend, and a group may be empty.
__device__ int group_of(const AttentionParams& p, int token) {
    int low = 0;
    int high = p.num_groups + 1;  // of [low, high], where the first offset beyond the token is
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (p.group_tokens[middle] <= token) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low <= p.num_groups ? low - 1 : -1;
}

// The entry of [P, K, S] that holds a key of the block with these pages.
__device__ std::int64_t key_entry(const Cache& cache, const std::int32_t* pages, int kv_head, int key) {
    const std::int64_t page = pages[key / cache.page_size];
    return (page * cache.num_kv_heads + kv_head) * cache.page_size + key % cache.page_size;
}

// The query as the keys of the group's `column`-th block meet it. By all threads.
__device__ void load_query(const AttentionParams& p, int token, int head, int column, float* query) {
    const float* from = static_cast<const float*>(p.q) + token * p.q_token_stride + head * p.q_head_stride;
    const RotaryDims rotary = p.rotary;
    const std::int64_t entry = std::int64_t{token} * p.num_columns + column;
    const float* cosines = p.rotation + entry * 2 * rotary.half;
    const float* sines = cosines + rotary.half;
    for (int i = threadIdx.x; i < p.cache.head_dim - rotary.half; i += kThreads) {
        if (i < rotary.half) {
            const int x = rotary.start + (rotary.interleaved ? 2 * i : i);
            const int y = x + (rotary.interleaved ? 1 : rotary.half);
            const float a = from[x];
            const float b = from[y];
            query[x] = a * cosines[i] - b * sines[i];
            query[y] = a * sines[i] + b * cosines[i];
        } else {
            int d = i - rotary.half;
            if (d >= rotary.start) d += 2 * rotary.half;
            query[d] = from[d];
        }
    }
}

// Products of the query with the tile's keys. Those of key `kTeams * lane + team` are what a thread returns;
// where there is no such key, those of the last one.
template <int N>
__device__ float multiply(const float* query, const float* k, const std::int64_t* entries, int count,
                          int head_dim) {
    const int team = threadIdx.x / kTeamLanes;
    const int lane = threadIdx.x % kTeamLanes;
    const float* keys[kTeamLanes];
    float products[kTeamLanes];
#pragma unroll
    for (int i = 0; i < kTeamLanes; ++i) {
        keys[i] = k + entries[min(kTeams * i + team, count - 1)] * head_dim;
        products[i] = 0;
    }
#pragma unroll 1  // there are enough loads under way: one of each key
    for (int d = lane * N; d < head_dim; d += kTeamLanes * N) {
        const Vector<float, N> x = load<N>(query + d);
#pragma unroll
        for (int i = 0; i < kTeamLanes; ++i) {
            const Vector<float, N> y = load<N>(keys[i] + d);
#pragma unroll
            for (int j = 0; j < N; ++j) products[i] += x.at[j] * y.at[j];
        }
    }
    __syncwarp();
    float own = 0;
#pragma unroll
    for (int i = 0; i < kTeamLanes; ++i) {
        for (int step = kTeamLanes / 2; step > 0; step /= 2) {
            products[i] += __shfl_xor_sync(~0u, products[i], step);
        }
        if (i == lane) own = products[i];
    }
    return own;
}

// sums = sums * factor + the weighted values of every kWarps-th key from `first` on. By one warp.
template <int N>
__device__ void add_values(const float* weights, const float* v, const std::int64_t* entries, int first,
                           int count, int value_dim, float factor, float* sums) {
    for (int d = threadIdx.x % 32 * N; d < value_dim; d += 32 * N) {
        Vector<float, N> sum = load<N>(sums + d);
#pragma unroll
        for (int j = 0; j < N; ++j) sum.at[j] *= factor;
#pragma unroll 8
        for (int key = first; key < count; key += kWarps) {
            const Vector<float, N> value = load<N>(v + entries[key] * value_dim + d);
#pragma unroll
            for (int j = 0; j < N; ++j) sum.at[j] += weights[key] * value.at[j];
        }
        store(sums + d, sum);
    }
}

// fmaxf passes over NaN. A score that is NaN makes the row NaN by its weight.
__device__ float max_of_warp(float x) {
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
    return x;
}

__device__ float sum_of_warp(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
    return x;
}

// One CTA a token and query head. It goes through the keys that the token sees, a tile at a time, with an
// online softmax whose maximum and denominator all threads have; each warp sums the values of a quarter of
// the keys.
template <int N>
__global__ void __launch_bounds__(kThreads, kCtasPerSm) plain_kernel(const AttentionParams p) {
    extern __shared__ __align__(16) float shared[];
    __shared__ std::int64_t entries[kTileKeys];
    __shared__ float weights[kTileKeys];
    __shared__ float maxima[kWarps];
    __shared__ float totals[kWarps];
    const Cache& cache = p.cache;
    const int token = blockIdx.x;
    const int head = blockIdx.y;
    const int kv_head = head / (p.num_heads / cache.num_kv_heads);
    const int warp = threadIdx.x / 32;
    const int own_key = threadIdx.x % kTeamLanes * kTeams + threadIdx.x / kTeamLanes;  // as multiply() says
    float* query = shared;                                                             // [D]
    float* sums = query + cache.head_dim;                                              // [kWarps, Dv]
    for (int d = threadIdx.x; d < kWarps * cache.value_dim; d += kThreads) sums[d] = 0;
    float maximum = -CUDART_INF_F;
    float denominator = 0;

    const int group = group_of(p, token);
    const int first_block = group < 0 ? 0 : p.group_blocks[group];
    const int last_block = group < 0 ? 0 : p.group_blocks[group + 1];
    for (int block = first_block; block < last_block; ++block) {
        const KeyRange range = visible_keys(p, token, block - first_block, p.block_lens[block]);
        if (range.begin >= range.end) continue;
        load_query(p, token, head, block - first_block, query);
        const std::int32_t* pages = p.block_table + std::int64_t{block} * p.max_pages;
        for (int begin = range.begin; begin < range.end; begin += kTileKeys) {
            const int count = min(kTileKeys, range.end - begin);
            __syncthreads();  // the tile before has been used
            if (threadIdx.x < count) {
                entries[threadIdx.x] = key_entry(cache, pages, kv_head, begin + threadIdx.x);
            }
            __syncthreads();

            float score =
                multiply<N>(query, static_cast<const float*>(cache.k), entries, count, cache.head_dim);
            score *= p.scale;
            if (p.softcap > 0) score = tanhf(score / p.softcap) * p.softcap;
            if (own_key >= count) score = -CUDART_INF_F;
            const float warp_maximum = max_of_warp(score);
            if (threadIdx.x % 32 == 0) maxima[warp] = warp_maximum;
            __syncthreads();

            const float old_maximum = maximum;
            for (int i = 0; i < kWarps; ++i) maximum = fmaxf(maximum, maxima[i]);
            // -inf has no distance from itself: a row that has seen nothing else is measured from 0.
            const float base = maximum == -CUDART_INF_F ? 0 : maximum;
            const float factor = expf(old_maximum - base);
            const float weight = expf(score - base);
            weights[own_key] = weight;
            const float warp_total = sum_of_warp(weight);
            if (threadIdx.x % 32 == 0) totals[warp] = warp_total;
            __syncthreads();

            denominator *= factor;
            for (int i = 0; i < kWarps; ++i) denominator += totals[i];
            add_values<N>(weights, static_cast<const float*>(cache.v), entries, warp, count, cache.value_dim,
                          factor, sums + warp * cache.value_dim);
        }
    }
    __syncthreads();

    const bool sees_nothing = denominator == 0;
    float factor = 1;
    if (p.sinks != nullptr) {
        const float sink = p.sinks[head];
        const float joint = fmaxf(sink, maximum);
        if (joint != -CUDART_INF_F) {  // else there is nothing in the denominator
            factor = expf(maximum - joint);
            denominator = denominator * factor + expf(sink - joint);
            maximum = joint;
        }
    }
    factor /= denominator;
    const std::int64_t row = std::int64_t{token} * p.num_heads + head;
    float* out = static_cast<float*>(p.out) + row * cache.value_dim;
    for (int d = threadIdx.x; d < cache.value_dim; d += kThreads) {
        float sum = 0;
        for (int i = 0; i < kWarps; ++i) sum += sums[i * cache.value_dim + d];
        out[d] = sees_nothing ? 0 : sum * factor;  // weights of 0 leave values that are not finite
    }
    if (threadIdx.x == 0) p.lse[row] = maximum + logf(denominator);
}

template <int N>
void launch(const AttentionParams& p, cudaStream_t stream) {
    const std::size_t shared = (p.cache.head_dim + std::size_t{kWarps} * p.cache.value_dim) * sizeof(float);
    plain_kernel<N><<<dim3(p.num_tokens, p.num_heads), kThreads, shared, stream>>>(p);
}

// Whether every key and value starts at a multiple of 16 bytes.
bool vectors_fit(const Cache& cache) {
    return reinterpret_cast<std::uintptr_t>(cache.k) % 16 == 0 &&
           reinterpret_cast<std::uintptr_t>(cache.v) % 16 == 0 && cache.head_dim % 4 == 0 &&
           cache.value_dim % 4 == 0;
}

}  // namespace

const char* why_no_plain_kernel(const AttentionParams& params) {
    constexpr std::int64_t kMostShared = 46 << 10;  // of 48 KB that any device has, without what is static
    const std::int64_t floats = params.cache.head_dim + std::int64_t{4} * params.cache.value_dim;
    if (floats * 4 > kMostShared) return "the head dims are too large for the simple kernel";
    if (params.num_heads > 65535) return "the simple kernel serves at most 65535 query heads";
    return nullptr;
}

cudaError_t plain_attention(const AttentionParams& params, cudaStream_t stream) {
    if (params.num_tokens == 0) return cudaSuccess;
    if (vectors_fit(params.cache)) {
        launch<4>(params, stream);
    } else {
        launch<1>(params, stream);
    }
    return cudaGetLastError();
}

}  // namespace hogwild::cuda
