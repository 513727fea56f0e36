"""The engine on CUDA, several sessions in one forward: the tokens of the CPU."""

from __future__ import annotations

import pytest
from tiny import PROMPT, STOCHASTIC, Writers, drive, make_engine, make_model

from hogwild.engine.sampling import SamplingParams
from hogwild_cuda import fallback

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.filterwarnings("error::hogwild_cuda.fallback.FallbackWarning"),
]


@pytest.mark.parametrize("sampling", [SamplingParams(), STOCHASTIC], ids=["greedy", "sampled"])
@pytest.mark.parametrize("max_forward_tokens", [1024, 16])
def test_the_tokens_of_the_cpu(sampling: SamplingParams, max_forward_tokens: int) -> None:
    fallback._warn_once.cache_clear()

    def said(device: str) -> list[dict[str, list[int]]]:
        protocols = [
            Writers(PROMPT, [(5, 6), (11,)], count=40, sampling=sampling),
            Writers(PROMPT[::-1] * 3, [(7,), (9, 9, 9)], count=25, sampling=sampling),
        ]
        engine = make_engine(make_model().to(device), max_forward_tokens=max_forward_tokens)
        drive(engine, *protocols)
        return [protocol.said for protocol in protocols]

    on_cpu = said("cpu")
    assert len(set(on_cpu[0]["w0"])) > 3  # not a constant
    assert said("cuda") == on_cpu
