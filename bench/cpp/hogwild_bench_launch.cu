// Times the ways in which CTAs can finish a result together, with kernels that do nothing else: what is left
// of an op when its work is taken away. Attention's reduction over splits was chosen by these times.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/cpp/baselines.h"
#include "bench/cpp/device.h"
#include "bench/cpp/flags.h"
#include "bench/cpp/report.h"
#include "bench/cpp/timing.h"
#include "csrc/attention/config.h"

namespace hogwild::bench {
namespace {

constexpr std::array kClusterSizes{2, 4, 8, 16};
constexpr int kPortableClusterSize = 8;  // all that every device with clusters must have
constexpr int kPeers = 16;               // CTAs that count their arrivals together

__global__ void idle_kernel() {}

template <int kSyncs>
__global__ void grid_sync_kernel() {
    for (int i = 0; i < kSyncs; ++i) cooperative_groups::this_grid().sync();
}

// Counts this CTA in; what its threads wrote before is then visible to whoever sees the count. By one thread.
__device__ unsigned arrive(unsigned* arrivals) {
    __threadfence();
    return atomicAdd(arrivals, 1u);
}

__device__ unsigned load_acquire(const unsigned* from) {
    unsigned value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}

// All wait for all. `arrivals` is 0 before.
__global__ void counter_barrier_kernel(unsigned* arrivals) {
    __syncthreads();
    if (threadIdx.x == 0) {
        arrive(arrivals);
        while (load_acquire(arrivals) < gridDim.x) {
        }
    }
    __syncthreads();
}

// Nobody waits: the last of kPeers CTAs would go on. Their counter is 0 before, and if kResets after.
struct alignas(128) Counter {
    unsigned arrivals;
};

template <bool kResets>
__global__ void last_arrival_kernel(Counter* counters) {
    unsigned* arrivals = &counters[blockIdx.x / kPeers].arrivals;
    const unsigned peers = min(gridDim.x - blockIdx.x / kPeers * kPeers, unsigned{kPeers});
    __syncthreads();
    const bool last = __syncthreads_or(threadIdx.x == 0 && arrive(arrivals) == peers - 1);
    if (!last) return;
    __threadfence();
    if (kResets && threadIdx.x == 0) *arrivals = 0;
}

// The second launch may begin when all CTAs of the first have, but goes on when they are done. Launched
// without that permission, both are idle.
__global__ void first_kernel() {
#if __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}

__global__ void second_kernel() {
#if __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
}

__global__ void cluster_kernel() {
#if __CUDA_ARCH__ >= 900
    cooperative_groups::this_cluster().sync();
#endif
}

// Whether the kernels have their part that starts at sm_90 on this device. Code for an older one, compiled
// anew by the driver, would run without it.
bool has_sm90_code() {
    cudaFuncAttributes attributes;
    HOGWILD_CHECK(cudaFuncGetAttributes(&attributes, cluster_kernel));
    return attributes.ptxVersion >= 90;
}

struct Grid {
    int ctas, threads;
    std::size_t shared_bytes;  // of a CTA
};

// cudaLaunchConfig_t with its attributes. Made anew for every launch, since one points into itself.
class Config {
  public:
    explicit Config(const Grid& grid, cudaStream_t stream = nullptr) {
        config_.gridDim = grid.ctas;
        config_.blockDim = grid.threads;
        config_.dynamicSmemBytes = grid.shared_bytes;
        config_.stream = stream;
        config_.attrs = attributes_.data();
    }
    Config(const Config&) = delete;
    Config& operator=(const Config&) = delete;

    Config& cooperative() {
        add(cudaLaunchAttributeCooperative).cooperative = 1;
        return *this;
    }
    // May begin before the launch in front of it ends.
    Config& programmatic() {
        add(cudaLaunchAttributeProgrammaticStreamSerialization).programmaticStreamSerializationAllowed = 1;
        return *this;
    }
    Config& clusters_of(unsigned size) {
        add(cudaLaunchAttributeClusterDimension).clusterDim = {size, 1, 1};
        return *this;
    }

    const cudaLaunchConfig_t* get() const { return &config_; }

  private:
    cudaLaunchAttributeValue& add(cudaLaunchAttributeID id) {
        cudaLaunchAttribute& attribute = attributes_.at(config_.numAttrs++);
        attribute.id = id;
        return attribute.val;
    }

    cudaLaunchConfig_t config_{};
    std::array<cudaLaunchAttribute, 1> attributes_{};
};

// Beyond 48 KB, a kernel has shared memory only where it is allowed to.
template <typename Kernel>
void allow_shared(Kernel* kernel, const Grid& grid) {
    HOGWILD_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(grid.shared_bytes)));
}

// CTAs that the device runs at the same time.
template <typename Kernel>
int resident_ctas(Kernel* kernel, const Grid& grid) {
    int per_sm = 0;
    HOGWILD_CHECK(
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_sm, kernel, grid.threads, grid.shared_bytes));
    return per_sm * device_attribute(cudaDevAttrMultiProcessorCount);
}

