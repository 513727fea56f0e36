#include <algorithm>
#include <atomic>
#include <vector>

#include "csrc/cpu/attention_kernel.h"
#include "csrc/cpu/attention_plan.h"
#include "csrc/cpu/ops.h"

namespace hogwild::cpu {
namespace {

constexpr int kNarrowRows = 8;

AttentionKernel attention_kernel(Isa isa, DType dtype) {
    switch (isa) {
#if defined(__x86_64__)
        case Isa::kAvx512:
            return avx512::attention_kernel(dtype);
        case Isa::kAvx2:
            return avx2::attention_kernel(dtype);
#endif
        default:
            return baseline::attention_kernel(dtype);
    }
}

int num_workers(const AttentionPlan& plan, const Parallel& parallel) {
    const auto tasks = static_cast<int64_t>(plan.tasks().size());
    const int64_t worthwhile = std::max<int64_t>(1, plan.multiply_adds() / parallel.min_work);
    return static_cast<int>(std::min({int64_t{parallel.num_threads}, tasks, worthwhile}));
}

}  // namespace

int64_t attention_workspace(const AttentionPlan& plan, const Parallel& parallel) {
    return plan.partial_floats() + plan.scratch_floats() * num_workers(plan, parallel);
}

void attention(const AttentionParams& params, const AttentionPlan& plan, const Parallel& parallel,
               float* workspace, Isa isa) {
    const int workers = num_workers(plan, parallel);
    if (workers == 0) return;
    const AttentionKernel wide = attention_kernel(isa, params.dtype);
    // Rows that fill half of a 512-bit vector at most: processors run twice as many 256-bit products, or as
    // many.
    const AttentionKernel narrow = attention_kernel(std::min(isa, Isa::kAvx2), params.dtype);
    const int num_kv_heads = params.cache.num_kv_heads;
    std::vector<std::atomic<int>> splits_done(plan.tiles().size() * num_kv_heads);
    std::atomic<size_t> next_task{0};

    // Threads take tasks as they come free, so a thread that is held up does not hold up the others; partial
    // results are merged in the order of the keys, by whichever thread finishes a tile's last split.
    parallel.run(workers, [&](int worker) {
        float* scratch = workspace + plan.partial_floats() + worker * plan.scratch_floats();
        for (size_t index; (index = next_task++) < plan.tasks().size();) {
            const Task& task = plan.tasks()[index];
            const RowTile& tile = plan.tiles()[task.tile];
            const int64_t size = partial_size(params.cache, tile.row_stride);
            const AttentionKernel& kernel = tile.num_rows <= kNarrowRows ? narrow : wide;
            const bool split = tile.num_splits > 1;
            float* partials = split ? workspace + tile.first_partial + size * tile.num_splits * task.kv_head
                                    : scratch + plan.scratch_floats() - size;
            kernel.accumulate(params, plan, task, scratch, partials + task.split * size);
            std::atomic<int>& done = splits_done[task.tile * num_kv_heads + task.kv_head];
            if (done.fetch_add(1, std::memory_order_acq_rel) + 1 < tile.num_splits) continue;
            kernel.finish(params, tile, task.kv_head, partials, tile.num_splits, scratch);
        }
    });
}

}  // namespace hogwild::cpu
