// The attention kernel's own source, run by the CPU (fibers.h), against the host reference in fp64. For
// machines without a GPU: what the kernel computes and where its threads wait, not what a compiler or a
// device makes of it.
//
//   --cases N  random cases (24), and as many for each kernel of one session
//   --seed N   of the first of them; a random case that fails names its own: repeat it with
//              --seed THAT --cases 1
//   --step N   each N-th of the cases of every kind (13)
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "attention_case.h"
#include "attention_compare.h"
#include "attention_reference.h"
#include "attention_shape.h"
#include "csrc/attention/attention.h"
#include "csrc/attention/plain.h"
#include "device_attention.h"

namespace hogwild {

// The kernel for fp32 is not emulated.
cudaError_t cuda::plain_attention(const AttentionParams&, cudaStream_t) { return cudaErrorNotSupported; }
const char* cuda::why_no_plain_kernel(const AttentionParams&) { return "it is not emulated"; }

namespace {

using cuda::AttentionTuning;

double largest_error = 0;  // in units of its bound
int cases = 0;

void test_case(const AttentionShape& shape, const AttentionTuning& tuning, const std::string& name) {
    const AttentionCase c = attention_case(shape);
    const DeviceCase device(c);
    const cuda::AttentionLaunch launch = device.plan(tuning);
    // NaNs; but these are numbers that are not there, for a kernel that publishes them.
    const int garbage = launch.calls == cuda::Calls::kAll ? 0xff : 0x5a;
    const Result result = device.run(launch, garbage);
    const double error =
        compare(result, AttentionReference(c).expected(), shape.dtype, name + describe(shape));
    largest_error = std::max(largest_error, error);
    ++cases;
}

void test_every_kind(int step) {
    const std::vector<AttentionShape> shapes = every_kind();
    for (std::size_t i = 0; i < shapes.size(); i += step) {
        if (shapes[i].dtype == DType::kFloat32) continue;
        AttentionTuning tuning;
        tuning.num_ctas = i % 2 == 0 ? 1 : 5;
        test_case(shapes[i], tuning, "");
    }
}

// What the kernels of one session serve, each by the one that is meant.
void test_sessions(std::uint64_t seed, int count, cuda::Calls calls) {
    const bool few_keys = calls == cuda::Calls::kFewKeys;
    for (int tested = 0; tested < count; ++seed) {
        for (const AttentionShape& shape : few_keys ? short_sessions(seed) : sessions(seed)) {
            Random random(shape.seed);
            AttentionTuning tuning;
            tuning.num_ctas = (few_keys ? 8 : random.choose({1, 2})) * shape.kv_heads;
            tuning.ring_slots = random.choose({0, 0, 2});
            tuning.calls = calls;
            EXPECT(DeviceCase(attention_case(shape)).plan(tuning).calls == calls,
                   "%s: served by another kernel", describe(shape).c_str());
            const char* const name = few_keys ? "few keys, seed " : "session, seed ";
            test_case(shape, tuning, name + std::to_string(seed) + ": ");
            if (++tested == count) return;
        }
    }
}

void test_long_session() {
    for (const int num_ctas : {1, 2, 6}) {
        AttentionTuning tuning;
        tuning.num_ctas = num_ctas;
        test_case(long_session_among_others(), tuning, std::to_string(num_ctas) + " CTAs: ");
    }
}

void test_uneven_heads() {
    const AttentionShape shape = session_of_uneven_heads(device_attribute(cudaDevAttrMultiProcessorCount));
    const cuda::AttentionLaunch launch = DeviceCase(attention_case(shape)).plan();
    EXPECT(launch.calls != cuda::Calls::kAll && launch.num_ctas.divisor() % shape.kv_heads == 0,
           "%d kv heads are served by the kernel for all calls", shape.kv_heads);
    test_case(shape, {}, "uneven heads: ");
}

void test_random_cases(std::uint64_t seed, int count) {
    for (int tested = 0; tested < count; ++seed) {
        AttentionShape shape = random_shape(seed);
        constexpr double kMuch = 5e6;
        if (shape.dtype == DType::kFloat32 || work(shape) > kMuch) continue;
        Random random(~seed);
        AttentionTuning tuning;
        tuning.num_ctas = random.choose({8, 16, 1, 3});
        tuning.ring_slots = random.choose({0, 0, 2});
        tuning.block_cost = random.choose({-1, -1, 0, 100});
        tuning.shared_bytes = random.choose({0, 166912, 101376});  // all, an A100's, an L40S's
        tuning.calls = random.choose({cuda::Calls::kFewKeys, cuda::Calls::kOneSession, cuda::Calls::kAll});
        test_case(shape, tuning, "seed " + std::to_string(seed) + ": ");
        ++tested;
    }
}

}  // namespace
}  // namespace hogwild

int main(int argc, char** argv) {
    int count = 24;
    int step = 13;
    std::uint64_t seed = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string flag = argv[i];
        const auto value = std::strtoull(argv[i + 1], nullptr, 10);
        if (flag == "--cases") {
            count = static_cast<int>(value);
        } else if (flag == "--seed") {
            seed = value;
        } else if (flag == "--step") {
            step = std::max(1, static_cast<int>(value));
        } else {
            std::fprintf(stderr, "unknown flag %s\n", flag.c_str());
            return 2;
        }
    }
    if (count != 1) {
        hogwild::test_every_kind(step);
        hogwild::test_long_session();
        hogwild::test_uneven_heads();
        hogwild::test_sessions(seed, count, hogwild::cuda::Calls::kOneSession);
        hogwild::test_sessions(seed, count, hogwild::cuda::Calls::kFewKeys);
    }
    hogwild::test_random_cases(seed, count);
    if (hogwild::failures > 0) return 1;
    std::printf(
        "the emulated kernel agrees with the host: %d cases, the largest error is %.2f of its bound\n",
        hogwild::cases, hogwild::largest_error);
    return 0;
}
