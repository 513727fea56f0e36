// Vectors of HOGWILD_VECTOR_BYTES in the compiler's own vector types. Included inside the namespace of one
// instruction set: nothing here may be shared between them, so nothing of the standard library is
// instantiated.

constexpr int kLanes = HOGWILD_VECTOR_BYTES / 4;

typedef float Vec __attribute__((vector_size(HOGWILD_VECTOR_BYTES)));
typedef int32_t IntVec __attribute__((vector_size(HOGWILD_VECTOR_BYTES)));
typedef uint32_t BitVec __attribute__((vector_size(HOGWILD_VECTOR_BYTES)));
typedef uint16_t HalfVec __attribute__((vector_size(HOGWILD_VECTOR_BYTES / 2)));

#define HOGWILD_INLINE static inline __attribute__((always_inline))

template <typename V, typename T>
HOGWILD_INLINE V load(const T* source) {
    V result;
    __builtin_memcpy(&result, source, sizeof result);
    return result;
}

template <typename V, typename T>
HOGWILD_INLINE void store(T* target, const V& value) {
    __builtin_memcpy(target, &value, sizeof value);
}

HOGWILD_INLINE Vec splat(float value) { return value - Vec{}; }

HOGWILD_INLINE Vec as_float(BitVec bits) { return (Vec)bits; }

HOGWILD_INLINE Vec widen(const BFloat16* source) {
    return as_float(__builtin_convertvector(load<HalfVec>(source), BitVec) << 16);
}

HOGWILD_INLINE Vec widen(const Float16* source) {
#if HOGWILD_VECTOR_BYTES == 64
    return (Vec)_mm512_maskz_cvtph_ps(0xffff, load<__m256i>(source));
#elif HOGWILD_VECTOR_BYTES == 32
    return (Vec)_mm256_cvtph_ps(load<__m128i>(source));
#else
    const BitVec bits = __builtin_convertvector(load<HalfVec>(source), BitVec);
    const BitVec exponent = bits & 0x7c00u;
    const BitVec magnitude = (bits & 0x7fffu) << 13;
    const BitVec normal = magnitude + ((127u - 15u) << 23);
    const BitVec special = magnitude | 0x7f800000u;
    const Vec subnormal = __builtin_convertvector((IntVec)(bits & 0x3ffu), Vec) * 0x1p-24f;
    const BitVec finite = exponent == 0 ? (BitVec)subnormal : normal;
    return as_float((exponent == 0x7c00u ? special : finite) | ((bits & 0x8000u) << 16));
#endif
}

// `count` elements as fp32: those given, or their conversion in `scratch`.
HOGWILD_INLINE const float* widen_all(const float* source, int64_t, float*) { return source; }

template <typename T>
HOGWILD_INLINE const float* widen_all(const T* source, int64_t count, float* scratch) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store(scratch + i, widen(source + i));
    for (; i < count; ++i) scratch[i] = to_float(source[i]);
    return scratch;
}

// e^x for x <= 0, to about 1 ulp; 0 below the normal numbers; NaN for NaN.
HOGWILD_INLINE Vec exp_nonpositive(Vec x) {
    constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    const Vec shifted = x * 1.44269504088896341f + kRounder;
    const Vec n = shifted - kRounder;
    Vec r = x - n * 0.693145751953125f;  // ln 2 in two parts, the first with few bits: the product is exact
    r = r - n * 1.428606765330187045e-6f;
    Vec poly = splat(1.3901305739547833e-3f);
    poly = poly * r + 8.363200051589166e-3f;
    poly = poly * r + 4.1666854143194015e-2f;
    poly = poly * r + 1.666657696226817e-1f;
    poly = poly * r + 4.999999955009858e-1f;
    poly = poly * (r * r) + r + 1.0f;
    const Vec power = as_float(((BitVec)shifted << 23) + (127u << 23));
    return x < -87.3f ? Vec{} : poly * power;
}

// tanh to about 2 ulp.
HOGWILD_INLINE Vec tanh_all(Vec x) {
    const Vec magnitude = as_float((BitVec)x & 0x7fffffffu);
    const Vec e = exp_nonpositive(magnitude * -2.0f);
    const Vec far = (1.0f - e) / (1.0f + e);
    const Vec signed_far = as_float((BitVec)far | ((BitVec)x & 0x80000000u));
    const Vec z = x * x;
    Vec poly = splat(-6.269314673450092e-3f);
    poly = poly * z + 2.1111099980725887e-2f;
    poly = poly * z - 5.3873980729441946e-2f;
    poly = poly * z + 1.333291559818477e-1f;
    poly = poly * z - 3.333333033534075e-1f;
    const Vec near = poly * (z * x) + x;
    return magnitude < 0.6f ? near : signed_far;
}
