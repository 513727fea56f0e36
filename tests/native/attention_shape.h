// What the calls of hogwild::attention that the tests make look like: one of every kind, or random ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "csrc/params.h"

namespace hogwild {

class Random {
  public:
    explicit Random(std::uint64_t seed) : bits_(seed) {}

    int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(bits_); }
    bool one_in(int count) { return pick(1, count) == 1; }
    std::uint64_t seed() { return bits_(); }

    template <typename T>
    T choose(std::initializer_list<T> values) {
        return values.begin()[pick(0, static_cast<int>(values.size()) - 1)];
    }

    template <typename T>
    void shuffle(std::vector<T>& values) {
        std::shuffle(values.begin(), values.end(), bits_);
    }

  private:
    std::mt19937_64 bits_;
};

struct AttentionShape {
    DType dtype = DType::kBFloat16;
    int kv_heads = 2;
    int ratio = 4;  // query heads per kv head
    int head_dim = 128;
    int value_dim = 128;
    int page_size = 16;
    int groups = 1;
    int min_workers = 1;  // of a group
    int max_workers = 4;
    int max_other_blocks = 3;  // of a group: blocks that no worker writes to
    int max_block_tokens = 100;
    int long_block_tokens = 0;  // length of one block of the first group; 0: like the others
    int max_new_tokens = 3;     // of a worker
    int group_tokens = 0;       // new tokens of a group's workers together; 0: each draws its own number
    bool padding = false;       // tokens inside and outside of groups that see nothing
    int far = 0;                // what is added to the positions of some workers
    RotaryDims rotary = {64, 0, false};
    int window = 0;
    float softcap = 0;
    bool sinks = false;
    float scale = 0.09f;
    std::uint64_t seed = 0;  // of everything that is drawn
};

inline const char* name(DType dtype) {
    return dtype == DType::kFloat32 ? "fp32" : dtype == DType::kBFloat16 ? "bf16" : "fp16";
}

inline std::string describe(const AttentionShape& s) {
    char text[400];
    std::snprintf(
        text, sizeof text,
        "%s, %d kv heads x %d, D %d, Dv %d, page %d, %d groups, up to %d workers and %d other blocks, "
        "%d new tokens, rotary %d from %d%s, window %d, softcap %g, sinks %d, scale %g, seed %llu",
        name(s.dtype), s.kv_heads, s.ratio, s.head_dim, s.value_dim, s.page_size, s.groups, s.max_workers,
        s.max_other_blocks, s.group_tokens ? s.group_tokens : s.max_new_tokens, 2 * s.rotary.half,
        s.rotary.start, s.rotary.interleaved ? " interleaved" : "", s.window, s.softcap, s.sinks, s.scale,
        static_cast<unsigned long long>(s.seed));
    return text;
}

// Which pairs are rotated: none, the whole head in halves, a part of it in halves, or neighbours.
constexpr int kRotations = 4;

inline RotaryDims rotary_dims(int rotation, int head_dim) {
    switch (rotation) {
        case 1:
            return {head_dim / 2, 0, false};
        case 2:  // a quarter of the head, from its middle on
            return {head_dim / 8, head_dim / 2, false};
        case 3:
            return {head_dim / 2, 0, true};
        default:
            return {0, 0, false};
    }
}

// Every dtype, head dim, number of 16-row slabs (the last: more than a row tile) and kind of rotation; the
// other features are dealt out over them.
inline std::vector<AttentionShape> every_kind() {
    std::vector<AttentionShape> shapes;
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
        for (const int head_dim : {64, 80, 96, 112, 128, 256}) {
            for (int slabs = 1; slabs <= 9; ++slabs) {
                if (dtype == DType::kFloat32 && slabs % 4 != 1) continue;  // the simple kernel has no slabs
                for (int rotation = 0; rotation < kRotations; ++rotation) {
                    Random random(shapes.size());
                    AttentionShape s;
                    s.dtype = dtype;
                    s.head_dim = s.value_dim = head_dim;
                    s.ratio = 4;
                    s.padding = random.one_in(2);
                    s.group_tokens = 4 * slabs - (s.padding ? 1 : 0);  // one of them may be padding
                    s.min_workers = s.max_workers = std::min(3, s.group_tokens);
                    s.page_size = random.choose({16, 32, 64});
                    s.groups = random.pick(1, 2);
                    s.max_block_tokens = 40;
                    s.long_block_tokens = random.pick(130, 200);  // several tiles of keys
                    s.rotary = rotary_dims(rotation, head_dim);
                    s.far = random.choose({0, 1'000'000});
                    s.window = random.one_in(3) ? random.pick(1, 60) : 0;
                    s.softcap = random.one_in(3) ? 3.f : 0.f;
                    s.sinks = random.one_in(2);
                    s.scale = (random.one_in(8) ? -1 : 1) / std::sqrt(float(head_dim));
                    s.seed = random.seed();
                    shapes.push_back(s);
                }
            }
        }
    }
    return shapes;
}

