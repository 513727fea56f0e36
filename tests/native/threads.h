// Threads for the CPU ops where there is no torch: new ones for every call.
#pragma once

#include <thread>
#include <vector>

#include "csrc/cpu/parallel.h"

inline hogwild::cpu::Parallel std_threads(int num_threads, int64_t min_work = hogwild::cpu::kDefaultMinWork) {
    const auto run = [](int count, const std::function<void(int)>& body) {
        std::vector<std::thread> threads;
        for (int i = 1; i < count; ++i) threads.emplace_back(body, i);
        body(0);
        for (std::thread& thread : threads) thread.join();
    };
    return {num_threads, run, min_work};
}
