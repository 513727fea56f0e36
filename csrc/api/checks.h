// Checks of one argument. Every failure names the op, the argument, what it is and what was expected:
// TypeError for dtypes, ValueError for everything else.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>

#include "csrc/api/text.h"
#include "csrc/params.h"

namespace hogwild::api {

class Argument {
  public:
    Argument(const char* op, const char* name, const at::Tensor& tensor)
        : op_(op), name_(name), tensor_(tensor) {
        HOGWILD_CHECK_VALUE(tensor.defined(), op, ": ", name, " is missing");
    }

    // Sizes of -1 are free; `meaning` says what the dimensions are, as in "[T, K, D]".
    const Argument& shape(at::IntArrayRef sizes, const char* meaning) const {
        bool equal = tensor_.dim() == static_cast<int64_t>(sizes.size());
        for (size_t i = 0; equal && i < sizes.size(); ++i) {
            equal = sizes[i] == -1 || tensor_.size(static_cast<int64_t>(i)) == sizes[i];
        }
        HOGWILD_CHECK_VALUE(equal, describe(), "; expected ", meaning, " = ", sizes, " (-1: any)");
        for (int64_t size : tensor_.sizes()) {
            HOGWILD_CHECK_VALUE(size <= std::numeric_limits<int32_t>::max(), describe(), "; too large");
        }
        return *this;
    }

    const Argument& dtype(at::ScalarType expected) const {
        HOGWILD_CHECK_TYPE(tensor_.scalar_type() == expected, describe(), "; expected dtype ", expected);
        return *this;
    }

    const Argument& floating_point() const {
        HOGWILD_CHECK_TYPE(tensor_.is_floating_point(), describe(), "; expected a floating-point dtype");
        return *this;
    }

    // `name` is the argument whose device all others share.
    const Argument& device_of(const at::Tensor& other, const char* name) const {
        HOGWILD_CHECK_VALUE(tensor_.device() == other.device(), describe(), "; expected device ",
                            other.device(), ", that of ", name);
        return *this;
    }

    const Argument& contiguous() const {
        HOGWILD_CHECK_VALUE(tensor_.is_contiguous(), describe(), " and strides ", tensor_.strides(),
                            "; expected a contiguous tensor");
        return *this;
    }

    // What an op writes is no memory of another argument: which bits the other would have depends on threads.
    const Argument& apart_from(const at::Tensor& other, const char* name) const {
        HOGWILD_CHECK_VALUE(!overlap(tensor_, other), describe(), " and shares memory with ", name,
                            "; expected memory of its own");
        return *this;
    }

    DType element_type() const {
        switch (tensor_.scalar_type()) {
            case at::kFloat:
                return DType::kFloat32;
            case at::kBFloat16:
                return DType::kBFloat16;
            case at::kHalf:
                return DType::kFloat16;
            default:
                HOGWILD_CHECK_TYPE(false, describe(), "; expected dtype Float, BFloat16 or Half");
        }
    }

  private:
    // Whether elements of one tensor lie between those of another.
    static bool overlap(const at::Tensor& a, const at::Tensor& b) {
        return a.numel() > 0 && b.numel() > 0 && begin_of(a) < end_of(b) && begin_of(b) < end_of(a);
    }
    static const char* begin_of(const at::Tensor& tensor) {
        return static_cast<const char*>(tensor.const_data_ptr());
    }
    static const char* end_of(const at::Tensor& tensor) {
        int64_t last = 0;
        for (int64_t dim = 0; dim < tensor.dim(); ++dim) last += (tensor.size(dim) - 1) * tensor.stride(dim);
        return begin_of(tensor) + (last + 1) * static_cast<int64_t>(tensor.element_size());
    }

    std::string describe() const {
        return cat(op_, ": ", name_, " is ", tensor_.scalar_type(), " of shape ", tensor_.sizes(), " on ",
                   tensor_.device());
    }

    const char* op_;
    const char* name_;
    const at::Tensor& tensor_;
};

}  // namespace hogwild::api
