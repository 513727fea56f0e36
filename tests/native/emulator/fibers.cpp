#include "tests/native/emulator/fibers.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

namespace hogwild::cuda {

// The kernel's own name for it, see csrc/attention/ring.cuh. That of the CTA that runs.
alignas(1024) unsigned char shared_memory[emulator::kMostShared];

}  // namespace hogwild::cuda

namespace emulator {
namespace {

using hogwild::cuda::shared_memory;

constexpr std::size_t kStackBytes = 128 << 10;
constexpr int kPoison = 0xff;  // bytes of a NaN
constexpr std::uint32_t kAbsent = ~0u;

struct Copy {
    std::uint32_t to;
    const void* from;
    int size, valid;
};
using Copies = std::vector<Copy>;

struct Fiber {
    dim3 thread, block;
    ucontext_t context;
    const std::uint32_t* word = nullptr;  // it waits while this has a value
    std::uint32_t value = 0;
    std::vector<Copies> groups;  // asked for, not done
    Copies copies;               // behind the last group
    bool done = false;
};

struct Warp {
    int arrived = 0;
    std::uint32_t turn = 0;
    Exchanged words[2];  // of this turn and of the one before, which some may not have read yet
};

struct Cta {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    int arrived = 0;
    std::uint32_t turn = 0;
    int waiting_for_grid = 0;
    bool any[2] = {false, false};       // has said so, in any_of_cta, in this turn and the one before
    std::vector<unsigned char> shared;  // while others run
};

// Memory for the stacks of a launch, of which only what is used takes up room.
class Stacks {
  public:
    explicit Stacks(std::size_t count) : bytes_(count * kStackBytes) {
        memory_ =
            mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory_ == MAP_FAILED) fail("no memory for stacks", bytes_);
    }
    ~Stacks() { munmap(memory_, bytes_); }
    Stacks(const Stacks&) = delete;

    void* of(std::size_t fiber) const { return static_cast<char*>(memory_) + fiber * kStackBytes; }

