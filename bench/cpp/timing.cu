#include "bench/cpp/timing.h"

#include <algorithm>
#include <cstddef>

namespace hogwild::bench {
namespace {

constexpr int kWarmups = 10;  // of each launch, which do not count

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

std::string Timer::method(const std::string& launches) {
    return "median of " + launches + " that take turns with those of the baselines, L2 flushed before each";
}

std::vector<double> Timer::medians_us(const std::vector<Launch>& launches, LaunchedBy by) const {
    struct Contestant {
        Launch launch;
        cudaGraphExec_t graph;  // null: launched on the stream
        std::vector<cudaEvent_t> begin, end;
    };
    std::vector<Contestant> contestants;
    for (const Launch& launch : launches) {
        Contestant& contestant = contestants.emplace_back();
        contestant.launch = launch;
        contestant.graph = by == LaunchedBy::kGraph ? captured(launch, stream_) : nullptr;
        contestant.begin.resize(kWarmups + repetitions_);
        contestant.end.resize(kWarmups + repetitions_);
        for (cudaEvent_t& event : contestant.begin) HOGWILD_CHECK(cudaEventCreate(&event));
        for (cudaEvent_t& event : contestant.end) HOGWILD_CHECK(cudaEventCreate(&event));
    }
    for (int i = 0; i < kWarmups + repetitions_; ++i) {
        for (const Contestant& contestant : contestants) {
            // The flush also keeps the device busy until the host has queued the launch.
            HOGWILD_CHECK(cudaMemsetAsync(flush_.data(), 0, flush_.bytes(), stream_));
            HOGWILD_CHECK(cudaEventRecord(contestant.begin[i], stream_));
            HOGWILD_CHECK(contestant.graph ? cudaGraphLaunch(contestant.graph, stream_)
                                           : contestant.launch(stream_));
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
        if (contestant.graph) HOGWILD_CHECK(cudaGraphExecDestroy(contestant.graph));
    }
    return medians;
}

}  // namespace hogwild::bench
