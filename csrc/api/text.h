// Text of error messages, without iostreams: where the compiler links its own copy of libstdc++ into the
// extension, streams formatted in part by that copy and in part by PyTorch's crash on the first number.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <cstdio>
#include <string>

namespace hogwild::api {

inline std::string text(const char* value) { return value; }
inline std::string text(const std::string& value) { return value; }
inline std::string text(int value) { return std::to_string(value); }
inline std::string text(int64_t value) { return std::to_string(value); }
inline std::string text(at::ScalarType value) { return at::toString(value); }
inline std::string text(const at::Device& value) { return value.str(); }

inline std::string text(double value) {
    char buffer[32];
    std::snprintf(buffer, sizeof(buffer), "%g", value);
    return buffer;
}

inline std::string text(at::IntArrayRef values) {
    std::string out = "[";
    for (size_t i = 0; i < values.size(); ++i) {
        out += (i == 0 ? "" : ", ") + std::to_string(values[i]);
    }
    return out + "]";
}

template <class... Parts>
std::string cat(const Parts&... parts) {
    std::string out;
    ((out += text(parts)), ...);
    return out;
}

}  // namespace hogwild::api

#define HOGWILD_CHECK_VALUE(condition, ...) TORCH_CHECK_VALUE(condition, ::hogwild::api::cat(__VA_ARGS__))
#define HOGWILD_CHECK_TYPE(condition, ...) TORCH_CHECK_TYPE(condition, ::hogwild::api::cat(__VA_ARGS__))
