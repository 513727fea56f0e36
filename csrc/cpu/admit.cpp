#include "csrc/cpu/ops.h"

namespace hogwild::cpu {

void admit(const AdmitParams& params) {
    bool all = true;
    for (int i = 0; i < params.num_tokens; ++i) {
        const int64_t token = params.tokens[i];
        const int32_t row = params.classes[i];
        const bool known = token >= 0 && token < params.num_ids && row >= 0 && row < params.num_classes;
        all = all && known && params.plain[row * params.num_ids + token];
        params.ids[i] = token;
    }
    *params.admitted = all;
}

}  // namespace hogwild::cpu
