// Attention of one row tile over a piece of its keys, and the merging of pieces. Included, after its headers,
// inside the namespace of one instruction set by attention_<isa>.cpp, which defines HOGWILD_VECTOR_BYTES.

#include "csrc/cpu/simd.inl"
// Each needs the one before it.
#include "csrc/cpu/multiply.inl"
#include "csrc/cpu/softmax.inl"

struct Scratch {
    Scratch(float* base, const Cache& cache, int row_stride) {
        const int widest = cache.head_dim > cache.value_dim ? cache.head_dim : cache.value_dim;
        query = base;
        scores = query + int64_t{row_stride} * cache.head_dim;
        correction = scores + int64_t{row_stride} * kTileKeys;
        first = reinterpret_cast<int32_t*>(correction + row_stride);
        last = first + row_stride;
        row = reinterpret_cast<float*>(last + row_stride);
        keys = row + (widest + 15) / 16 * 16;
    }

    float* query;       // [D][row_stride] scaled, and rotated for the block at hand
    float* scores;      // [kTileKeys][row_stride]
    float* correction;  // [row_stride]
    int32_t* first;     // [row_stride] RowLimits of the block at hand
    int32_t* last;
    float* row;   // [max(D, Dv)] one row, unpacked
    float* keys;  // [kTileKeys][max(D, Dv)] keys or values, where they must be converted
};

HOGWILD_INLINE void rotate_row(float* row, const float* table, const RotaryDims& rotary) {
    const float* cos = table;
    const float* sin = table + rotary.half;
    const int step = rotary.interleaved ? 2 : 1;
    const int other = rotary.interleaved ? 1 : rotary.half;
    float* pairs = row + rotary.start;
    for (int pair = 0; pair < rotary.half; ++pair) {
        const float a = pairs[pair * step], b = pairs[pair * step + other];
        pairs[pair * step] = a * cos[pair] - b * sin[pair];
        pairs[pair * step + other] = a * sin[pair] + b * cos[pair];
    }
}

// Query rows of the tile as the block's keys meet them.
template <typename T>
static void load_query(const AttentionParams& params, const RowTile& tile, int kv_head, const Span& span,
                       const Scratch& scratch) {
    const int head_dim = params.cache.head_dim;
    const int ratio = params.num_heads / params.cache.num_kv_heads;
    for (int row = 0; row < tile.num_rows; ++row) {
        const int64_t token = (tile.first_row + row) / ratio;
        const int64_t head = kv_head * ratio + (tile.first_row + row) % ratio;
        const T* query =
            static_cast<const T*>(params.q) + token * params.q_token_stride + head * params.q_head_stride;
        for (int d = 0; d < head_dim; ++d) scratch.row[d] = to_float(query[d]) * params.scale;
        if (params.rotation != nullptr) {
            const int64_t entry = token * params.num_columns + span.column;
            rotate_row(scratch.row, params.rotation + entry * 2 * params.rotary.half, params.rotary);
        }
        for (int d = 0; d < head_dim; ++d) scratch.query[d * tile.row_stride + row] = scratch.row[d];
    }
    for (int d = 0; d < head_dim; ++d) {
        for (int row = tile.num_rows; row < tile.row_stride; ++row)
            scratch.query[d * tile.row_stride + row] = 0;
    }
}

HOGWILD_INLINE RowLimits load_limits(const AttentionParams& params, const RowTile& tile, const Span& span,
                                     const Scratch& scratch) {
    const int ratio = params.num_heads / params.cache.num_kv_heads;
    RowLimits limits{scratch.first, scratch.last, 0, span.end};
    for (int row = 0; row < tile.num_rows; ++row) {
        const int64_t token = (tile.first_row + row) / ratio;
        const KeyRange range = visible_keys(params, token, span.column, params.block_lens[span.block]);
        scratch.first[row] = range.begin;
        scratch.last[row] = range.end - 1;
        if (range.begin > limits.max_first) limits.max_first = range.begin;
        if (range.end - 1 < limits.min_last) limits.min_last = range.end - 1;
    }
    for (int row = tile.num_rows; row < tile.row_stride; ++row) {  // lanes that are no rows: nothing to mask
        scratch.first[row] = 0;
        scratch.last[row] = INT32_MAX;
    }
    return limits;
}

