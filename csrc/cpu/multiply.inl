// The two matrix products of attention. Included like simd.inl.
//
// Rows of queries lie along the lanes of a vector: B is [depth][row_stride], C is [count][row_stride]. What
// is multiplied by them, keys or values, is read one scalar at a time and broadcast, so neither keys nor
// values nor scores are ever transposed or summed across lanes.

// Where A's element (i, k) lies: a[i * row + k * column].
struct Strides {
    int64_t row;
    int64_t column;
};

// Memory that will be read soon: fetched bit by bit while a product is computed, since the hardware's own
// prefetching follows neither a product's walk over keys nor a block's jumps from page to page.
struct Upcoming {
    const char* data;
    int64_t bytes;
};

HOGWILD_INLINE void prefetch(const Upcoming& upcoming, int done, int step, int count) {
    const int64_t end = upcoming.bytes * (done + step) / count;
    for (int64_t byte = upcoming.bytes * done / count; byte < end; byte += 64) {
        __builtin_prefetch(upcoming.data + byte, 0, 2);
    }
}

// C[i] = sum over k of A(i, k) * B[k] for i < kCount, for kVectors vectors of rows; with kAdd, C[i] *
// correction is added.
template <int kVectors, int kCount, bool kAdd>
HOGWILD_INLINE void multiply_block(const float* a, Strides strides, const float* b, int depth, int row_stride,
                                   float* c, const float* correction) {
    Vec sum[kCount][kVectors];
    for (int v = 0; v < kVectors; ++v) {
        for (int i = 0; i < kCount; ++i) {
            sum[i][v] = kAdd ? load<Vec>(c + i * row_stride + v * kLanes) * load<Vec>(correction + v * kLanes)
                             : Vec{};
        }
    }
    for (int k = 0; k < depth; ++k) {
        Vec row[kVectors];
        for (int v = 0; v < kVectors; ++v) row[v] = load<Vec>(b + v * kLanes);
        for (int i = 0; i < kCount; ++i) {
            const Vec factor = splat(a[i * strides.row]);
            for (int v = 0; v < kVectors; ++v) sum[i][v] += factor * row[v];
        }
        a += strides.column;
        b += row_stride;
    }
    for (int i = 0; i < kCount; ++i) {
        for (int v = 0; v < kVectors; ++v) store(c + i * row_stride + v * kLanes, sum[i][v]);
    }
}

template <int kVectors, bool kAdd>
HOGWILD_INLINE void multiply_panel(const float* a, Strides strides, const float* b, int count, int depth,
                                   int row_stride, float* c, const float* correction,
                                   const Upcoming& upcoming) {
    // As many sums as fit into the registers beside the operands.
    constexpr int kRegisters = HOGWILD_VECTOR_BYTES == 64 ? 32 : 16;
    constexpr int kCount = kVectors <= kRegisters / 16 ? 8 : 4;
    int i = 0;
    for (; i + kCount <= count; i += kCount) {
        prefetch(upcoming, i, kCount, count);
        multiply_block<kVectors, kCount, kAdd>(a + i * strides.row, strides, b, depth, row_stride,
                                               c + int64_t{i} * row_stride, correction);
    }
    for (; i < count; ++i) {
        multiply_block<kVectors, 1, kAdd>(a + i * strides.row, strides, b, depth, row_stride,
                                          c + int64_t{i} * row_stride, correction);
    }
}

template <bool kAdd>
static void multiply(const float* a, Strides strides, const float* b, int count, int depth, int num_rows,
                     int row_stride, float* c, const float* correction, Upcoming upcoming) {
    constexpr int kMaxVectors = HOGWILD_VECTOR_BYTES == 64 ? 4 : 2;
    const int num_vectors = (num_rows + kLanes - 1) / kLanes;
    for (int first = 0; first < num_vectors; first += kMaxVectors) {
        const int lane = first * kLanes;
        const float* panel_correction = kAdd ? correction + lane : nullptr;
        switch (num_vectors - first) {
            case 1:
                multiply_panel<1, kAdd>(a, strides, b + lane, count, depth, row_stride, c + lane,
                                        panel_correction, upcoming);
                break;
            case 2:
                multiply_panel<2, kAdd>(a, strides, b + lane, count, depth, row_stride, c + lane,
                                        panel_correction, upcoming);
                break;
            case 3:
                multiply_panel<kMaxVectors == 2 ? 2 : 3, kAdd>(a, strides, b + lane, count, depth, row_stride,
                                                               c + lane, panel_correction, upcoming);
                break;
            default:
                multiply_panel<kMaxVectors, kAdd>(a, strides, b + lane, count, depth, row_stride, c + lane,
                                                  panel_correction, upcoming);
        }
        upcoming.bytes = 0;
    }
}
