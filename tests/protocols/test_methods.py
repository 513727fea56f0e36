"""Method strings, and the protocols that they make."""

import re

import pytest

from fakes import ChatTokenizer, ListStore, ToyTokenizer
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import UnknownNameError
from hogwild.protocols import (
    CollaborationProtocol,
    Method,
    SelfConsistencyProtocol,
    SequentialProtocol,
    SkeletonProtocol,
    make,
    parse,
)
from hogwild.protocols.methods import MethodError

TOKENIZER = ToyTokenizer()


@pytest.mark.parametrize(
    "text, kind, options",
    [
        ("sequential", "sequential", {}),
        ("sequential:no-early", "sequential", {"early_finish": False}),
        ("self-consistency", "self-consistency", {}),
        ("self-consistency:4", "self-consistency", {"threads": 4}),
        ("self-consistency:4:vote", "self-consistency", {"threads": 4, "vote": True}),
        ("skeleton", "skeleton", {}),
        ("skeleton:2", "skeleton", {"at_a_time": 2}),
        ("hogwild", "hogwild", {}),
        ("hogwild:2", "hogwild", {"workers": 2}),
        (" hogwild : 4 : contiguous ", "hogwild", {"workers": 4, "layout": "contiguous"}),
        ("hogwild:contiguous", "hogwild", {"layout": "contiguous"}),
        ("hogwild:Ada+Kurt", "hogwild", {"workers": ["Ada", "Kurt"]}),
        ("hogwild:2:question-512", "hogwild", {"workers": 2, "question_every": 512}),
        ("hogwild:2:non-instant", "hogwild", {"workers": 2, "layout": "interleaved"}),
        (
            "hogwild:2:no-question:re-encode",
            "hogwild",
            {"workers": 2, "question_every": None, "reencode": True},
        ),
        (
            "hogwild:3:first-person:no-examples",
            "hogwild",
            {"workers": 3, "person": "first", "examples": False},
        ),
        (
            "hogwild:3:numbered:random-question",
            "hogwild",
            {"workers": 3, "numbered": True, "question_to": "random"},
        ),
    ],
)
def test_method_strings(text, kind, options):
    assert parse(text) == Method(kind, text, options)


@pytest.mark.parametrize(
    "text, message",
    [
        ("hogwild:0", "workers: expected a whole number of at least 1, got '0'"),
        ("hogwild:-1", "workers: expected a whole number of at least 1, got '-1'"),
        ("hogwild:2.5", "workers: expected a whole number of at least 1, got '2.5'"),
        ("hogwild:17", "workers: expected at most 16, got 17"),
        ("hogwild:" + "9" * 26, "workers: expected at most 16, got 9999"),
        ("self-consistency:999999999", "threads: expected at most 1000, got 999999999"),
        ("hogwild:Ada+Ada", "workers: expected different names"),
        ("hogwild:Ada+", "expected at least one name and no empty one"),
        ("hogwild:2:combined:contiguous", "'contiguous' says layout a second time"),
        (
            "hogwild:2:fast",
            "unknown setting 'fast'; expected hogwild:WORKERS, hogwild:Ada+Kurt, followed by any of ",
        ),
        ("hogwild:contiguous:2", "unknown setting '2'"),
        ("hogwild:2:question-0", "unknown setting 'question-0'"),
        ("hogwild:2:no-question:question-8", "'question-8' says question_every a second time"),
        ("hogwild:Ada+Kurt:numbered", "workers have names or numbers, not both"),
        ("hogwild:", "unknown setting ''"),
        ("sequential:2", "unknown setting '2'; expected sequential, sequential:no-early"),
        ("self-consistency:0", "threads: expected a whole number of at least 1, got '0'"),
        ("skeleton:two", "threads at a time: expected a whole number of at least 1, got 'two'"),
    ],
)
def test_wrong_method_strings(text, message):
    with pytest.raises(MethodError, match=re.escape(message)) as error:
        parse(text)
    assert f"method {text!r}" in str(error.value)


def test_unknown_methods():
    with pytest.raises(
        UnknownNameError, match="unknown method 'hogwyld'; expected one of: sequential, self-"
    ):
        parse("hogwyld:2")
    with pytest.raises(TypeError, match="method: expected a string such as 'hogwild:2', got 2"):
        parse(2)


