"""The demo model in fp32: a loop written by hand, the engine, and a session in company give the same tokens."""

from __future__ import annotations

import pytest
import torch

import hogwild
from hogwild import shared_cache
from hogwild.engine import TokenEvent
from hogwild.models import loading
from hogwild.prompting import StepDetector, collaboration_prompt, encode_after, headers_for

pytestmark = [pytest.mark.demo, pytest.mark.slow]

WORKERS = ("Alice", "Bob")
FORWARDS = 200
IN_COMPANY = 64  # eight rows a forward: fp32 products of that shape are slow on a CPU
PROBLEMS = [
    "Calculate 17 + 25 and 38 + 14.",
    "A train leaves with 30 people; 12 get off and 7 get on. How many are left?",
    "Name three uses of a paper clip, and say which is the best.",
    "Calculate 6 * 7, then add 19.",
]


@pytest.fixture(scope="module")
def engine():
    return hogwild.Engine(*loading.load("demo", device="cpu", dtype="float32"))


def protocol(engine, problem: str, forwards: int = FORWARDS):
    return engine.collaboration(problem, WORKERS, max_forwards=forwards, temperature=0.0, find_answer=None)


def sampled(events) -> dict[str, list[int]]:
    result: dict[str, list[int]] = {worker: [] for worker in WORKERS}
    for event in events:
        if isinstance(event, TokenEvent) and event.source == "sampled":
            result[event.worker].append(event.token)
    return result


def by_hand(model, tokenizer, problem: str, forwards: int) -> dict[str, list[int]]:
    """Two workers in the combined layout, as the notebook writes it."""
    headers = headers_for(tokenizer)
    common, others, own, alice, bob = (shared_cache.CacheBlock(config=model.config) for _ in range(5))
    manager = shared_cache.SharedCacheManager(
        cache_structure=[[common, others, bob, own, alice], [common, others, alice, own, bob]]
    )

    def run(ids, blocks):
        prefill = shared_cache.SharedCacheManager(cache_structure=[blocks])
        model(**prefill.get_input_kwargs(torch.tensor([ids])), logits_to_keep=1)

    def step_prefix(worker: int, index: int) -> list[int]:
        text = headers.step(WORKERS[worker], index)
        lead = encode_after(tokenizer, "", headers.separator)
        return [*lead, *encode_after(tokenizer, headers.separator, text)]

    with torch.inference_mode():
        run(collaboration_prompt(problem, WORKERS, "combined", tokenizer), [common])
        run(encode_after(tokenizer, "", headers.section("header_others")), [common, others])
        run(encode_after(tokenizer, "", headers.section("header_own")), [common, others, own])
        index, detectors = [1, 1], [StepDetector(), StepDetector()]
        following = [step_prefix(0, 1), step_prefix(1, 1)]
        result: list[list[int]] = [[], []]
        for _ in range(forwards):
            inputs = tokenizer.pad({"input_ids": following}, return_tensors="pt", padding_side="left")
            logits = model(**manager.get_input_kwargs(**inputs), logits_to_keep=1).logits[:, -1]
            for worker, token in enumerate(logits.argmax(-1).tolist()):
                result[worker].append(token)
                following[worker] = [token]
                if detectors[worker].push(tokenizer.decode([token])):
                    index[worker] += 1
                    detectors[worker].reset()
                    common.append_from(manager.cache_structure[worker][-1])
                    manager.cache_structure[worker][-1].clear()
                    following[worker] = step_prefix(worker, index[worker])
    assert min(index) > 3, "the loop must have moved steps"
    return dict(zip(WORKERS, result, strict=True))


@pytest.fixture(scope="module")
def alone(engine):
    return sampled(engine.stream(protocol(engine, PROBLEMS[0])))


def test_loop_by_hand_equals_the_engine(engine, alone):
    assert [len(tokens) for tokens in alone.values()] == [FORWARDS] * 2
    assert by_hand(engine.model, engine.tokenizer, PROBLEMS[0], FORWARDS) == alone


def test_a_session_in_company_equals_the_session_alone(engine, alone):
    protocols = [protocol(engine, problem, IN_COMPANY) for problem in PROBLEMS]
    events = [event for source, event in engine.run(protocols) if source is protocols[0]]
    assert sampled(events) == {worker: tokens[:IN_COMPANY] for worker, tokens in alone.items()}
    assert engine.pool.used_pages == 0
