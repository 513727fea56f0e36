"""What every worker sees at the moment it samples, whatever was written before: the texts of Figure 8.

The expected texts are made from the event stream alone, so the test knows nothing of blocks.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_texts import ViewTexts

from fakes import ScriptedEngine, ToyTokenizer
from hogwild.engine.events import InterventionEvent, StepEvent, TokenEvent
from hogwild.prompting import Headers
from hogwild.protocols import CollaborationProtocol

PROMPT = "Solve it.\n\n### Past steps"
LAYOUTS = ["combined", "contiguous", "interleaved"]
# Tokens of several characters: the separator alone, in two, with the end of the sentence, with what follows.
TOKENIZERS = {
    "separator": ["\n\n"],
    "characters": [],
    "full stop": ["\n\n", ".\n\n"],
    "more lines": ["\n\n", "\n\n\n", "?\n\n\n", ".\n", "?\n"],
    "words": ["\n\n", ".\n\nSo", "\n\nSo", "5.\n\n"],
}
END = 0


class Watched(ScriptedEngine):
    """A scripted engine that compares every view that a worker samples from with the text that it should be."""

    def __init__(self, protocol: CollaborationProtocol, tokenizer: ToyTokenizer, scripts) -> None:
        self.tokenizer, self.scripts = tokenizer, {name: iter(ids) for name, ids in scripts.items()}
        self.expected = ViewTexts(protocol, PROMPT, [END])
        self.compared = self._told = 0
        super().__init__(protocol, self._sample)

    def forward(self):
        self.listen()
        return super().forward()

    def listen(self) -> None:
        self.expected.listen(self.events[self._told :])
        self._told = len(self.events)

    def _sample(self, feed, view):
        assert self.tokenizer.decode(view) == self.expected.expected(feed.worker)
        self.compared += 1
        return next(self.scripts[feed.worker])


def make(tokenizer, workers=2, layout="combined", **options):
    options = {"max_forwards": 10_000, "prompt": tokenizer.encode(PROMPT), "headers": Headers(), **options}
    return CollaborationProtocol("Solve it.", tokenizer, workers, layout, **options)


PARTS = st.sampled_from(
    [
        " a",
        "b, ",
        ".",
        "?",
        "\n\n",
        "\n",
        ".\n\n",
        ":\n\n",
        "```\n",
        "5.\n\nSo",
        ".\n\nSo",
        "\n\nSo",
        "\n\n\n",
    ]
)
TEXTS = st.lists(PARTS, max_size=40).map("".join)


@given(
    st.data(),
    st.sampled_from(LAYOUTS),
    st.sampled_from([1, 2, 3, 4, 6]),
    st.sampled_from(sorted(TOKENIZERS)),
    st.sampled_from([None, 1, 7, 20]),
    st.sampled_from(["next", "random"]),
    st.booleans(),
)
def test_every_view_is_the_text_of_the_layout(data, layout, workers, name, every, to, reencode):
    tokenizer = ToyTokenizer(TOKENIZERS[name])
    options = {"question_every": every, "question_to": to, "reencode": reencode}
    protocol = make(tokenizer, workers, layout, **options)
    scripts = {}
    for worker in protocol.workers:
        text = data.draw(TEXTS, label=worker) + "..."
        scripts[worker] = tokenizer.encode(text) + ([END] if data.draw(st.booleans()) else [])
    endless = [len(ids) for ids in scripts.values() if ids[-1] != END]
    engine = Watched(protocol, tokenizer, scripts)
    engine.run(min(endless, default=10_000))
    assert engine.compared >= min(map(len, scripts.values()))

    # nothing is lost and nothing said twice: blanks around separators and what the protocol inserts left aside
    engine.listen()
    inserted = rf"\*\*\w+ \[\d+\]:\*\*|{re.escape(protocol.family.question)}"
    for worker, ids in scripts.items():
        said = sum(
            isinstance(e, TokenEvent) and (e.worker, e.source) == (worker, "sampled") for e in engine.events
        )
        spoken = "".join(tokenizer.decode(ids[:said], skip_special_tokens=True).split())
        assert "".join(re.sub(inserted, "", engine.expected.texts[worker]).split()) == spoken
    # interventions are what was asked, no more and no less, and never when there is nobody else
    asked = sum(text.count(protocol.family.question) for text in engine.expected.texts.values())
    assert asked == protocol.questions == sum(isinstance(e, InterventionEvent) for e in engine.events)
    assert asked == 0 or (every is not None and workers > 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 6, 16])
@pytest.mark.parametrize("name", ["full stop", "words"])
def test_steps_that_end_in_the_same_forward_keep_their_order(layout, workers, name):
    tokenizer = ToyTokenizer(TOKENIZERS[name])
    protocol = make(tokenizer, workers, layout)
    text = " It is 5.\n\nSo it is.\n\n" * 3
    engine = Watched(protocol, tokenizer, dict.fromkeys(protocol.workers, tokenizer.encode(text)))
    engine.run(len(tokenizer.encode(text)))
    steps = [(event.worker, event.index) for event in engine.events if isinstance(event, StepEvent)]
    expected = [(worker, index) for index in range(1, 7) for worker in protocol.workers]
    assert steps == ([] if layout == "contiguous" else expected)


def test_the_rest_of_a_token_is_written_to_the_step_that_it_ends():
    tokenizer = ToyTokenizer([".\n\n", "\n\n"])
    engine = Watched(
        make(tokenizer),
        tokenizer,
        {n: tokenizer.encode(t) for n, t in {"Alice": " Two.\n\nx", "Bob": " I wil"}.items()},
    )
    engine.run(5)
    feeds = [(f.worker, tokenizer.decode(f.tokens), f.view.blocks, f.sample) for f in engine.protocol.feeds()]
    sections = ("header_others", "worker:Bob", "header_own", "worker:Alice")
    assert feeds[:2] == [
        ("Alice", ".", ("history", "closing:Alice"), False),
        ("Alice", "\n\n**Alice [2]:**", ("history", "closing:Alice", *sections), True),
    ]
    engine.forward()
    assert tokenizer.decode(engine.store.tokens("history")) == PROMPT + "\n\n**Alice [1]:** Two."
    assert "closing:Alice" not in engine.store.names()


@pytest.mark.parametrize("reencode", [False, True])
@pytest.mark.parametrize("first, second", [(" Two.\n\n", " Hi?\n\n"), (" Hi?\n\n", " Two.\n\n")])
def test_a_whole_step_does_not_overtake_one_that_is_still_written_to(first, second, reencode):
    tokenizer = ToyTokenizer([".\n\n", "\n\n"])
    texts = {"Alice": first + "and so", "Bob": second + "and so"}
    scripts = {name: tokenizer.encode(text) for name, text in texts.items()}
    engine = Watched(make(tokenizer, reencode=reencode), tokenizer, scripts)
    engine.run(8)
    steps = f"\n\n**Alice [1]:**{first.rstrip()}\n\n**Bob [1]:**{second.rstrip()}"
    assert tokenizer.decode(engine.store.tokens("history")) == PROMPT + steps


@pytest.mark.parametrize("layout", LAYOUTS)
def test_words_behind_the_separator_open_the_next_step(layout):
    tokenizer = ToyTokenizer(["\n\n", ".\n\nSo", "\n\nSo"])
    scripts = {"Alice": tokenizer.encode(" Two.\n\nSo it"), "Bob": tokenizer.encode(" What?\n\nSo is")}
    engine = Watched(make(tokenizer, 2, layout), tokenizer, scripts)
    engine.run(min(map(len, scripts.values())))
    assert engine.compared == 2 * min(map(len, scripts.values()))
    engine.listen()
    for worker, step in {"Alice": " Two.", "Bob": " What?"}.items():
        text = engine.expected.texts[worker]
        if layout == "contiguous":
            assert text.startswith(f"\n\n**{worker} [1]:**{step}\n\nSo ")
        else:
            assert text.startswith(f"\n\n**{worker} [1]:**{step}\n\n**{worker} [2]:** So ")