def test_make_gives_all_methods_the_same_settings():
    sampling = SamplingParams(temperature=0.5, seed=3)
    kinds = {
        "sequential": SequentialProtocol,
        "self-consistency:3": SelfConsistencyProtocol,
        "skeleton:2": SkeletonProtocol,
        "hogwild:3": CollaborationProtocol,
    }
    for method, kind in kinds.items():
        protocol = make(
            parse(method), "Add 1 and 2.", TOKENIZER, budgets=[4, 8], sampling=sampling, end_tokens=[9]
        )
        assert type(protocol) is kind
        assert (protocol.budgets, protocol.max_forwards, protocol.problem) == ((4, 8), 8, "Add 1 and 2.")
        assert protocol.sampling(protocol.workers[0]) == sampling
        assert protocol._early_finish and protocol._end_tokens == {0, 9}


def test_a_method_string_goes_before_common_settings():
    assert not make("sequential:no-early", "Add.", TOKENIZER, early_finish=True)._early_finish
    assert not make("sequential", "Add.", TOKENIZER, early_finish=False)._early_finish
    options = {"workers": 3, "layout": "interleaved"}
    assert make("hogwild:2", "Add.", TOKENIZER, **options).layout.name == "interleaved"
    assert make("hogwild:2", "Add.", TOKENIZER, **options).workers == ("Alice", "Bob")


def test_workers_with_names_and_numbers():
    assert make("hogwild:Ada+Kurt", "Add.", TOKENIZER).workers == ("Ada", "Kurt")
    assert make("hogwild:2:numbered", "Add.", TOKENIZER).workers == ("Worker 1", "Worker 2")
    with pytest.raises(ValueError, match="workers: expected at most 16, got 17"):
        CollaborationProtocol("Add.", TOKENIZER, 17)


def test_families_are_found_named_or_read(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: qwq\nquestion: Busy twice?\n")
    names = [
        make("hogwild:2", "Add.", ChatTokenizer(), family=f).family.name for f in (None, "qwq", str(mine))
    ]
    assert names == ["chat", "qwq", "mine"]


def test_forbidden_tokens_of_the_family_hold_for_collaboration_only():
    tokenizer = ChatTokenizer(["\n\n", "</think>"])
    sampling = SamplingParams(forbidden_tokens=(50,))
    options = {"family": "qwen3", "sampling": sampling}
    think = tokenizer.id("</think>")
    assert make("hogwild:2", "Add.", tokenizer, **options).sampling("Bob").forbidden_tokens == (50, think)
    assert make("sequential", "Add.", tokenizer, **options).sampling("Alice").forbidden_tokens == (50,)


def test_first_words_of_the_workers():
    tokenizer = ChatTokenizer()
    first, second = (
        tokenizer.decode(feed.tokens)
        for feed in _feeds(make("hogwild:2", "Add.", tokenizer, family="llama3"))
    )
    assert first.startswith("\n\n**Alice [1]:** Hello, I am Alice. I suggest")
    assert second == "\n\n**Bob [1]:** Hello, I am Bob."
    (alone,) = _feeds(make("hogwild:1", "Add.", tokenizer, family="llama3"))
    assert tokenizer.decode(alone.tokens) == "\n\n**Alice [1]:**"


def test_settings_of_the_prompt_reach_it():
    def prompt(method):
        start, *_ = make(method, "Add.", ChatTokenizer()).start(ListStore())
        return start.prompt

    usual, mine, bare = map(prompt, ("hogwild:2", "hogwild:2:first-person", "hogwild:2:no-examples"))
    assert "Alice and Bob are 2 instances of you." in usual and "We, Alice and Bob, are 2" in mine
    title = "# An example of working together"
    assert title in usual and title in mine and title not in bare
    past, others = "stand under '### Past steps'", "under '### Work in progress (others)'"
    assert past in usual and others in usual
    private, apart = map(prompt, ("hogwild:2:interleaved", "hogwild:2:contiguous"))
    assert past in private and others not in private and past not in apart and others not in apart


def _feeds(protocol):
    protocol.start(ListStore())
    return [feed for feed in protocol.feeds() if feed.sample]


def test_a_tokenizer_without_the_separator():
    class Lineless(ToyTokenizer):
        def encode(self, text, add_special_tokens=True):
            return super().encode(text.replace("\n", " "), add_special_tokens)

    with pytest.raises(ValueError, match="tokenizer: it cannot write"):
        make("hogwild:2", "Add.", Lineless())


@pytest.mark.parametrize("method", ["sequential", "self-consistency:2", "skeleton", "hogwild:2"])
@pytest.mark.parametrize(
    "problem, error, message",
    [(" ", ValueError, "problem: expected some text, got none"), (None, TypeError, "problem: expected text")],
)
def test_problems_without_text(method, problem, error, message):
    with pytest.raises(error, match=message):
        make(method, problem, TOKENIZER)
