// The CUDA cache kernels against host loops in fp64, on random cases; exits with 77 where there is no GPU.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "bench/cpp/device.h"
#include "csrc/cache/append.h"
#include "csrc/cache/move.h"
#include "csrc/cache/rotation_table.h"
#include "cuda_check.h"

namespace hogwild {
namespace {

template <typename T>
struct Traits;
template <>
struct Traits<float> {
    static constexpr DType dtype = DType::kFloat32;
    static constexpr double rounding = 6e-8;
};
template <>
struct Traits<__half> {
    static constexpr DType dtype = DType::kFloat16;
    static constexpr double rounding = 4.9e-4;
};
template <>
struct Traits<__nv_bfloat16> {
    static constexpr DType dtype = DType::kBFloat16;
    static constexpr double rounding = 3.91e-3;
};

std::mt19937 random_bits(0);

int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_bits); }

template <typename T>
std::vector<T> random_values(std::size_t size) {
    std::normal_distribution<float> normal;
    std::vector<T> values(size);
    for (T& value : values) value = static_cast<T>(normal(random_bits));
    return values;
}

// Sizes of a random case: multiples of 8 take the vector path, the others the scalar one.
struct Sizes {
    int pages = pick(1, 6);
    int kv_heads = pick(1, 4);
    int page_size = 1 << pick(0, 5);
    int head_dim;
    int value_dim;

    explicit Sizes(bool vectors)
        : head_dim(vectors ? 8 * pick(1, 16) : pick(1, 40)),
          value_dim(vectors ? 8 * pick(1, 16) : pick(1, 40)) {}

    int slots() const { return pages * page_size; }

    std::size_t at(std::int64_t slot, int head, int dim) const {
        return ((slot / page_size * kv_heads + head) * page_size + slot % page_size) * dim;
    }

    // All slots in a random order.
    std::vector<std::int64_t> shuffled_slots() const {
        std::vector<std::int64_t> order(slots());
        std::iota(order.begin(), order.end(), 0);
        std::shuffle(order.begin(), order.end(), random_bits);
        return order;
    }
};

template <typename T>
void test_append(bool vectors) {
    const Sizes sizes(vectors);
    const int tokens = pick(1, sizes.slots());
    std::vector<std::int64_t> slots = sizes.shuffled_slots();
    slots.resize(tokens);
    for (std::int64_t& slot : slots) {
        if (pick(0, 4) == 0) slot = -1;
    }
    // Rows farther apart than they are long, as slices of a joint projection are.
    const int gap = vectors ? 8 * pick(0, 2) : pick(0, 3);
    const int k_row = sizes.head_dim + gap;
    const int v_row = sizes.value_dim + gap;
    const auto k = random_values<T>(std::size_t{1} * tokens * sizes.kv_heads * k_row);
    const auto v = random_values<T>(std::size_t{1} * tokens * sizes.kv_heads * v_row);
    auto k_pages = random_values<T>(std::size_t{1} * sizes.slots() * sizes.kv_heads * sizes.head_dim);
    auto v_pages = random_values<T>(std::size_t{1} * sizes.slots() * sizes.kv_heads * sizes.value_dim);

    const DeviceArray<T> device_k(k), device_v(v), device_k_pages(k_pages), device_v_pages(v_pages);
    const DeviceArray<std::int64_t> device_slots(slots);
    AppendParams params{};
    params.dtype = Traits<T>::dtype;
    params.cache = {device_k_pages.data(), device_v_pages.data(), sizes.pages,    sizes.kv_heads,
                    sizes.page_size,       sizes.head_dim,        sizes.value_dim};
    params.k = device_k.data();
    params.v = device_v.data();
    params.k_token_stride = std::int64_t{sizes.kv_heads} * k_row;
    params.v_token_stride = std::int64_t{sizes.kv_heads} * v_row;
    params.k_head_stride = k_row;
    params.v_head_stride = v_row;
    params.slots = device_slots.data();
    params.num_tokens = tokens;
    HOGWILD_CHECK(cuda::append(params, nullptr));

    for (int t = 0; t < tokens; ++t) {
        if (slots[t] < 0) continue;
        for (int head = 0; head < sizes.kv_heads; ++head) {
            const std::size_t row = std::size_t(t) * sizes.kv_heads + head;
            std::copy_n(&k[row * k_row], sizes.head_dim, &k_pages[sizes.at(slots[t], head, sizes.head_dim)]);
            std::copy_n(&v[row * v_row], sizes.value_dim,
                        &v_pages[sizes.at(slots[t], head, sizes.value_dim)]);
        }
    }
    EXPECT(same_bits(k_pages, device_k_pages.download()), "append: keys differ, D=%d", sizes.head_dim);
    EXPECT(same_bits(v_pages, device_v_pages.download()), "append: values differ, Dv=%d", sizes.value_dim);
}

