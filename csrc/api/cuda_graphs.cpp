// torch.classes.hogwild.ConditionalGraph.
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/custom_class.h>

#include <cstdint>
#include <utility>

#include "csrc/api/checks.h"
#include "csrc/flight/conditional_graph.h"

namespace hogwild::api {
namespace {

class ConditionalGraph : public torch::CustomClassHolder {
  public:
    // `body` is the address of a cudaGraph_t, as torch.cuda.CUDAGraph.raw_cuda_graph gives it.
    ConditionalGraph(std::int64_t body, at::Tensor condition) : condition_(std::move(condition)) {
        const char* op = "ConditionalGraph";
        HOGWILD_CHECK_VALUE(body != 0, op, ": body is 0; expected the address of a CUDA graph");
        Argument(op, "condition", condition_).dtype(at::kInt).shape({1}, "[1]");
        HOGWILD_CHECK_VALUE(condition_.is_cuda(), op, ": condition is on ", condition_.device(),
                            "; expected a CUDA device");
        const c10::cuda::CUDAGuard guard(condition_.device());
        C10_CUDA_CHECK(cuda::make_conditional_graph(reinterpret_cast<cudaGraph_t>(body),
                                                    condition_.data_ptr<std::int32_t>(), &executable_));
    }
    ~ConditionalGraph() override {
        if (executable_) cudaGraphExecDestroy(executable_);
    }
    ConditionalGraph(const ConditionalGraph&) = delete;
    ConditionalGraph& operator=(const ConditionalGraph&) = delete;

    void launch() const {
        const c10::cuda::CUDAGuard guard(condition_.device());
        C10_CUDA_CHECK(cudaGraphLaunch(executable_, c10::cuda::getCurrentCUDAStream()));
    }

  private:
    const at::Tensor condition_;
    cudaGraphExec_t executable_ = nullptr;
};

}  // namespace

TORCH_LIBRARY_FRAGMENT(hogwild, library) {
    library.class_<ConditionalGraph>("ConditionalGraph")
        .def(torch::init<std::int64_t, at::Tensor>())
        .def("launch", [](const c10::intrusive_ptr<ConditionalGraph>& self) { self->launch(); });
}

}  // namespace hogwild::api
