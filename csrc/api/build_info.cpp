// What only the extension itself knows about how it runs; read by hogwild_cuda.build_info().
#include <torch/library.h>

#include <string>

#include "csrc/cpu/isa.h"

TORCH_LIBRARY_FRAGMENT(hogwild, library) {
    library.def("cpu_isa() -> str",
                [] { return std::string(hogwild::cpu::isa_name(hogwild::cpu::best_isa())); });
}
