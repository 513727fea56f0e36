// The online softmax of one tile of keys. Included like simd.inl.

// What a tile of rows has seen so far: a partial result's layout (attention_kernel.h).
struct Accumulator {
    Accumulator(float* partial, int row_stride)
        : maximum(partial), denominator(partial + row_stride), values(partial + 2 * row_stride) {}

    float* maximum;      // [row_stride] -inf: no key seen
    float* denominator;  // [row_stride] sum of e^(score - maximum)
    float* values;       // [Dv][row_stride] the same sum of the values
};

// -inf has no distance from itself: a row that has seen nothing is measured from 0, where all of it is e^-inf
// = 0.
HOGWILD_INLINE Vec finite_base(Vec maximum) { return maximum == -__builtin_inff() ? Vec{} : maximum; }

struct RowLimits {
    const int32_t* first;  // [row_stride] the first key of the block that the row sees
    const int32_t* last;   // [row_stride]
    int max_first;         // of all rows
    int min_last;
};

// Turns scores [num_keys][row_stride] of keys `first_key` .. into weights e^(score - maximum), and leaves in
// `correction` what the accumulated values are to be multiplied by.
template <bool kMasked>
static void softmax_tile(float* scores, int first_key, int num_keys, int num_rows, int row_stride,
                         float softcap, const RowLimits& limits, Accumulator& accumulator,
                         float* correction) {
    for (int lane = 0; lane < num_rows; lane += kLanes) {
        const IntVec first = load<IntVec>(limits.first + lane), last = load<IntVec>(limits.last + lane);
        const Vec old_maximum = load<Vec>(accumulator.maximum + lane);
        Vec maximum = old_maximum;
        for (int key = 0; key < num_keys; ++key) {
            float* score = scores + key * row_stride + lane;
            Vec value = load<Vec>(score);
            if (softcap > 0) value = tanh_all(value / softcap) * softcap;
            if (kMasked) {
                const int index = first_key + key;
                value = (first <= index) & (last >= index) ? value : splat(-__builtin_inff());
            }
            if (kMasked || softcap > 0) store(score, value);
            maximum = value > maximum ? value : maximum;
        }
        const Vec base = finite_base(maximum);
        const Vec factor = exp_nonpositive(old_maximum - base);
        Vec sum = load<Vec>(accumulator.denominator + lane) * factor;
        for (int key = 0; key < num_keys; ++key) {
            float* score = scores + key * row_stride + lane;
            const Vec weight = exp_nonpositive(load<Vec>(score) - base);
            store(score, weight);
            sum += weight;
        }
        store(accumulator.maximum + lane, maximum);
        store(accumulator.denominator + lane, sum);
        store(correction + lane, factor);
    }
}
