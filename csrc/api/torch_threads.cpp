#include "csrc/api/torch_threads.h"

#include <ATen/Parallel.h>
#include <torch/csrc/stable/c/shim.h>

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "csrc/api/text.h"

namespace hogwild::api {
namespace {

int64_t read_min_work() {
    const char* value = std::getenv("HOGWILD_CPU_MIN_WORK");
    if (value == nullptr || *value == '\0') return cpu::kDefaultMinWork;
    const char* end = value + std::strlen(value);
    int64_t min_work = 0;
    const auto [rest, error] = std::from_chars(value, end, min_work);
    HOGWILD_CHECK_VALUE(error == std::errc() && rest == end && min_work >= 1, "HOGWILD_CPU_MIN_WORK is \"",
                        value, "\"; expected a number of multiply-adds, 1 or more");
    return min_work;
}

}  // namespace

cpu::Parallel torch_threads() {
    static const int64_t min_work = read_min_work();
    // Not at::parallel_for: it is a header's code, and serial unless this file is compiled with OpenMP, which
    // may then be another one than torch's. This runs inside of torch, on its threads.
    const auto run = [](int count, const std::function<void(int)>& body) {
        const auto range = [](int64_t begin, int64_t end, void* context) {
            const auto& function = *static_cast<const std::function<void(int)>*>(context);
            for (int64_t index = begin; index < end; ++index) function(static_cast<int>(index));
        };
        const AOTITorchError error =
            torch_parallel_for(0, count, 1, range, const_cast<std::function<void(int)>*>(&body));
        TORCH_CHECK(error == AOTI_TORCH_SUCCESS, "torch_parallel_for failed");
    };
    return {at::get_num_threads(), run, min_work};
}

}  // namespace hogwild::api