// Calls for the kernel of one session, of each dtype and head dim; what it serves is dealt out over them.
inline std::vector<AttentionShape> sessions(std::uint64_t seed) {
    std::vector<AttentionShape> shapes;
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
        for (const int head_dim : {64, 80, 96, 112, 128, 256}) {
            Random random(seed * 100 + shapes.size());
            AttentionShape s;
            s.dtype = dtype;
            s.head_dim = s.value_dim = head_dim;
            s.kv_heads = random.pick(1, 4);
            s.ratio = random.pick(1, 12);
            const int most_rows = head_dim > 128 ? 64 : 128;
            s.group_tokens = random.pick(1, std::min(20, most_rows / s.ratio));
            constexpr int kMostPadding = 7;  // it counts as rows of the call
            s.padding = random.one_in(2) && (s.group_tokens + kMostPadding) * s.ratio <= most_rows;
            s.min_workers = s.max_workers = random.pick(1, std::min(8, s.group_tokens));
            s.max_other_blocks = random.pick(0, 5);
            s.max_block_tokens = random.choose({1, 5, 100});
            s.long_block_tokens = random.choose({0, 0, 300, 2000});
            s.page_size = random.choose({16, 32, 64});
            s.rotary = rotary_dims(random.one_in(4) ? 0 : 1, head_dim);
            s.far = random.choose({0, 1'000'000});
            s.window = random.one_in(4) ? random.pick(1, 200) : 0;
            s.sinks = random.one_in(3);
            s.scale = 1 / std::sqrt(float(head_dim));
            s.seed = random.seed();
            shapes.push_back(s);
        }
    }
    return shapes;
}

// Calls for the kernel for few keys, if a kv head has eight CTAs or more; likewise.
inline std::vector<AttentionShape> short_sessions(std::uint64_t seed) {
    std::vector<AttentionShape> shapes;
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
        for (const int head_dim : {64, 80, 96, 112, 128}) {
            Random random(seed * 100 + 50 + shapes.size());
            AttentionShape s;
            s.dtype = dtype;
            s.head_dim = s.value_dim = head_dim;
            s.kv_heads = random.pick(1, 2);
            s.ratio = random.pick(1, 12);
            constexpr int kMostRows = 64;
            s.group_tokens = random.pick(1, std::min(20, kMostRows / s.ratio));
            constexpr int kMostPadding = 7;  // it counts as rows of the call
            s.padding = random.one_in(2) && (s.group_tokens + kMostPadding) * s.ratio <= kMostRows;
            const bool many_blocks = random.one_in(2);
            s.min_workers = s.max_workers = random.pick(1, std::min(many_blocks ? 8 : 4, s.group_tokens));
            s.max_other_blocks = random.pick(0, many_blocks ? 5 : 3);
            s.max_block_tokens = many_blocks ? random.choose({1, 5, 40, 60}) : random.pick(60, 120);
            s.page_size = many_blocks ? random.choose({16, 32}) : random.choose({16, 32, 64});
            s.rotary = rotary_dims(random.one_in(4) ? 0 : 1, head_dim);
            s.far = random.choose({0, 1'000'000});
            s.window = random.one_in(4) ? random.pick(1, 200) : 0;
            s.sinks = random.one_in(3);
            s.scale = 1 / std::sqrt(float(head_dim));
            s.seed = random.seed();
            shapes.push_back(s);
        }
    }
    return shapes;
}

// Several sessions, of which one has a block so long that CTAs take it in two parts.
inline AttentionShape long_session_among_others() {
    AttentionShape s;
    s.kv_heads = 1;
    s.groups = 3;
    s.max_other_blocks = 6;
    s.long_block_tokens = 2500;
    s.padding = true;
    s.seed = 2;
    return s;
}

// One session, of as many kv heads as leave some multiprocessors without one, but no more than three tenths.
inline AttentionShape session_of_uneven_heads(int multiprocessors) {
    AttentionShape s;
    s.max_new_tokens = 1;
    s.long_block_tokens = 300;
    s.seed = 3;
    for (s.kv_heads = 1;; ++s.kv_heads) {
        const int busy = multiprocessors / s.kv_heads * s.kv_heads;
        if (busy * 16 < multiprocessors * 15 && busy * 10 >= multiprocessors * 7) return s;
    }
}

