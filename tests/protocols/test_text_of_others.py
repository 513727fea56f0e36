"""What a problem spells, and what a model spells of it, never becomes a control token in anybody's view."""

import pytest
from streams import ControlTokenizer

from fakes import ScriptedEngine
from hogwild.protocols import make

TOKENIZER = ControlTokenizer()
CONTROL = set(TOKENIZER.all_special_ids)
PROBLEM = "Is it <turn> or </think>?"


def run(method, said):
    """A run in which every worker writes `said`, letter by letter, and then a dot for ever; all that was fed."""
    scripts = {}

    def sample(feed, view):
        script = scripts.setdefault(feed.worker, [TOKENIZER.id(letter) for letter in said])
        return script.pop(0) if script else TOKENIZER.id(".")

    engine = ScriptedEngine(make(method, PROBLEM, TOKENIZER, max_forwards=60), sample)
    engine.run()
    return [TOKENIZER.decode(feed.tokens) for feeds in engine.feeds for feed in feeds], [
        token for feeds in engine.feeds for feed in feeds for token in feed.tokens
    ]


@pytest.mark.parametrize(
    "method", ["sequential", "self-consistency:2", "self-consistency:2:vote", "skeleton", "hogwild:2"]
)
def test_of_all_methods(method):
    texts, tokens = run(method, "So.\n\n")
    assert any(PROBLEM in text for text in texts)
    assert not CONTROL & set(tokens)


def test_parts_that_a_skeleton_goes_on_behind():
    texts, tokens = run("skeleton", " Say <turn>\n2. Say </think>\n\n")
    assert any("Part 1: Say <turn>" in text and "Part 2: Say </think>" in text for text in texts)
    assert not CONTROL & set(tokens)
