"""Questions that feeds ask besides their tokens: probabilities of token sets, and entropies."""

import math

import pytest
import torch
from tiny import PROMPT, Writers, drive, make_engine, make_model

from hogwild.cache.view import ViewSpec
from hogwild.engine.feed import Feed
from hogwild.engine.sampling import SamplingParams

YES, NO = (10, 11), (12,)


class Asking(Writers):
    """Asks in every forward whether to go on, behind its worker's last token, and keeps the answers."""

    def __init__(self, **options):
        super().__init__(PROMPT, [(5, 6), (11,)], **options)
        self.results = []

    def feeds(self):
        return [
            Feed(f.worker, f.tokens, f.view, f.sample, (YES * 2, NO), f.worker == "w1")
            for f in super().feeds()
        ]

    def receive(self, results):
        self.results.append(list(results))
        return super().receive(results)


def plain_distribution(model, ids):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double().log_softmax(-1)


@pytest.mark.parametrize("max_forward_tokens", [1024, 10])
def test_answers_come_with_the_tokens_and_are_the_models_own(max_forward_tokens):
    model = make_model()
    asking = Asking(count=6, sampling=SamplingParams(temperature=0.7, top_k=3, forbidden_tokens=YES))
    plain = Writers(PROMPT, [(5, 6), (11,)], count=6, sampling=asking._sampling)
    drive(make_engine(model, max_forward_tokens=max_forward_tokens), asking, plain)
    assert asking.said == plain.said
    prompt, first, _ = asking.results[0]
    assert prompt.token is None and prompt.entropy is None and first.entropy is None
    expected = plain_distribution(model, list(PROMPT))
    assert prompt.probe == pytest.approx(
        [float(expected[list(ids)].logsumexp(-1)) for ids in (YES, NO)], abs=1e-4
    )
    for results in asking.results:
        for result in results:
            assert len(result.probe) == 2 and all(value < 0 for value in result.probe)
            assert (result.entropy is not None) == (result.worker == "w1" and result.token is not None)


def test_an_entropy_is_in_nats():
    model = make_model()

    class Curious(Writers):
        def feeds(self):
            return [Feed("w0", PROMPT, ViewSpec(("prompt",), "prompt"), sample=False, entropy=True)]

        def receive(self, results):
            (self.result,) = results
            self.finish_reason = "eos"
            return []

    protocol = Curious(PROMPT)
    drive(make_engine(model), protocol)
    p = plain_distribution(model, list(PROMPT))
    assert protocol.result.entropy == pytest.approx(float(-(p.exp() * p).sum()), abs=1e-4)
    assert protocol.result.token is None and 0 < protocol.result.entropy < math.log(len(p))


@pytest.mark.parametrize("probe", [[()], [(1, 10**6)], [(-1,)], [("yes",)]])
def test_a_probe_of_tokens_that_do_not_exist_ends_its_session(probe):
    class Wrong(Writers):
        def feeds(self):
            return [Feed("w0", (1,), ViewSpec(("w0",), "w0"), probe=probe)]

    wrong, fine = Wrong(PROMPT), Writers(PROMPT, count=3)
    first, second = drive(make_engine(), wrong, fine)
    assert isinstance(first.error, (ValueError, TypeError)) and "w0" in str(first.error)
    assert second.error is None and len(fine.said["w0"]) == 3
