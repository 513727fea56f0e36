#include <cmath>
#include <cstring>
#include <vector>

#include "csrc/cpu/dtype.h"
#include "csrc/cpu/ops.h"

namespace hogwild::cpu {
namespace {

// The first element of an entry's row for head 0; heads are page_size rows apart.
template <typename T>
T* entry_rows(void* cache, const Cache& sizes, int64_t slot, int dim) {
    const int64_t row =
        slot / sizes.page_size * sizes.num_kv_heads * sizes.page_size + slot % sizes.page_size;
    return static_cast<T*>(cache) + row * dim;
}

template <typename T>
void rotate_row(T* row, const float* cos, const float* sin, const RotaryDims& rotary) {
    const int step = rotary.interleaved ? 2 : 1;
    const int other = rotary.interleaved ? 1 : rotary.half;
    for (int pair = 0; pair < rotary.half; ++pair) {
        T& first = row[rotary.start + pair * step];
        T& second = row[rotary.start + pair * step + other];
        const float a = to_float(first), b = to_float(second);
        from_float(a * cos[pair] - b * sin[pair], first);
        from_float(a * sin[pair] + b * cos[pair], second);
    }
}

// cos and sin of the last shift asked for: the entries of one block have the same, and computing them takes
// longer than moving an entry.
class Rotation {
  public:
    explicit Rotation(const MoveParams& params) : params_(params), cos_(half()), sin_(half()) {}

    void set_shift(int32_t shift) {
        if (shift == shift_) return;
        shift_ = shift;
        for (int pair = 0; pair < half(); ++pair) {
            const double angle = static_cast<double>(shift) * static_cast<double>(params_.inv_freq[pair]);
            cos_[pair] = static_cast<float>(std::cos(angle));
            sin_[pair] = static_cast<float>(std::sin(angle));
        }
    }

    template <typename T>
    void apply(T* row) const {
        rotate_row(row, cos_.data(), sin_.data(), params_.rotary);
    }

  private:
    int half() const { return params_.rotary.half; }

    const MoveParams& params_;
    int32_t shift_ = 0;  // never asked for: it is a copy
    std::vector<float> cos_, sin_;
};

template <typename T>
void move_entry(const MoveParams& params, int64_t entry, Rotation& rotation) {
    const Cache& cache = params.cache;
    const int32_t shift = params.shift[entry];
    const bool rotates = shift != 0 && params.inv_freq != nullptr;
    if (rotates) rotation.set_shift(shift);
    const int64_t src = params.src_slots[entry], dst = params.dst_slots[entry];
    const T* src_k = entry_rows<T>(cache.k, cache, src, cache.head_dim);
    const T* src_v = entry_rows<T>(cache.v, cache, src, cache.value_dim);
    T* dst_k = entry_rows<T>(cache.k, cache, dst, cache.head_dim);
    T* dst_v = entry_rows<T>(cache.v, cache, dst, cache.value_dim);
    for (int64_t head = 0; head < cache.num_kv_heads; ++head) {
        const int64_t k_offset = head * cache.page_size * cache.head_dim;
        const int64_t v_offset = head * cache.page_size * cache.value_dim;
        std::memcpy(dst_k + k_offset, src_k + k_offset, sizeof(T) * cache.head_dim);
        std::memcpy(dst_v + v_offset, src_v + v_offset, sizeof(T) * cache.value_dim);
        if (rotates) rotation.apply(dst_k + k_offset);
    }
}

}  // namespace

void move(const MoveParams& params, const Parallel& parallel) {
    dispatch(params.dtype, [&](auto element) {
        for_ranges(parallel, params.num_entries, 16, [&](int64_t begin, int64_t end) {
            Rotation rotation(params);
            for (int64_t entry = begin; entry < end; ++entry) {
                if (params.src_slots[entry] < 0 || params.dst_slots[entry] < 0) continue;
                move_entry<decltype(element)>(params, entry, rotation);
            }
        });
    });
}

}  // namespace hogwild::cpu
