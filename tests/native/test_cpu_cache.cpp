// csrc/cpu's append, move and rotation_table, and the conversions of 16-bit floats.
#include <cmath>
#include <cstring>
#include <vector>

#include "check.h"
#include "csrc/cpu/dtype.h"
#include "csrc/cpu/ops.h"
#include "threads.h"

using namespace hogwild;

namespace {

// Two pages of four entries, two kv heads, keys of four dims and values of one.
struct Pages {
    std::vector<float> k = std::vector<float>(2 * 2 * 4 * 4, -1);
    std::vector<float> v = std::vector<float>(2 * 2 * 4 * 1, -1);
    Cache cache{k.data(), v.data(), 2, 2, 4, 4, 1};

    float* key(int slot, int head) { return &k[((slot / 4 * 2 + head) * 4 + slot % 4) * 4]; }
    float& value(int slot, int head) { return v[(slot / 4 * 2 + head) * 4 + slot % 4]; }
};

}  // namespace

void test_append() {
    Pages pages;
    const std::vector<float> k = {0, 1, 2,  3,  4,  5,  6,  7,
                                  8, 9, 10, 11, 12, 13, 14, 15};  // [2 tokens, 2 heads, 4]
    const std::vector<float> v = {100, 101, 102, 103};
    const std::vector<int64_t> slots = {6, -1};
    cpu::append({DType::kFloat32, pages.cache, k.data(), v.data(), 8, 4, 2, 1, slots.data(), 2},
                std_threads(2));
    for (int slot = 0; slot < 8; ++slot) {
        for (int head = 0; head < 2; ++head) {
            const bool written = slot == 6;
            CHECK(pages.value(slot, head) == (written ? 100 + head : -1), "slot %d, head %d", slot, head);
            for (int d = 0; d < 4; ++d) {
                CHECK(pages.key(slot, head)[d] == (written ? head * 4 + d : -1), "slot %d, head %d", slot,
                      head);
            }
        }
    }
}

void test_move() {
    Pages pages;
    for (int d = 0; d < 4; ++d) pages.key(1, 1)[d] = static_cast<float>(d + 1);
    pages.value(1, 1) = 7;
    const std::vector<int64_t> src = {1, 1, -1}, dst = {7, 2, 3};
    const std::vector<int32_t> shift = {3, 0, 5};
    const std::vector<float> inv_freq = {0.5f};
    const RotaryDims rotary{1, 2, false};  // the pair (2, 3)
    cpu::move(
        {DType::kFloat32, pages.cache, src.data(), dst.data(), shift.data(), inv_freq.data(), rotary, 3},
        std_threads(2));
    const double cos = std::cos(1.5), sin = std::sin(1.5);
    const double expected[] = {1, 2, 3 * cos - 4 * sin, 3 * sin + 4 * cos};
    for (int d = 0; d < 4; ++d) {
        CHECK(std::abs(pages.key(7, 1)[d] - expected[d]) < 1e-6, "dim %d is %g", d, pages.key(7, 1)[d]);
        CHECK(pages.key(2, 1)[d] == d + 1, "dim %d is %g", d, pages.key(2, 1)[d]);
        CHECK(pages.key(3, 1)[d] == -1, "an entry without a source was written");
    }
    CHECK(pages.value(7, 1) == 7 && pages.value(2, 1) == 7 && pages.value(3, 1) == -1, "values");
}

void test_rotation_table() {
    const std::vector<int32_t> query_pos = {1000000, -1}, rotary_pos = {1};
    const std::vector<float> inv_freq = {1.0f, 0.1f};
    std::vector<float> table(8, 9);
    cpu::rotation_table({query_pos.data(), rotary_pos.data(), inv_freq.data(), table.data(), 1, 2, 2},
                        std_threads(1));
    for (int pair = 0; pair < 2; ++pair) {
        const double angle = 999999.0 * inv_freq[pair];
        CHECK(std::abs(table[pair] - std::cos(angle)) < 1e-7, "cos of pair %d is %g", pair, table[pair]);
        CHECK(std::abs(table[2 + pair] - std::sin(angle)) < 1e-7, "sin of pair %d is %g", pair,
              table[2 + pair]);
        CHECK(table[4 + pair] == 1 && table[6 + pair] == 0, "a block that is not seen is rotated");
    }
}

// Every value of a 16-bit float survives the way through fp32, and halfway between two of them the even one
// wins.
template <typename T>
void test_conversions(uint32_t infinity) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const T value{static_cast<uint16_t>(bits)};
        const float wide = cpu::to_float(value);
        T back;
        cpu::from_float(wide, back);
        const bool is_nan = (bits & 0x7fffu) > infinity;
        CHECK(is_nan ? std::isnan(wide) && std::isnan(cpu::to_float(back)) : back.bits == bits, "bits %#x",
              bits);
        if ((bits & 0x7fffu) + 1 >= infinity) continue;
        const T next{static_cast<uint16_t>(bits + 1)};
        const double middle = (static_cast<double>(wide) + static_cast<double>(cpu::to_float(next))) / 2;
        T rounded;
        cpu::from_float(static_cast<float>(middle), rounded);
        CHECK(rounded.bits == (bits % 2 == 0 ? bits : bits + 1), "halfway above %#x: %#x", bits,
              rounded.bits);
    }
}

void test_dtypes() {
    test_conversions<cpu::BFloat16>(0x7f80);
    test_conversions<cpu::Float16>(0x7c00);
    cpu::Float16 largest;
    cpu::from_float(65520.0f, largest);  // halfway from the largest number to what would be the next
    CHECK(largest.bits == 0x7c00, "65520 became %#x", largest.bits);
}
