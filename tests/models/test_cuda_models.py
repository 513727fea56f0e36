"""The same greedy tokens on CUDA as on the CPU, fp32, by the notebooks' loop."""

from __future__ import annotations

import pytest
import torch
from tiny_models import FAMILIES, random_ids, tiny_model

import hogwild
from hogwild.shared_cache import CacheBlock, SharedCacheManager

pytestmark = pytest.mark.cuda


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
@pytest.mark.filterwarnings("ignore:.*PyTorch ops")
def test_cuda_equals_cpu(name):
    tokens, logits = greedy(name, "cuda")
    expected, expected_logits = greedy(name, "cpu")
    assert tokens == expected
    assert (logits - expected_logits).abs().max() <= 1e-3 * expected_logits.abs().max().clamp(min=1)