std::vector<float> frequencies(int half) {
    std::vector<float> inv_freq(half);
    for (int i = 0; i < half; ++i) inv_freq[i] = std::pow(10000.f, -static_cast<float>(i) / half);
    return inv_freq;
}

void test_rotation_table() {
    const int tokens = pick(1, 20);
    const int columns = pick(1, 9);
    const auto inv_freq = frequencies(pick(1, 64));
    const int half = static_cast<int>(inv_freq.size());
    std::vector<std::int32_t> query_pos(tokens * columns);
    std::vector<std::int32_t> rotary_pos(tokens);
    for (auto& position : query_pos) position = pick(0, 3) == 0 ? -1 : pick(0, 2'000'000);
    for (auto& position : rotary_pos) position = pick(0, 1'000'000);

    const DeviceArray<std::int32_t> device_query_pos(query_pos), device_rotary_pos(rotary_pos);
    const DeviceArray<float> device_inv_freq(inv_freq);
    const DeviceArray<float> table(query_pos.size() * 2 * half);
    HOGWILD_CHECK(cuda::rotation_table({device_query_pos.data(), device_rotary_pos.data(),
                                        device_inv_freq.data(), table.data(), tokens, columns, half},
                                       nullptr));
    const auto result = table.download();
    double worst = 0;
    for (int entry = 0; entry < tokens * columns; ++entry) {
        for (int i = 0; i < half; ++i) {
            const bool seen = query_pos[entry] >= 0;
            const double angle =
                seen ? (double(query_pos[entry]) - rotary_pos[entry / columns]) * inv_freq[i] : 0;
            worst = std::max(worst, std::abs(result[entry * 2 * half + i] - std::cos(angle)));
            worst = std::max(worst, std::abs(result[entry * 2 * half + half + i] - std::sin(angle)));
        }
    }
    EXPECT(worst < 1e-7, "rotation_table: error %g", worst);
}

template <typename T>
void test_move(bool vectors, bool interleaved) {
    const Sizes sizes(vectors);
    const int entries = sizes.slots() / 2;
    const int step = vectors ? 8 : 1;
    const int half = step * pick(0, sizes.head_dim / (2 * step));
    const int start = step * pick(0, (sizes.head_dim - 2 * half) / step);
    const auto inv_freq = frequencies(half);
    const std::vector<std::int64_t> slots = sizes.shuffled_slots();
    std::vector<std::int64_t> from(slots.begin(), slots.begin() + entries);
    std::vector<std::int64_t> to(slots.begin() + entries, slots.begin() + 2 * entries);
    std::vector<std::int32_t> shift(entries);
    for (int i = 0; i < entries; ++i) {
        shift[i] = pick(0, 3) == 0 ? 0 : pick(-1'000'000, 1'000'000);
        if (pick(0, 6) == 0) (pick(0, 1) ? from : to)[i] = -1;
    }
    auto k_pages = random_values<T>(std::size_t{1} * sizes.slots() * sizes.kv_heads * sizes.head_dim);
    auto v_pages = random_values<T>(std::size_t{1} * sizes.slots() * sizes.kv_heads * sizes.value_dim);
    for (int i = 0; i < entries; ++i) {  // without a rotation even NaNs keep their bits
        if (from[i] >= 0 && shift[i] == 0)
            k_pages[sizes.at(from[i], 0, sizes.head_dim)] = static_cast<T>(NAN);
    }

    const DeviceArray<T> device_k_pages(k_pages), device_v_pages(v_pages);
    const DeviceArray<std::int64_t> device_from(from), device_to(to);
    const DeviceArray<std::int32_t> device_shift(shift);
    const DeviceArray<float> device_inv_freq(inv_freq);
    MoveParams params{};
    params.dtype = Traits<T>::dtype;
    params.cache = {device_k_pages.data(), device_v_pages.data(), sizes.pages,    sizes.kv_heads,
                    sizes.page_size,       sizes.head_dim,        sizes.value_dim};
    params.src_slots = device_from.data();
    params.dst_slots = device_to.data();
    params.shift = device_shift.data();
    params.inv_freq = half ? device_inv_freq.data() : nullptr;
    params.rotary = {half, start, interleaved};
    params.num_entries = entries;
    HOGWILD_CHECK(cuda::move(params, nullptr));
    const auto k_result = device_k_pages.download();

    for (int i = 0; i < entries; ++i) {
        if (from[i] < 0 || to[i] < 0) continue;
        for (int head = 0; head < sizes.kv_heads; ++head) {
            const std::size_t source = sizes.at(from[i], head, sizes.head_dim);
            const std::size_t target = sizes.at(to[i], head, sizes.head_dim);
            std::copy_n(&v_pages[sizes.at(from[i], head, sizes.value_dim)], sizes.value_dim,
                        &v_pages[sizes.at(to[i], head, sizes.value_dim)]);
            std::copy_n(&k_pages[source], sizes.head_dim, &k_pages[target]);
            for (int pair = 0; pair < (shift[i] ? half : 0); ++pair) {
                const int x = start + (interleaved ? 2 * pair : pair);
                const int y = interleaved ? x + 1 : x + half;
                const double angle = double(shift[i]) * inv_freq[pair];
                const double a = static_cast<float>(k_pages[source + x]);
                const double b = static_cast<float>(k_pages[source + y]);
                const double bound = (Traits<T>::rounding + 3e-7) * std::hypot(a, b) + 1e-7;
                const auto compare = [&](int d, double expected) {
                    const double error = std::abs(static_cast<float>(k_result[target + d]) - expected);
                    EXPECT(error <= bound, "move: element %d is off by %g, more than %g", d, error, bound);
                    k_pages[target + d] = k_result[target + d];
                };
                compare(x, a * std::cos(angle) - b * std::sin(angle));
                compare(y, a * std::sin(angle) + b * std::cos(angle));
            }
        }
    }
    EXPECT(same_bits(k_pages, k_result), "move: keys outside the moved entries and rotated dims differ");
    EXPECT(same_bits(v_pages, device_v_pages.download()), "move: values differ");
}