// The counters of one kind of launch, zeroed for any stream. Shared, since launches are copied.
std::shared_ptr<DeviceArray<Counter>> zeroed_counters(std::size_t size) {
    auto counters = std::make_shared<DeviceArray<Counter>>(size);
    HOGWILD_CHECK(cudaMemset(counters->data(), 0, counters->bytes()));
    HOGWILD_CHECK(cudaDeviceSynchronize());
    return counters;
}

struct Kind {
    std::string name;
    Grid grid;
    int resident_ctas;
    Launch launch;
};

// All ways that the device has, for the same grid.
class Kinds {
  public:
    explicit Kinds(const Grid& grid) : grid_(grid) {
        add_single();
        add_barriers();
        add_last_arrivals();
        add_pair(false);
        if (has_sm90_code()) {
            add_pair(true);
            for (const int size : kClusterSizes) add_clusters(size);
        } else {
            std::fprintf(stderr, "left out: programmatic launches and clusters, which start at sm_90\n");
        }
    }

    const std::vector<Kind>& all() const { return kinds_; }

  private:
    // A kind whose (first) kernel is `kernel`.
    template <typename Kernel>
    void add(const std::string& name, const Grid& grid, Kernel* kernel, Launch launch) {
        allow_shared(kernel, grid);
        kinds_.push_back({name, grid, resident_ctas(kernel, grid), std::move(launch)});
    }

    void add_single() {
        for (const Grid& grid : {Grid{grid_.ctas, grid_.threads, 0}, grid_}) {
            add("launch", grid, idle_kernel, [grid](cudaStream_t stream) {
                return cudaLaunchKernelEx(Config(grid, stream).get(), idle_kernel);
            });
        }
    }

    void add_barriers() {
        add_cooperative("cooperative", grid_sync_kernel<0>);
        add_cooperative("cooperative, grid sync", grid_sync_kernel<1>);
        add_cooperative("cooperative, 2 grid syncs", grid_sync_kernel<2>);
        // Not cooperative is safe only because the CTAs fit and have the device to themselves.
        for (const bool cooperative : {false, true}) {
            add(std::string(cooperative ? "cooperative, " : "") + "memset, own barrier", grid_,
                counter_barrier_kernel,
                [grid = grid_, cooperative, counters = zeroed_counters(1)](cudaStream_t stream) {
                    const cudaError_t error = cudaMemsetAsync(counters->data(), 0, counters->bytes(), stream);
                    if (error != cudaSuccess) return error;
                    Config config(grid, stream);
                    if (cooperative) config.cooperative();
                    return cudaLaunchKernelEx(config.get(), counter_barrier_kernel,
                                              &counters->data()->arrivals);
                });
        }
    }

    void add_cooperative(const std::string& name, void (*kernel)()) {
        add(name, grid_, kernel, [grid = grid_, kernel](cudaStream_t stream) {
            return cudaLaunchKernelEx(Config(grid, stream).cooperative().get(), kernel);
        });
    }

    void add_last_arrivals() {
        const std::size_t size = (grid_.ctas + kPeers - 1) / kPeers;
        const std::string name = "last of " + std::to_string(kPeers) + " goes on";
        add(name, grid_, last_arrival_kernel<true>,
            [grid = grid_, counters = zeroed_counters(size)](cudaStream_t stream) {
                return cudaLaunchKernelEx(Config(grid, stream).get(), last_arrival_kernel<true>,
                                          counters->data());
            });
        add("memset, " + name, grid_, last_arrival_kernel<false>,
            [grid = grid_, counters = zeroed_counters(size)](cudaStream_t stream) {
                const cudaError_t error = cudaMemsetAsync(counters->data(), 0, counters->bytes(), stream);
                if (error != cudaSuccess) return error;
                return cudaLaunchKernelEx(Config(grid, stream).get(), last_arrival_kernel<false>,
                                          counters->data());
            });
    }

    // The second kernel, which would merge, needs no shared memory to speak of.
    void add_pair(bool programmatic) {
        add(std::string("two launches") + (programmatic ? ", programmatic" : ""), grid_, first_kernel,
            [grid = grid_, programmatic](cudaStream_t stream) {
                const cudaError_t error = cudaLaunchKernelEx(Config(grid, stream).get(), first_kernel);
                if (error != cudaSuccess) return error;
                Config second({grid.ctas, grid.threads, 0}, stream);
                if (programmatic) second.programmatic();
                return cudaLaunchKernelEx(second.get(), second_kernel);
            });
    }

