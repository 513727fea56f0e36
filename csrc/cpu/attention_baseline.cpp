#include "csrc/cpu/attention_kernel.h"
#include "csrc/cpu/attention_plan.h"
#include "csrc/cpu/dtype.h"

#define HOGWILD_VECTOR_BYTES 16
namespace hogwild::cpu::baseline {
#include "csrc/cpu/attention_kernel.inl"
}  // namespace hogwild::cpu::baseline
