#include "csrc/flight/conditional_graph.h"

namespace hogwild::cuda {

#if CUDART_VERSION >= 12040
namespace {

__global__ void set_condition(const std::int32_t* condition, cudaGraphConditionalHandle handle) {
    cudaGraphSetConditional(handle, *condition != 0);
}

// The first failure of a series of calls, after which none is made.
class Calls {
  public:
    template <typename Call>
    void make(Call call) {
        if (error == cudaSuccess) error = call();
    }
    cudaError_t error = cudaSuccess;
};

cudaError_t add_if(cudaGraph_t graph, cudaGraphNode_t after, cudaGraphNodeParams* params) {
    cudaGraphNode_t node;
#if CUDART_VERSION >= 13000
    return cudaGraphAddNode(&node, graph, &after, nullptr, 1, params);
#else
    return cudaGraphAddNode(&node, graph, &after, 1, params);
#endif
}

}  // namespace

cudaError_t make_conditional_graph(cudaGraph_t body, const std::int32_t* condition,
                                   cudaGraphExec_t* executable) {
    cudaGraph_t graph = nullptr;
    cudaGraphConditionalHandle handle{};
    cudaGraphNode_t setter;
    Calls calls;
    calls.make([&] { return cudaGraphCreate(&graph, 0); });
    calls.make([&] { return cudaGraphConditionalHandleCreate(&handle, graph, 0, 0); });
    calls.make([&] {
        void* arguments[] = {&condition, &handle};
        cudaKernelNodeParams kernel{};
        kernel.func = reinterpret_cast<void*>(set_condition);
        kernel.gridDim = kernel.blockDim = dim3(1);
        kernel.kernelParams = arguments;
        return cudaGraphAddKernelNode(&setter, graph, nullptr, 0, &kernel);
    });
    cudaGraphNodeParams branch{};
    calls.make([&] {
        branch.type = cudaGraphNodeTypeConditional;
        branch.conditional.handle = handle;
        branch.conditional.type = cudaGraphCondTypeIf;
        branch.conditional.size = 1;
        return add_if(graph, setter, &branch);
    });
    calls.make([&] {
        cudaGraphNode_t child;
        return cudaGraphAddChildGraphNode(&child, branch.conditional.phGraph_out[0], nullptr, 0, body);
    });
    calls.make([&] { return cudaGraphInstantiate(executable, graph, 0); });
    if (graph) cudaGraphDestroy(graph);
    return calls.error;
}
#else
cudaError_t make_conditional_graph(cudaGraph_t, const std::int32_t*, cudaGraphExec_t*) {
    return cudaErrorNotSupported;
}
#endif

}  // namespace hogwild::cuda
