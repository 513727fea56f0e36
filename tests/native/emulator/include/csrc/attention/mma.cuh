// In place of the instructions of csrc/attention/mma.cuh.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "csrc/attention/pack.cuh"

namespace hogwild::cuda {

extern unsigned char shared_memory[];

inline std::uint32_t shared_address(const void* pointer) {
    return static_cast<std::uint32_t>(static_cast<const unsigned char*>(pointer) - shared_memory);
}

struct CachePolicy {
    static CachePolicy evict_first() { return {}; }
    static CachePolicy normal() { return {}; }
};

inline void copy_async(std::uint32_t to, const void* from, bool valid) {
    emulator::copy_async(to, from, 16, valid ? 16 : 0);
}
inline void copy_async(std::uint32_t to, const void* from, bool valid, CachePolicy) {
    copy_async(to, from, valid);
}
inline void copy_word_async(std::uint32_t to, const void* from) { emulator::copy_async(to, from, 4, 4); }
inline void wait_for_copies() { emulator::wait_for_copies(); }
inline void commit_copies() { emulator::commit_copies(); }
template <int kGroups>
void wait_for_copies_but() {
    emulator::wait_for_copies(kGroups);
}

inline void prefetch_l2(const void*) {}
template <int kBytes>
void prefetch_l2(const void*) {}

// A word is published once, when it has been made absent, and may be seen later than it is written.
template <int kWords>
struct Words {
    std::uint32_t at[kWords];
};
template <int kWords>
void store_relaxed(void* to, const Words<kWords>& words) {
    emulator::store_published(to, words.at, kWords);
}
template <int kWords>
void load_relaxed(const void* from, Words<kWords>& words) {
    emulator::load_published(words.at, from, kWords);
}

// From the addresses of rows, a lane each, to the lanes' elements of four matrices: two neighbours of a row,
// or of a column.
template <bool kTransposed>
void load_matrices(emulator::Exchanged& words) {
    std::uint32_t rows[emulator::kLanes];
    for (int i = 0; i < emulator::kLanes; ++i) {
        rows[i] = words[i].at[0];
        if (rows[i] % 16 != 0) emulator::fail("ldmatrix of a row at", rows[i]);
    }
    for (int lane = 0; lane < emulator::kLanes; ++lane) {
        for (int matrix = 0; matrix < 4; ++matrix) {
            std::uint16_t pair[2];
            for (int i = 0; i < 2; ++i) {
                const int near = lane % 4 * 2 + i;
                const int row = kTransposed ? near : lane / 4;
                const int element = kTransposed ? lane / 4 : near;
                std::memcpy(&pair[i], shared_memory + rows[8 * matrix + row] + 2 * element, sizeof pair[i]);
            }
            words[lane].at[matrix] = pair[0] | static_cast<std::uint32_t>(pair[1]) << 16;
        }
    }
}
inline void load_matrices(std::uint32_t (&to)[4], std::uint32_t row) {
    const auto& all = emulator::exchange({{row}}, load_matrices<false>);
    std::memcpy(to, all[emulator::lane()].at, sizeof to);
}
inline void load_matrices_transposed(std::uint32_t (&to)[4], std::uint32_t row) {
    const auto& all = emulator::exchange({{row}}, load_matrices<true>);
    std::memcpy(to, all[emulator::lane()].at, sizeof to);
}

// c += a b, with a 16 x 16, b 16 x 8 and fp32 c 16 x 8.
template <typename T>
void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
    const emulator::Exchanged& all = emulator::exchange({{a[0], a[1], a[2], a[3], b0, b1}});
    const int lane = emulator::lane();
    for (int k = 0; k < 16; k += 2) {
        const int column = k % 8 / 2;
        const int half = k / 8;
        const float2 b[2] = {unpack<T>(all[lane % 4 * 8 + column].at[4 + half]),
                             unpack<T>(all[lane % 4 * 8 + 4 + column].at[4 + half])};
        for (int i = 0; i < 4; ++i) {
            const float2 x = unpack<T>(all[lane / 4 * 4 + column].at[i / 2 + 2 * half]);
            c[i] += x.x * b[i % 2].x + x.y * b[i % 2].y;
        }
    }
}

template <typename T>
T opaque(T x) {
    return x;
}

inline float exp2_approx(float x) { return std::exp2(x); }

}  // namespace hogwild::cuda