// The launches are legal inside capture, and a replay does the work again.
void test_capture() {
    const std::vector<float> row(64, 1.f);
    const DeviceArray<float> k(row), v(row), k_pages(128), v_pages(128);
    const DeviceArray<std::int64_t> first(std::vector<std::int64_t>{0}), second(std::vector<std::int64_t>{1});
    const DeviceArray<std::int32_t> shift(std::vector<std::int32_t>{0});
    AppendParams append_params{};
    append_params.cache = {k_pages.data(), v_pages.data(), 1, 1, 2, 64, 64};
    append_params.k = k.data();
    append_params.v = v.data();
    append_params.slots = first.data();
    append_params.num_tokens = 1;
    MoveParams move_params{};
    move_params.cache = append_params.cache;
    move_params.src_slots = first.data();
    move_params.dst_slots = second.data();
    move_params.shift = shift.data();
    move_params.num_entries = 1;

    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    HOGWILD_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    HOGWILD_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    HOGWILD_CHECK(cuda::append(append_params, stream));
    HOGWILD_CHECK(cuda::move(move_params, stream));
    HOGWILD_CHECK(cudaStreamEndCapture(stream, &graph));
    HOGWILD_CHECK(cudaGraphInstantiate(&executable, graph, 0));
    for (int replay = 0; replay < 2; ++replay) {
        HOGWILD_CHECK(cudaMemsetAsync(k_pages.data(), 0, k_pages.bytes(), stream));
        HOGWILD_CHECK(cudaGraphLaunch(executable, stream));
        HOGWILD_CHECK(cudaStreamSynchronize(stream));
        const auto pages = k_pages.download();
        const bool written = std::all_of(pages.begin(), pages.end(), [](float x) { return x == 1.f; });
        EXPECT(written, "replay %d: pages were not written", replay);
    }
    HOGWILD_CHECK(cudaGraphExecDestroy(executable));
    HOGWILD_CHECK(cudaGraphDestroy(graph));
    HOGWILD_CHECK(cudaStreamDestroy(stream));
}

template <typename T>
void test_dtype() {
    for (int i = 0; i < 100; ++i) {
        const bool vectors = i % 2 == 0;
        test_append<T>(vectors);
        test_move<T>(vectors, i % 4 < 2);
    }
}

int run() {
    if (!has_device()) {
        std::printf("skipped: no CUDA device\n");
        return kSkipped;
    }
    test_dtype<float>();
    test_dtype<__half>();
    test_dtype<__nv_bfloat16>();
    for (int i = 0; i < 100; ++i) test_rotation_table();
    test_capture();
    HOGWILD_CHECK(cudaDeviceSynchronize());
    std::printf("%s\n", failures ? "FAILED" : "append, rotation_table and move agree with the host");
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace
}  // namespace hogwild

int main() { return hogwild::run(); }
