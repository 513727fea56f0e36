// Random elements in device memory: zeros would be kinder to the memory system than real keys and values are.
#pragma once

#include <cstddef>

#include "csrc/params.h"

namespace hogwild::bench {

// Fills `data` with `count` elements, uniform in [-sqrt(3), sqrt(3)) (variance 1). Waits until they are
// there.
void fill_random(void* data, DType dtype, std::size_t count, unsigned seed);

}  // namespace hogwild::bench
