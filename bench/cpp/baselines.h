// Plain kernels that an op's time is compared with.
#pragma once

#include <cstddef>

#include "bench/cpp/timing.h"

namespace hogwild::bench {

// What a launch costs that does nothing.
Launch empty_launch();

// Reads `bytes` of random data.
Launch read_launch(std::size_t bytes);

// Reads half of `bytes` and writes the other half.
Launch copy_launch(std::size_t bytes);

}  // namespace hogwild::bench
