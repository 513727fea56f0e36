// What autograd is to know of a tensor that an op has written to.
#pragma once

#include <ATen/core/Tensor.h>

namespace hogwild::api {

// Counts the change, as PyTorch's own ops do: a backward pass that has kept the old numbers is refused
// instead of using the new ones.
inline void count_write(const at::Tensor& tensor) {
    if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

}  // namespace hogwild::api
