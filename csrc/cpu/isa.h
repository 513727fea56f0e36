// The instruction sets that the attention kernel is compiled for; one is chosen when the program runs.
#pragma once

namespace hogwild::cpu {

enum class Isa { kBaseline, kAvx2, kAvx512 };

const char* isa_name(Isa isa);

bool isa_supported(Isa isa);

// The widest that this machine supports, or the narrower one that HOGWILD_CPU_ISA names: baseline, avx2,
// avx512.
Isa best_isa();

}  // namespace hogwild::cpu
