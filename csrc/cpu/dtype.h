// Storage types of the 16-bit floats, and their conversions one element at a time (round to nearest, ties to
// even).
#pragma once

#include <cstdint>
#include <cstring>

#include "csrc/params.h"

namespace hogwild::cpu {

struct BFloat16 {
    uint16_t bits;
};

struct Float16 {
    uint16_t bits;
};

inline uint32_t float_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float bits_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float to_float(float value) { return value; }

inline float to_float(BFloat16 value) { return bits_float(uint32_t{value.bits} << 16); }

inline float to_float(Float16 value) {
    const uint32_t sign = (value.bits & 0x8000u) << 16;
    const uint32_t exponent = value.bits & 0x7c00u;
    const uint32_t magnitude = (value.bits & 0x7fffu) << 13;
    if (exponent == 0x7c00u) return bits_float(sign | magnitude | 0x7f800000u);
    if (exponent != 0) return bits_float(sign | (magnitude + ((127u - 15u) << 23)));
    const float subnormal = static_cast<float>(value.bits & 0x3ffu) * 0x1p-24f;
    return bits_float(sign | float_bits(subnormal));
}

inline void from_float(float value, float& result) { result = value; }

inline void from_float(float value, BFloat16& result) {
    const uint32_t bits = float_bits(value);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    result.bits = static_cast<uint16_t>(value == value ? rounded : 0x7fc0u);
}

inline void from_float(float value, Float16& result) {
    const uint32_t bits = float_bits(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t half;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00u;
    } else if (magnitude >= 0x47800000u) {  // 2^16 and more; what rounds up to it carries into infinity below
        half = 0x7c00u;
    } else if (magnitude >= 0x38800000u) {  // normal: from 2^-14
        const uint32_t rebiased = magnitude - ((127u - 15u) << 23);
        half = (rebiased + 0xfffu + ((rebiased >> 13) & 1u)) >> 13;
    } else {
        // Adding 0.5 leaves a subnormal's bits, rounded, at the bottom of the sum's mantissa.
        half = float_bits(bits_float(magnitude) + 0.5f) - float_bits(0.5f);
    }
    result.bits = static_cast<uint16_t>(sign | half);
}

// Calls function(T{}) with the storage type of `dtype`.
template <typename Function>
auto dispatch(DType dtype, const Function& function) {
    switch (dtype) {
        case DType::kBFloat16:
            return function(BFloat16{});
        case DType::kFloat16:
            return function(Float16{});
        case DType::kFloat32:
            break;
    }
    return function(float{});
}

}  // namespace hogwild::cpu
