#include "bench/cpp/timing.h"

#include <algorithm>
#include <cstddef>

namespace hogwild::bench {
namespace {

constexpr int kWarmups = 10;  // replays of each launch that do not count

std::size_t flush_bytes() {
    return std::max<std::size_t>(std::size_t{256} << 20,
                                 std::size_t{4} * device_attribute(cudaDevAttrL2CacheSize));
}

cudaGraphExec_t captured(const Launch& launch, cudaStream_t stream) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    HOGWILD_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    HOGWILD_CHECK(launch(stream));
    HOGWILD_CHECK(cudaStreamEndCapture(stream, &graph));
    HOGWILD_CHECK(cudaGraphInstantiate(&executable, graph, 0));
    HOGWILD_CHECK(cudaGraphDestroy(graph));
    return executable;
}

double median(std::vector<float> values) {
    const auto middle = values.begin() + values.size() / 2;
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

}  // namespace

Timer::Timer(int repetitions) : repetitions_(repetitions), flush_(flush_bytes()) {
    HOGWILD_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

Timer::~Timer() { cudaStreamDestroy(stream_); }

const char* Timer::method() {
    return "median of CUDA-graph replays that take turns with those of the baselines, L2 flushed before each";
}

std::vector<double> Timer::medians_us(const std::vector<Launch>& launches) const {
    struct Contestant {
        cudaGraphExec_t graph;
        std::vector<cudaEvent_t> begin, end;
    };
    std::vector<Contestant> contestants;
    for (const Launch& launch : launches) {
        Contestant& contestant = contestants.emplace_back();
        contestant.graph = captured(launch, stream_);
        contestant.begin.resize(kWarmups + repetitions_);
        contestant.end.resize(kWarmups + repetitions_);
        for (cudaEvent_t& event : contestant.begin) HOGWILD_CHECK(cudaEventCreate(&event));
        for (cudaEvent_t& event : contestant.end) HOGWILD_CHECK(cudaEventCreate(&event));
    }
    for (int i = 0; i < kWarmups + repetitions_; ++i) {
        for (const Contestant& contestant : contestants) {
            // The flush also keeps the device busy until the host has queued the replay.
            HOGWILD_CHECK(cudaMemsetAsync(flush_.data(), 0, flush_.bytes(), stream_));
            HOGWILD_CHECK(cudaEventRecord(contestant.begin[i], stream_));
            HOGWILD_CHECK(cudaGraphLaunch(contestant.graph, stream_));
            HOGWILD_CHECK(cudaEventRecord(contestant.end[i], stream_));
        }
    }
    HOGWILD_CHECK(cudaStreamSynchronize(stream_));

    std::vector<double> medians;
    for (const Contestant& contestant : contestants) {
        std::vector<float> ms(repetitions_);
        for (int i = 0; i < repetitions_; ++i) {
            HOGWILD_CHECK(
                cudaEventElapsedTime(&ms[i], contestant.begin[kWarmups + i], contestant.end[kWarmups + i]));
        }
        medians.push_back(median(std::move(ms)) * 1e3);
        for (cudaEvent_t event : contestant.begin) HOGWILD_CHECK(cudaEventDestroy(event));
        for (cudaEvent_t event : contestant.end) HOGWILD_CHECK(cudaEventDestroy(event));
        HOGWILD_CHECK(cudaGraphExecDestroy(contestant.graph));
    }
    return medians;
}

}  // namespace hogwild::bench
