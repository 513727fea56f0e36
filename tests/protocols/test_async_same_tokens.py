"""The demo model in fp32: the notebook's loop written by hand and the protocol give the same tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from by_hand import think_and_write

import hogwild
from hogwild.engine import TokenEvent
from hogwild.models import loading
from hogwild.prompting import StepRule, async_prompts
from hogwild.protocols.async_reasoning.policies import FixedRatioPolicy

pytestmark = [pytest.mark.demo, pytest.mark.slow]

PROBLEM = "A shop sells 12 pens on Monday and 30 on Tuesday. How many are that, and how many are left of 50?"
FORWARDS = 64


@pytest.fixture(scope="module")
def engine():
    return hogwild.Engine(*loading.load("demo", device="cpu", dtype="float32"))


def test_loop_by_hand_equals_the_protocol(engine):
    # without stop texts, which the notebook has not, and with questions that make a base model change its mind
    prompts = replace(
        async_prompts(engine.tokenizer),
        stop=(),
        thinker_question="\n\nIs 1 + 1 = 2? yes\nIs 2 + 2 = 4? yes\nIs 3 + 3 = 6?",
        writer_question="\n\nIs fire cold? no\nIs ice hot? no\nIs night bright? no\nIs it?",
    )
    rule = StepRule(separator="\n", sentence_ends=".:?!=0123456789s")
    options = {"temperature": 0.0, "prompts": prompts, "rule": rule, "max_forwards": FORWARDS}
    session = engine.think(PROBLEM, policy="in-stream", **options)
    end_tokens = session.protocol._end_tokens
    events = list(session)
    written, modes = think_and_write(
        engine.model, engine.tokenizer, prompts, PROBLEM, rule, FORWARDS, end_tokens
    )
    assert len(modes) > 3, "the loop must have changed its mode"
    assert [event.mode for event in events if event.type == "mode"] == modes
    for worker, tokens in written.items():
        said = [
            event.token
            for event in events
            if isinstance(event, TokenEvent) and event.worker == worker and event.source == "sampled"
        ]
        assert said == tokens


def test_two_streams_write_two_tokens_a_forward():
    """And one alone one; how long the forwards take is measured by bench/async_cpu.py."""
    engine = hogwild.Engine.from_pretrained("demo", device="cpu")
    for policy, count in ((FixedRatioPolicy(think=99), 1), ("always-on", 2)):
        with engine.open(
            engine.thinking(PROBLEM, policy=policy, max_forwards=20, temperature=0.0)
        ) as session:
            engine.forward([session])  # the prompt
            engine.forward([session])
            for _ in range(8):
                told = engine.forward([session])
                tokens = [event for _, events in told for event in events if isinstance(event, TokenEvent)]
                assert len(tokens) == count
