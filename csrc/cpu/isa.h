// The instruction sets that the attention kernel is compiled for; one is chosen when the program runs.
#pragma once

namespace hogwild::cpu {

enum class Isa { kBaseline, kAvx2, kAvx512 };

const char* isa_name(Isa isa);

bool isa_supported(Isa isa);

// The widest that this processor supports, or the one that the environment variable HOGWILD_CPU_ISA names:
// baseline, avx2 or avx512. Read at the first call; std::invalid_argument (in Python: ValueError) if there is
// no instruction set of that name or this processor lacks it. Set but empty is as not set.
Isa best_isa();

}  // namespace hogwild::cpu
