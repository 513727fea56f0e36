// How the CPU ops are given threads: by their caller, so that they share torch's pool without knowing torch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace hogwild::cpu {

// Some tens of microseconds.
constexpr int64_t kDefaultMinWork = 1 << 21;

struct Parallel {
    int num_threads;
    // Calls body(0) .. body(count - 1), in any order, each on any thread, and returns when all are done.
    void (*run)(int count, const std::function<void(int)>& body);
    // Multiply-adds that a thread must have to do to be worth waking; `attention` asks.
    int64_t min_work = kDefaultMinWork;
};

// body(begin, end) over [0, count) cut into one piece per thread, none smaller than `grain`.
template <typename Body>
void for_ranges(const Parallel& parallel, int64_t count, int64_t grain, const Body& body) {
    const int64_t pieces = std::clamp<int64_t>(count / grain, 1, parallel.num_threads);
    if (pieces == 1) return body(int64_t{0}, count);
    parallel.run(static_cast<int>(pieces),
                 [&](int piece) { body(count * piece / pieces, count * (piece + 1) / pieces); });
}

}  // namespace hogwild::cpu
