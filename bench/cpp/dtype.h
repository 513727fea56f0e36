// Element types by the names that flags and results have for them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "csrc/params.h"

namespace hogwild::bench {

inline std::optional<DType> dtype_named(const std::string& name) {
    if (name == "fp32") return DType::kFloat32;
    if (name == "bf16") return DType::kBFloat16;
    if (name == "fp16") return DType::kFloat16;
    return std::nullopt;
}

inline std::size_t element_size(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

}  // namespace hogwild::bench
