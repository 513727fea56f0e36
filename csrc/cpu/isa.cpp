#include "csrc/cpu/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace hogwild::cpu {
namespace {

constexpr Isa kWidestFirst[] = {Isa::kAvx512, Isa::kAvx2, Isa::kBaseline};

Isa choose() {
    const char* value = std::getenv("HOGWILD_CPU_ISA");
    const std::string wanted = value == nullptr ? "" : value;
    std::string known, supported;
    for (Isa isa : kWidestFirst) {
        const std::string name = isa_name(isa);
        known += (known.empty() ? "" : ", ") + name;
        if (!isa_supported(isa)) continue;
        if (wanted.empty() || wanted == name) return isa;
        supported += (supported.empty() ? "" : ", ") + name;
    }
    throw std::invalid_argument("HOGWILD_CPU_ISA is \"" + wanted + "\"; expected one of " + known +
                                ", and of these the processor supports " + supported);
}

}  // namespace

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::kAvx512:
            return "avx512";
        case Isa::kAvx2:
            return "avx2";
        case Isa::kBaseline:
            break;
    }
    return "baseline";
}

bool isa_supported(Isa isa) {
    if (isa == Isa::kBaseline) return true;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (isa == Isa::kAvx2) return avx2;
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

Isa best_isa() {
    static const Isa isa = choose();
    return isa;
}

}  // namespace hogwild::cpu