    void add_clusters(int size) {
        const std::string name = "clusters of " + std::to_string(size) + ", barrier";
        if (grid_.ctas % size != 0) {
            std::fprintf(stderr, "left out: %s, which do not divide %d CTAs\n", name.c_str(), grid_.ctas);
            return;
        }
        allow_shared(cluster_kernel, grid_);
        if (size > kPortableClusterSize) {
            HOGWILD_CHECK(
                cudaFuncSetAttribute(cluster_kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
        }
        int fitting = 0;
        // What it may not have at all is an error, and the same as none that fit.
        if (cudaOccupancyMaxActiveClusters(&fitting, cluster_kernel, Config(grid_).clusters_of(size).get()) !=
            cudaSuccess) {
            cudaGetLastError();  // forget it
            fitting = 0;
        }
        if (fitting == 0) {
            std::fprintf(stderr, "left out: %s, of which this device has none\n", name.c_str());
            return;
        }
        kinds_.push_back({name, grid_, fitting * size, [grid = grid_, size](cudaStream_t stream) {
                              return cudaLaunchKernelEx(Config(grid, stream).clusters_of(size).get(),
                                                        cluster_kernel);
                          }});
    }

    const Grid grid_;
    std::vector<Kind> kinds_;
};

Grid chosen_grid(Flags& flags) {
    const int most_shared = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    int shared_bytes = flags.number("shared", 0, most_shared);
    if (shared_bytes == 0) shared_bytes = most_shared;
    int ctas = flags.number("ctas", 0);
    if (ctas == 0) {
        ctas = device_attribute(cudaDevAttrMultiProcessorCount);
        if (ctas > kClusterSizes.back()) ctas -= ctas % kClusterSizes.back();
    }
    const Grid grid{ctas, flags.number("threads", 1, device_attribute(cudaDevAttrMaxThreadsPerBlock)),
                    static_cast<std::size_t>(shared_bytes)};
    allow_shared(grid_sync_kernel<2>, grid);
    const int most_ctas = resident_ctas(grid_sync_kernel<2>, grid);
    if (grid.ctas > most_ctas) {
        flags.fail("--ctas is " + std::to_string(grid.ctas) + "; expected at most " +
                   std::to_string(most_ctas) +
                   ", which run at the same time, since they wait for each other");
    }
    return grid;
}

Row row_of(const Kind& kind, double us, double empty_us) {
    Row row{};
    row.name = kind.name;
    row.parameters = {{"ctas", kind.grid.ctas},
                      {"threads", kind.grid.threads},
                      {"shared_bytes", static_cast<int>(kind.grid.shared_bytes)}};
    row.us = us;
    row.baselines = {{"empty launch", empty_us}};
    row.launch = {{"resident_ctas", kind.resident_ctas}};
    return row;
}

int run(int argc, char** argv) {
    Flags flags(
        argc, argv,
        "Times launches of kernels that do nothing but wait for, or count, each other's CTAs: what it "
        "costs to\n"
        "finish a result together, beside an empty launch of one thread. resident_ctas are those that "
        "the device\n"
        "runs at the same time. Clusters and programmatic launches need sm_90.",
        {{"ctas", "0", "CTAs of a launch; 0: the multiprocessors, down to a multiple of 16"},
         {"threads", std::to_string(32 * cuda::kMaxWarps), "threads of a CTA; by default attention's"},
         {"shared", "0", "bytes of dynamic shared memory of a CTA; 0: all that it can have"},
         {"repetitions", "200", "replays per median"},
         {"json", "", "file for the results"},
         {"commit", "unknown", "recorded in the file"}});
    const int repetitions = flags.number("repetitions");
    if (!has_device()) {
        std::fprintf(stderr, "no CUDA device: nothing to measure\n");
        return EXIT_FAILURE;
    }
    const std::string path = flags.output("json");
    const Kinds kinds(chosen_grid(flags));
    std::vector<Launch> launches;
    for (const Kind& kind : kinds.all()) launches.push_back(kind.launch);
    launches.push_back(empty_launch());
    const std::vector<double> us = Timer(repetitions).medians_us(launches);

    Report report{"launch", flags.text("commit"), Timer::method(), {}};
    for (std::size_t i = 0; i < kinds.all().size(); ++i) {
        report.rows.push_back(row_of(kinds.all()[i], us[i], us.back()));
    }
    report.publish(path);
    return EXIT_SUCCESS;
}

}  // namespace
}  // namespace hogwild::bench

int main(int argc, char** argv) { return hogwild::bench::run(argc, argv); }