// More groups, blocks or keys than a warp or a CTA takes at a time.
inline std::vector<AttentionShape> crowds() {
    AttentionShape groups;
    groups.groups = 70;
    groups.max_workers = 2;
    groups.padding = true;
    AttentionShape blocks;
    blocks.max_other_blocks = 250;
    blocks.max_block_tokens = 30;
    blocks.seed = 1;
    AttentionShape keys;  // of one kv head, for all CTAs
    keys.kv_heads = 1;
    keys.long_block_tokens = 6000;
    return {groups, blocks, keys, long_session_among_others()};
}

// Products of a query with a key, about: bounds what the reference costs.
inline double work(const AttentionShape& s) {
    const double workers = (s.min_workers + s.max_workers) / 2.0;
    const double rows = workers * (s.max_new_tokens + 1) / 2 * s.kv_heads * s.ratio;
    const double keys = (workers + s.max_other_blocks / 2.0) * s.max_block_tokens / 2;
    return rows * (keys * s.groups + s.long_block_tokens);
}

// Any mixture of the features.
inline AttentionShape random_shape(std::uint64_t seed) {
    Random random(seed);
    AttentionShape s;
    s.seed = seed;
    s.dtype = random.choose(
        {DType::kBFloat16, DType::kBFloat16, DType::kFloat16, DType::kFloat16, DType::kFloat32});
    s.kv_heads = random.pick(1, 8);
    s.ratio = random.pick(1, 16);
    s.page_size = random.choose({16, 32, 64});
    s.head_dim = s.value_dim = random.choose({64, 80, 96, 112, 128, 256});
    if (s.dtype == DType::kFloat32 && random.one_in(2)) {  // which is to take any
        s.head_dim = random.choose({2, 10, 33, 192});
        s.value_dim = random.choose({1, 7, 33, 128});
        s.page_size = random.choose({1, 5, 48});
    }
    s.groups = random.one_in(20) ? 0 : random.pick(1, 6);
    s.min_workers = random.pick(0, 1);
    s.max_workers = random.pick(1, 16);
    s.max_other_blocks = random.pick(0, 4);
    s.max_block_tokens = random.choose({5, 100, 300});
    s.max_new_tokens = random.choose({1, 1, 2, 6});
    switch (random.pick(1, 20)) {
        case 1:
        case 2:
            s.long_block_tokens = random.pick(1000, 6000);
            break;
        case 3:  // a small prefill
            s.max_new_tokens = 64;
            s.max_workers = random.pick(1, 4);
            break;
        case 4:  // many groups
            s.groups = random.pick(33, 80);
            s.max_workers = 2;
            s.max_block_tokens = 40;
            break;
        case 5:  // many blocks
            s.max_other_blocks = random.pick(50, 250);
            s.max_block_tokens = 30;
            break;
    }
    s.padding = random.one_in(2);
    s.far = random.choose({0, 1000, 1'000'000});
    s.rotary = rotary_dims(random.pick(0, kRotations - 1), s.head_dim);
    if (s.rotary.half > 0 && random.one_in(3)) {  // any other pairs, vectors of them or not
        const int step = s.head_dim % 16 == 0 ? random.choose({8, 1}) : 1;
        s.rotary.half = step * random.pick(1, s.head_dim / (2 * step));
        s.rotary.start = step * random.pick(0, (s.head_dim - 2 * s.rotary.half) / step);
    }
    s.window = random.one_in(3) ? random.choose({1, 7, 50, 700}) : 0;
    s.softcap = random.one_in(4) ? random.choose({2.f, 30.f}) : 0.f;
    s.sinks = random.one_in(3);
    s.scale = random.choose({0.5f, 1.f, 1.f, 2.f}) / std::sqrt(float(s.head_dim));
    // Scores of some hundreds, which only a query that nothing rounds can have.
    if (s.rotary.half == 0 && random.one_in(4)) s.scale *= 64;
    if (random.one_in(10)) s.scale = -s.scale;
    constexpr double kMostWork = 4e6;
    while (work(s) > kMostWork) {
        int* const size = random.choose({&s.kv_heads, &s.ratio, &s.max_workers, &s.groups});
        *size = std::max(1, *size / 2);
    }
    return s;
}

}  // namespace hogwild
