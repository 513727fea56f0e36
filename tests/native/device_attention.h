// A case of hogwild::attention in device memory, and its launches.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "attention_case.h"
#include "attention_compare.h"
#include "bench/cpp/device.h"
#include "csrc/attention/attention.h"

namespace hogwild {

struct DeviceCase {
    explicit DeviceCase(const AttentionCase& c)
        : q(to_memory(c.q, c.params.dtype)),
          k(to_memory(c.k, c.params.dtype)),
          v(to_memory(c.v, c.params.dtype)),
          block_table(c.block_table),
          block_lens(c.block_lens),
          group_tokens(c.group_tokens),
          group_blocks(c.group_blocks),
          query_pos(c.query_pos),
          rotary_pos(c.rotary_pos),
          own_block(c.own_block),
          rotation(c.rotation),
          sinks(c.sinks),
          out(std::size_t(c.params.num_tokens) * c.params.num_heads * c.params.cache.value_dim *
              (c.params.dtype == DType::kFloat32 ? 4 : 2)),
          lse(std::size_t(c.params.num_tokens) * c.params.num_heads),
          params(c.params) {
        params.q = q.data();
        params.cache.k = k.data();
        params.cache.v = v.data();
        params.block_table = block_table.data();
        params.block_lens = block_lens.data();
        params.group_tokens = group_tokens.data();
        params.group_blocks = group_blocks.data();
        params.query_pos = query_pos.data();
        params.rotary_pos = rotary_pos.data();
        params.own_block = own_block.data();
        params.rotation = c.rotation.empty() ? nullptr : rotation.data();
        params.sinks = c.sinks.empty() ? nullptr : sinks.data();
        params.out = out.data();
        params.lse = lse.data();
    }

    // A device with less shared memory may refuse a call of very many rows; this one serves it then.
    cuda::AttentionLaunch plan(cuda::AttentionTuning tuning = {}) const {
        cuda::AttentionLaunch launch;
        if (tuning.shared_bytes > 0 && cuda::plan_attention(params, &launch, tuning) == cudaSuccess)
            return launch;
        tuning.shared_bytes = 0;
        HOGWILD_CHECK(cuda::plan_attention(params, &launch, tuning));
        return launch;
    }

    // Elements that a launch does not write stay NaN.
    void clear_result(cudaStream_t stream = nullptr) const {
        HOGWILD_CHECK(cudaMemsetAsync(out.data(), 0xff, out.bytes(), stream));
        HOGWILD_CHECK(cudaMemsetAsync(lse.data(), 0xff, lse.bytes(), stream));
    }

    Result result() const { return {out.download(), lse.download()}; }

    // One launch. `garbage` is what each byte of the workspace is set to before; -1: memory as it comes, so
    // that compute-sanitizer sees what is read of it before it is written.
    Result run(const cuda::AttentionLaunch& launch, int garbage) const {
        const DeviceArray<unsigned char> workspace(launch.workspace_bytes);
        if (garbage >= 0) HOGWILD_CHECK(cudaMemset(workspace.data(), garbage, workspace.bytes()));
        clear_result();
        HOGWILD_CHECK(cuda::attention(params, launch, workspace.data(), nullptr));
        HOGWILD_CHECK(cudaDeviceSynchronize());
        return result();
    }

    const DeviceArray<unsigned char> q, k, v;
    const DeviceArray<std::int32_t> block_table, block_lens, group_tokens, group_blocks;
    const DeviceArray<std::int32_t> query_pos, rotary_pos, own_block;
    const DeviceArray<float> rotation, sinks;
    const DeviceArray<unsigned char> out;
    const DeviceArray<float> lse;
    AttentionParams params;
};

}  // namespace hogwild