  private:
    std::size_t bytes_;
    void* memory_;
};

// Of the launch.
const std::function<void()>* kernel;
std::size_t missing_at_grid;
std::uint32_t grid_turn;
bool has_run;  // some fiber, in this turn
// What runs.
ucontext_t scheduler;
Cta* cta;
Fiber* fiber;

void run_fiber() {
    (*kernel)();
    fiber->done = true;
    swapcontext(&fiber->context, &scheduler);
}

void start(Fiber& next, void* stack) {
    getcontext(&next.context);
    next.context.uc_stack.ss_sp = stack;
    next.context.uc_stack.ss_size = kStackBytes;
    next.context.uc_link = nullptr;
    makecontext(&next.context, run_fiber, 0);
}

void resume(Fiber& next) {
    if (next.done || (next.word && *next.word == next.value)) return;
    next.word = nullptr;
    has_run = true;
    fiber = &next;
    swapcontext(&scheduler, &next.context);
}

void run(const Copies& copies) {
    for (const Copy& copy : copies) {
        std::memset(shared_memory + copy.to, 0, copy.size);
        if (copy.valid > 0) std::memcpy(shared_memory + copy.to, copy.from, copy.valid);
    }
}

// Until all threads of a CTA are done, or wait for other CTAs where `stops_at_grid`.
void run_cta(std::mt19937& random, bool stops_at_grid) {
    std::memset(shared_memory, kPoison, sizeof shared_memory);
    std::copy(cta->shared.begin(), cta->shared.end(), shared_memory);
    std::vector<int> order(cta->warps.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
    while (true) {
        has_run = false;
        std::shuffle(order.begin(), order.end(), random);
        for (const int warp : order) {
            // Some get far ahead of others.
            for (unsigned turns = 1 + random() % 20; turns > 0; --turns) {
                for (int lane = 0; lane < kLanes; ++lane) resume(cta->fibers[warp * kLanes + lane]);
            }
        }
        const bool waits = cta->waiting_for_grid == static_cast<int>(cta->fibers.size());
        const bool done =
            std::all_of(cta->fibers.begin(), cta->fibers.end(), [](const Fiber& f) { return f.done; });
        if (done || (stops_at_grid && waits)) break;
        if (!has_run) fail("deadlock in CTA", cta->fibers[0].block.x);
    }
    for (std::size_t i = cta->shared.size(); i < sizeof shared_memory; ++i) {
        if (shared_memory[i] != kPoison) fail("a write behind the CTA's shared memory, at", i);
    }
    std::copy_n(shared_memory, cta->shared.size(), cta->shared.begin());
}

}  // namespace

dim3 thread() { return fiber->thread; }
dim3 block() { return fiber->block; }
int lane() { return static_cast<int>(fiber->thread.x % kLanes); }

void wait_while(const std::uint32_t& word, std::uint32_t value) {
    if (word != value) return;
    fiber->word = &word;
    fiber->value = value;
    swapcontext(&fiber->context, &scheduler);
}

const Exchanged& exchange(Words mine, void (*complete)(Exchanged&)) {
    Warp& warp = cta->warps[fiber->thread.x / kLanes];
    const std::uint32_t turn = warp.turn;
    Exchanged& words = warp.words[turn % 2];
    words[lane()] = mine;
    if (++warp.arrived == kLanes) {
        if (complete) complete(words);
        warp.arrived = 0;
        ++warp.turn;
    }
    wait_while(warp.turn, turn);
    return words;
}

void sync_cta() {
    const std::uint32_t turn = cta->turn;
    if (++cta->arrived == static_cast<int>(cta->fibers.size())) {
        cta->arrived = 0;
        ++cta->turn;
        cta->any[cta->turn % 2] = false;
    }
    wait_while(cta->turn, turn);
}

bool any_of_cta(bool mine) {
    bool& any = cta->any[cta->turn % 2];
    any = any || mine;
    sync_cta();
    return any;
}

void arrive_at_grid_barrier() {
    sync_cta();
    if (--missing_at_grid == 0) ++grid_turn;
}

void wait_at_grid_barrier() {
    ++cta->waiting_for_grid;
    wait_while(grid_turn, 0);
    sync_cta();
}

void store_published(void* to, const std::uint32_t* words, int count) {
    auto* const places = static_cast<std::uint32_t*>(to);
    for (int i = 0; i < count; ++i) {
        if (words[i] != kAbsent && places[i] != kAbsent) {
            fail("a word is published that is not absent, at", reinterpret_cast<std::uintptr_t>(places + i));
        }
        places[i] = words[i];
    }
}

void load_published(std::uint32_t* words, const void* from, int count) {
    static unsigned loads = 0;
    const bool is_late = ++loads % 3 == 0;
    for (int i = 0; i < count; ++i) {
        words[i] = is_late ? kAbsent : static_cast<const std::uint32_t*>(from)[i];
    }
}

void copy_async(std::uint32_t to, const void* from, int size, int valid) {
    if (to % size != 0 || to + size > cta->shared.size()) fail("a copy to shared memory at", to);
    if (valid > 0 && reinterpret_cast<std::uintptr_t>(from) % size != 0)
        fail("a copy from", reinterpret_cast<std::uintptr_t>(from));
    fiber->copies.push_back({to, from, size, valid});
}

void commit_copies() {
    fiber->groups.push_back(std::move(fiber->copies));
    fiber->copies.clear();
}

void wait_for_copies(std::size_t groups) {
    while (fiber->groups.size() > groups) {
        run(fiber->groups.front());
        fiber->groups.erase(fiber->groups.begin());
    }
}

void wait_for_copies() {
    wait_for_copies(0);
    run(fiber->copies);
    fiber->copies.clear();
}

void fail(const char* what, std::uint64_t where) {
    std::fprintf(stderr, "emulator: %s %llu\n", what, static_cast<unsigned long long>(where));
    std::abort();
}

void launch(int ctas, int threads, std::size_t shared_bytes, const std::function<void()>& the_kernel) {
    kernel = &the_kernel;
    missing_at_grid = static_cast<std::size_t>(ctas) * threads;
    grid_turn = 0;
    const Stacks stacks(missing_at_grid);
    std::vector<Cta> all(ctas);
    for (int b = 0; b < ctas; ++b) {
        all[b].shared.assign(shared_bytes, kPoison);
        all[b].warps.resize(threads / kLanes);
        all[b].fibers.resize(threads);
        for (int t = 0; t < threads; ++t) {
            all[b].fibers[t].thread = dim3(t);
            all[b].fibers[t].block = dim3(b);
            start(all[b].fibers[t], stacks.of(static_cast<std::size_t>(b) * threads + t));
        }
    }
    std::mt19937 random(ctas);
    for (const bool stops_at_grid : {true, false}) {
        for (Cta& next : all) {
            cta = &next;
            run_cta(random, stops_at_grid);
        }
    }
}

}  // namespace emulator