// Keys that lie side by side in a page.
template <typename T>
struct KeyRun {
    const T* k;  // [count][D]
    const T* v;  // [count][Dv]
    int count;
};

// The run that starts at key `begin` of a block: up to `end`, the page's end, or kTileKeys.
template <typename T>
HOGWILD_INLINE KeyRun<T> key_run(const AttentionParams& params, int kv_head, int block, int begin, int end) {
    const Cache& cache = params.cache;
    const int64_t page = params.block_table[int64_t{block} * params.max_pages + begin / cache.page_size];
    const int offset = begin % cache.page_size;
    const int64_t entry = (page * cache.num_kv_heads + kv_head) * cache.page_size + offset;
    int count = end - begin < kTileKeys ? end - begin : kTileKeys;
    if (count > cache.page_size - offset) count = cache.page_size - offset;
    return {static_cast<const T*>(cache.k) + entry * cache.head_dim,
            static_cast<const T*>(cache.v) + entry * cache.value_dim, count};
}

template <typename T>
HOGWILD_INLINE Upcoming upcoming(const T* rows, int count, int dim) {
    return {reinterpret_cast<const char*>(rows), static_cast<int64_t>(sizeof(T)) * count * dim};
}

// Keys [begin, end) of the span's block.
template <typename T>
static void accumulate_keys(const AttentionParams& params, const RowTile& tile, int kv_head, const Span& span,
                            int begin, int end, const Scratch& scratch, Accumulator& accumulator) {
    const int head_dim = params.cache.head_dim, value_dim = params.cache.value_dim;
    const RowLimits limits = load_limits(params, tile, span, scratch);
    KeyRun<T> run = key_run<T>(params, kv_head, span.block, begin, end);
    for (int key = begin; key < end;) {
        const int next_key = key + run.count;
        const KeyRun<T> next = next_key < end ? key_run<T>(params, kv_head, span.block, next_key, end)
                                              : KeyRun<T>{run.k, run.v, 0};

        const float* keys = widen_all(run.k, int64_t{run.count} * head_dim, scratch.keys);
        multiply<false>(keys, {head_dim, 1}, scratch.query, run.count, head_dim, tile.num_rows,
                        tile.row_stride, scratch.scores, nullptr, upcoming(run.v, run.count, value_dim));
        const bool masked = key < limits.max_first || next_key - 1 > limits.min_last;
        const auto softmax = masked ? softmax_tile<true> : softmax_tile<false>;
        softmax(scratch.scores, key, run.count, tile.num_rows, tile.row_stride, params.softcap, limits,
                accumulator, scratch.correction);
        const float* values = widen_all(run.v, int64_t{run.count} * value_dim, scratch.keys);
        multiply<true>(values, {1, value_dim}, scratch.scores, value_dim, run.count, tile.num_rows,
                       tile.row_stride, accumulator.values, scratch.correction,
                       upcoming(next.k, next.count, head_dim));
        key = next_key;
        run = next;
    }
}

template <typename T>
static void accumulate(const AttentionParams& params, const AttentionPlan& plan, const Task& task,
                       float* base, float* partial) {
    const RowTile& tile = plan.tiles()[task.tile];
    const Scratch scratch(base, params.cache, tile.row_stride);
    Accumulator accumulator(partial, tile.row_stride);
    for (int row = 0; row < tile.row_stride; ++row) {
        accumulator.maximum[row] = -__builtin_inff();
        accumulator.denominator[row] = 0;
    }
    __builtin_memset(accumulator.values, 0, sizeof(float) * tile.row_stride * params.cache.value_dim);

    const int64_t piece_begin = task.split * tile.piece, piece_end = piece_begin + tile.piece;
    int64_t span_begin = 0;  // in the line of all spans' keys
    bool loaded = false;
    for (int index = 0; index < tile.num_spans; ++index) {
        const Span& span = plan.spans()[tile.first_span + index];
        const int length = span.end - span.begin;
        const int64_t begin = piece_begin > span_begin ? piece_begin - span_begin : 0;
        const int64_t end = piece_end < span_begin + length ? piece_end - span_begin : length;
        span_begin += length;
        if (begin >= end) continue;
        // The query alone changes from block to block; what has been accumulated goes on.
        if (params.rotation != nullptr || !loaded) load_query<T>(params, tile, task.kv_head, span, scratch);
        loaded = true;
        accumulate_keys<T>(params, tile, task.kv_head, span, span.begin + static_cast<int>(begin),
                           span.begin + static_cast<int>(end), scratch, accumulator);
    }
}

