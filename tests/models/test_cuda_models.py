"""Models on CUDA: in fp32 the same greedy tokens as on the CPU, in bf16 and fp16 through the tensor-core kernel.

The greedy loop is the notebooks'. No call of the ops may be served by PyTorch ops.
"""

from __future__ import annotations

import pytest
import torch
from tiny_models import FAMILIES, random_ids, tiny_model

import hogwild
from hogwild.cache import Block, ForwardPlan, Pool, View
from hogwild.models import packed_forward
from hogwild.shared_cache import CacheBlock, SharedCacheManager
from hogwild_cuda import fallback

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.filterwarnings("error::hogwild_cuda.fallback.FallbackWarning"),
]


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    fallback._warn_once.cache_clear()


def greedy(name: str, device: str) -> tuple[list[list[int]], torch.Tensor]:
    """Two workers on one history; half way, one moves its text to the history."""
    model = hogwild.enable(tiny_model(name).to(device))
    generator = torch.Generator().manual_seed(12)
    common, a, b = (CacheBlock(config=model.config) for _ in range(3))
    manager = SharedCacheManager([[common, b, a], [common, a, b]])
    ids = torch.tensor([random_ids(40, generator)], device=device)
    written: list[list[int]] = [[], []]
    with torch.inference_mode():
        model(input_ids=ids, past_key_values=common)
        following = torch.tensor([random_ids(3, generator), random_ids(3, generator)], device=device)
        for count in range(24):
            logits = model(**manager.get_input_kwargs(following)).logits[:, -1]
            following = logits.argmax(-1, keepdim=True)
            for worker, token in enumerate(following[:, 0].tolist()):
                written[worker].append(token)
            if count == 12:
                common.append_from(a, keep_other=False)
    return written, logits.float().cpu()


@pytest.mark.parametrize("name", FAMILIES)
def test_cuda_equals_cpu(name):
    tokens, logits = greedy(name, "cuda")
    expected, expected_logits = greedy(name, "cpu")
    assert tokens == expected
    assert (logits - expected_logits).abs().max() <= 1e-3 * expected_logits.abs().max().clamp(min=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name, head_dim", [("llama", 64), ("qwen3", 128), ("gemma2", 256), ("glm4", 128)])
def test_low_precision_is_as_near_to_fp32_as_a_plain_forward(name, head_dim, dtype):
    """One worker's text in blocks: windows, softcaps, and half of the dims rotated, in neighbouring pairs."""
    model = tiny_model(name, dtype=dtype, head_dim=head_dim).to("cuda")
    tokens = random_ids(90, torch.Generator().manual_seed(13))
    ids = torch.tensor([tokens], device="cuda")
    with torch.inference_mode():
        exact = model.float()(input_ids=ids, use_cache=False).logits[0]
        plain = model.to(dtype)(input_ids=ids, use_cache=False).logits[0].float()
    hogwild.enable(model)
    pool = Pool(page_size=16)
    blocks: list[Block] = []
    got = []
    for begin, end in ((0, 40), (40, 57), (57, 90)):
        blocks.append(Block(pool))
        plan = ForwardPlan([(View(blocks), tokens[begin:end])])
        got.append(packed_forward(model, plan, range(plan.num_tokens)).float())
        plan.commit()
    error, plain_error = (torch.cat(got) - exact).abs().max(), (plain - exact).abs().max()
    assert error <= 2 * plain_error, (error, plain_error)
