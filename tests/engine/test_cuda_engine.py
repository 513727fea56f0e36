"""The engine on CUDA, several sessions in one forward: the tokens of the CPU."""

from __future__ import annotations

import pytest
from tiny import PROMPT, STOCHASTIC, Writers, drive, make_engine, make_model

from hogwild.engine.core import EngineCore
from hogwild.engine.sampling import SamplingParams
from hogwild_cuda import fallback

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.usefixtures("quick_collections"),
    pytest.mark.filterwarnings("error::hogwild_cuda.fallback.FallbackWarning"),
]


@pytest.fixture(
    scope="module", params=[{}, {"max_forward_tokens": 16, "compile": "none"}], ids=["whole", "pieces"]
)
def engine(request: pytest.FixtureRequest) -> EngineCore:
    """As it is by default, and one that writes prompts in pieces; each compiles and captures once for all tests."""
    return make_engine(make_model().cuda(), **request.param)


@pytest.mark.parametrize("sampling", [SamplingParams(), STOCHASTIC], ids=["greedy", "sampled"])
def test_the_tokens_of_the_cpu(engine: EngineCore, sampling: SamplingParams) -> None:
    fallback._warn_once.cache_clear()

    def said(engine: EngineCore) -> list[dict[str, list[int]]]:
        protocols = [
            Writers(PROMPT, [(5, 6), (11,)], count=40, sampling=sampling),
            Writers(PROMPT[::-1] * 7, [(7,), (9, 9, 9)], count=25, sampling=sampling),
        ]
        for session in drive(engine, *protocols):
            session.close()
        return [protocol.said for protocol in protocols]

    on_cpu = said(make_engine(make_model(), max_forward_tokens=engine.max_forward_tokens))
    assert len(set(on_cpu[0]["w0"])) > 3  # not a constant
    assert said(engine) == on_cpu