// Merges the partial results into the first one.
static void merge(float* partials, int count, int64_t partial_size, int value_dim, int row_stride) {
    Accumulator result(partials, row_stride);
    for (int lane = 0; lane < row_stride; lane += kLanes) {
        Vec maximum = load<Vec>(result.maximum + lane);
        for (int i = 1; i < count; ++i) {
            const Vec other = load<Vec>(partials + i * partial_size + lane);
            maximum = other > maximum ? other : maximum;
        }
        const Vec base = finite_base(maximum);
        for (int i = 0; i < count; ++i) {
            const Accumulator part(partials + i * partial_size, row_stride);
            const Vec weight = exp_nonpositive(load<Vec>(part.maximum + lane) - base);
            const Vec denominator = load<Vec>(part.denominator + lane) * weight;
            store(result.denominator + lane,
                  i == 0 ? denominator : load<Vec>(result.denominator + lane) + denominator);
            for (int d = 0; d < value_dim; ++d) {
                const Vec value = load<Vec>(part.values + d * row_stride + lane) * weight;
                float* sum = result.values + d * row_stride + lane;
                store(sum, i == 0 ? value : load<Vec>(sum) + value);
            }
        }
        store(result.maximum + lane, maximum);
    }
}

template <typename T>
static void finish(const AttentionParams& params, const RowTile& tile, int kv_head, float* partials,
                   int count, float* base) {
    const int value_dim = params.cache.value_dim, row_stride = tile.row_stride;
    if (count > 1) merge(partials, count, partial_size(params.cache, row_stride), value_dim, row_stride);
    const Accumulator result(partials, row_stride);
    const Scratch scratch(base, params.cache, row_stride);
    const int ratio = params.num_heads / params.cache.num_kv_heads;
    for (int row = 0; row < tile.num_rows; ++row) {
        const int64_t token = (tile.first_row + row) / ratio;
        const int64_t head = kv_head * ratio + (tile.first_row + row) % ratio;
        float maximum = result.maximum[row], denominator = result.denominator[row];
        const bool sees_nothing = denominator == 0;
        float factor = 1;
        if (params.sinks != nullptr) {
            const float sink = params.sinks[head];
            const float joint = sink > maximum ? sink : maximum;
            if (joint != -__builtin_inff()) {  // else there is nothing in the denominator
                factor = __builtin_expf(maximum - joint);
                denominator = denominator * factor + __builtin_expf(sink - joint);
                maximum = joint;
            }
        }
        factor = sees_nothing ? 0 : factor / denominator;
        for (int d = 0; d < value_dim; ++d) {
            const float value = result.values[d * row_stride + row];
            scratch.row[d] = sees_nothing ? 0 : value * factor;  // what is not seen may not be finite
        }
        T* out = static_cast<T*>(params.out) + (token * params.num_heads + head) * value_dim;
        for (int d = 0; d < value_dim; ++d) from_float(scratch.row[d], out[d]);
        params.lse[token * params.num_heads + head] = maximum + __builtin_logf(denominator);
    }
}

AttentionKernel attention_kernel(DType dtype) {
    switch (dtype) {
        case DType::kBFloat16:
            return {accumulate<BFloat16>, finish<BFloat16>};
        case DType::kFloat16:
            return {accumulate<Float16>, finish<Float16>};
        case DType::kFloat32:
            break;
    }
    return {accumulate<float>, finish<float>};
}
