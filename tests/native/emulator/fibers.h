// CUDA threads as fibers of one thread of the CPU, for tests of kernels where there is no GPU.
//
// A kernel of one launch runs as it would on a device, from one collective instruction to the next: the lanes
// of a warp wait for each other in shuffles, votes and matrix instructions, the warps of a CTA in barriers,
// CTAs in the grid's. Between those, fibers run in a random order and for random times, and copies from
// global to shared memory are done as late as they may be, so that a barrier or a wait that is missing gives
// wrong numbers. Shared memory is NaN at first. What stops everything: a deadlock, a write behind a CTA's
// shared memory, and addresses that an instruction would not take.
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>

namespace emulator {

constexpr int kLanes = 32;
constexpr std::size_t kMostShared = 232448;  // bytes of a CTA, as of compute capability 9.0

// Which thread runs.
dim3 thread();
dim3 block();
int lane();

// Runs a kernel, the threads of all CTAs. Returns when all have returned.
void launch(int ctas, int threads, std::size_t shared_bytes, const std::function<void()>& kernel);

// Lets others run while a word has a value. They change it to another one, sooner or later.
void wait_while(const std::uint32_t& word, std::uint32_t value);

// By all lanes of a warp, each with some words of its own: all lanes' words, after `complete` if it is given
// has changed them, which nothing else of the warp comes before or after.
constexpr int kWords = 6;
struct Words {
    std::uint32_t at[kWords];
};
using Exchanged = Words[kLanes];
const Exchanged& exchange(Words mine, void (*complete)(Exchanged&) = nullptr);

void sync_cta();
bool any_of_cta(bool mine);     // the same; whether any thread has said so
void arrive_at_grid_barrier();  // by all threads of a CTA, which meet
void wait_at_grid_barrier();

// Words that CTAs tell each other: made absent (all bits set) first, then written once. A load may find one
// absent that is there already.
void store_published(void* to, const std::uint32_t* words, int count);
void load_published(std::uint32_t* words, const void* from, int count);

// Shared memory is addressed by bytes from its begin. Of `size` bytes, those beyond `valid` become zero.
void copy_async(std::uint32_t to, const void* from, int size, int valid);
void commit_copies();                      // those of the thread since the last time are a group
void wait_for_copies();                    // for the thread's own
void wait_for_copies(std::size_t groups);  // the same but for its last groups

[[noreturn]] void fail(const char* what, std::uint64_t where);

}  // namespace emulator
