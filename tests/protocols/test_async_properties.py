"""Random streams, pushes, interruptions, probes and forks at random moments: what stands where is always right."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import CLOSE, END, PROMPTS, TOKENIZER, Run, make

from hogwild.engine.events import InputEvent, RollbackEvent, TokenEvent
from hogwild.errors import SessionFinishedError
from hogwild.protocols.async_reasoning import Safety, make_policy

POLICIES = st.one_of(
    st.builds(lambda every, ride: make_policy("probe", every=every, ride=ride, longest_silence=9),
              st.integers(1, 6), st.sampled_from(["auto", "always", "never"])),
    st.builds(lambda every, ride: make_policy("entropy", every=every, ride=ride, threshold=1.0),
              st.integers(1, 6), st.sampled_from(["auto", "always", "never"])),
    st.builds(lambda think, write: make_policy("fixed-ratio", think=think, write=write),
              st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from(["in-stream", "always-on", "think-first", "no-thinking"]).map(make_policy),
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(["a", "b.", "\n\n", ".\n\n", " c", "</think>", "|"]), max_size=40).map(
    "".join
)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("forward"), st.integers(1, 6)),
        st.tuples(
            st.just("push"),
            st.sampled_from(["input", "thinker", "writer"]),
            st.sampled_from(["now", "sentence", "paragraph"]),
        ),
        st.tuples(st.just("interrupt"), st.none() | st.integers(0, 12)),
        st.tuples(st.just("fork")),
        st.tuples(st.just("finish")),
    ),
    max_size=25,
)


class Reader:
    """What a reader of the events believes the streams to be."""

    def __init__(self) -> None:
        self.tokens: dict[str, list[tuple[int, str, str]]] = {"thinker": [], "writer": []}

    def read(self, events) -> None:
        for event in events:
            if isinstance(event, TokenEvent):
                self.tokens[event.worker].append((event.token, event.text, event.source))
            elif isinstance(event, RollbackEvent):
                dropped = self.tokens[event.worker][-event.tokens :]
                assert "".join(text for _, text, _ in dropped) == event.text
                del self.tokens[event.worker][-event.tokens :]

    def ids(self, worker: str) -> list[int]:
        return [token for token, _, _ in self.tokens[worker]]

    def public(self) -> str:
        return "".join(text for _, text, source in self.tokens["writer"] if source != "inserted")


def expected_view(run: Run, reader: Reader, worker: str) -> str:
    """A view by the definition of its arrangement, made of texts."""
    prompts = PROMPTS[run.protocol.arrangement.name]
    shared = prompts.writer_prompt == ""
    opening = (prompts.thinker_prompt if worker == "thinker" or shared else prompts.writer_prompt).replace(
        "{problem}", "Q"
    )
    given = prompts.input.replace("{problem}", "Q") + "".join(
        prompts.input_lead + event.text
        for event in run.events
        if isinstance(event, InputEvent) and event.to == "input"
    )
    coming = TOKENIZER.decode(run.protocol._streams.input.queue)  # told, and written by the next forward
    given = given.removesuffix(coming) if coming else given
    own = {name: TOKENIZER.decode(reader.ids(name)) for name in ("thinker", "writer")}
    other = "writer" if worker == "thinker" else "thinker"
    stream = run.protocol._streams.by_worker[other]
    unwritten = len(stream.queue)
    seen = TOKENIZER.decode(reader.ids(other)[: len(reader.ids(other)) - unwritten])
    if worker == "writer":
        split = (
            prompts.writer_split if run.protocol._conversation.split_written else ""
        )  # sequential methods write it late
        return opening + given + seen + split + own["writer"]
    if shared:
        return opening + given + own["thinker"]
    return opening + given + seen + prompts.thinker_split + own["thinker"]


@pytest.mark.slow
@settings(max_examples=300)
@given(
    policy=POLICIES,
    arrangement=st.sampled_from(["roles", "shared"]),
    thoughts=TEXTS,
    answer=TEXTS,
    yes=st.lists(st.booleans(), max_size=20),
    doubts=st.lists(st.sampled_from([0.0, 3.0]), min_size=1, max_size=20),
    actions=ACTIONS,
    safe=st.none() | st.builds(Safety, hold=st.integers(1, 8), every=st.integers(1, 8)),
)
def test_blocks_views_and_events_agree_whatever_happens(
    policy, arrangement, thoughts, answer, yes, doubts, actions, safe
):
    protocol = make(policy, arrangement, safety=safe, hold_after_interrupt=4, max_forwards=120)
    run = Run(protocol, thoughts, answer, yes, lambda count: doubts[count % len(doubts)])
    reader, pushed, interrupted = Reader(), [], False
    reader.read(run.events)
    for number, (what, *arguments) in enumerate([*actions, ("forward", 3), ("finish",), ("forward", 130)]):
        protocol = run.protocol
        if protocol.finished:
            break
        try:
            if what == "push":
                text = f"<{number}>"
                protocol.push(text, *arguments)
                pushed.append((text, arguments[0]))
            elif what == "interrupt":
                protocol.interrupt(*arguments)
                interrupted = True
            elif what == "finish":
                protocol.finish()
        except SessionFinishedError:
            assert (
                protocol.inbox.closed
                or any(action[0] == "finish" for action in actions)
                or number >= len(actions)
            )
        if what == "fork":
            fork_goes_on_alike(run)
        for _ in range(arguments[0] if what == "forward" else 0):
            if run.protocol.finished:
                break
            reader.read(run.forward())
            run.check()
            assert reader.public() == run.protocol.answer
            for worker in ("thinker", "writer"):
                assert reader.ids(worker) == run.protocol._streams.by_worker[worker].tokens
                assert run.view(worker) == expected_view(run, reader, worker)
    assert run.protocol.finished
    every_sampled_token_was_said_once(run, interrupted)
    heard = [(event.text, event.to) for event in run.events if isinstance(event, InputEvent)]
    for target in ("input", "thinker", "writer"):  # in order, once, and none is lost
        got = [text for text, to in heard if to == target]
        assert got == [text for text, to in pushed if to == target][: len(got)]
    assert sorted([text for text, _ in heard] + list(run.protocol.undelivered)) == sorted(
        t for t, _ in pushed
    )
    broken_off = interrupted and run.protocol.policy.name == "no-thinking"  # nobody is there to think on
    if run.protocol.finish_reason == "eos" and not run.protocol._switch.finishing and not broken_off:
        assert run.protocol.undelivered == ()


def every_sampled_token_was_said_once(run: Run, interrupted: bool) -> None:
    """In order; but for tokens that end a text, and for those that a policy was too unsure of to say."""
    for worker in ("thinker", "writer"):
        said = [e.token for e in run.events if isinstance(e, TokenEvent) and e.worker == worker]
        sources = [e.source for e in run.events if isinstance(e, TokenEvent) and e.worker == worker]
        said = [token for token, source in zip(said, sources, strict=True) if source == "sampled"]
        drawn = [token for who, token in run.sampled if who == worker]
        drawn = [
            token for token in drawn if token not in (END, CLOSE) or (worker == "writer" and token == CLOSE)
        ]
        if worker == "writer" and run.protocol.policy.wants_entropy:
            remaining = iter(drawn)
            assert all(token in remaining for token in said)  # said is drawn with some left out
        else:
            assert said == drawn


def fork_goes_on_alike(run: Run) -> None:
    """A fork, and a fork of that, say what the run will say, and leave it alone."""
    before, blocks = list(run.events), dict(run.store.blocks)
    first = run.fork()
    second = first.fork()
    told = []
    for twin in (first, second):
        start = len(twin.events)
        for _ in range(12):
            if not twin.protocol.finished:
                twin.forward()
                twin.check()
        told.append(twin.events[start:])
    assert told[0] == told[1]
    assert run.events == before and run.store.blocks == blocks
    shown = Reader()
    shown.read(run.fork().events)  # a fork's first events show the streams as they are
    for worker in ("thinker", "writer"):
        assert shown.ids(worker) == run.protocol._streams.by_worker[worker].tokens
