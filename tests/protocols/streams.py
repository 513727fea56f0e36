"""A thinker and a writer that follow a script, for tests of asynchronous reasoning without a model."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from fakes import ScriptedEngine, ToyTokenizer
from hogwild.engine.feed import Feed
from hogwild.prompting import AsyncPrompts
from hogwild.protocols.async_reasoning import AsyncReasoningProtocol, protocol_state, restore_protocol

PIECES = ["\n\n", " yes", " no", "<think>", "</think>", "<turn>"]


class ControlTokenizer(ToyTokenizer):
    """The toy tokenizer with control tokens: what spells one is one."""

    def __init__(self) -> None:
        super().__init__(PIECES)
        self.all_special_tokens = ["<eos>", "<think>", "</think>", "<turn>"]
        self.all_special_ids = [self.id(text) for text in self.all_special_tokens]


TOKENIZER = ControlTokenizer()
END, CLOSE = TOKENIZER.eos_token_id, TOKENIZER.id("</think>")

ROLES = AsyncPrompts(
    thinker_prompt="T:{problem}",
    writer_prompt="W:{problem}",
    thinker_split="(t)",
    writer_split="(w)",
    thoughts_opening=("<turn><think>", "\n\n"),
    answer_opening=("A:", "\n\n"),
    thinker_question="[begin?]",
    writer_question="[go on?]",
    probe_question="[enough?]",
    input_note="[new]",
    interrupted="[cut]",
    interrupt_note="[stop]",
    next_turn="<turn>",
    thoughts_tag="<turn><think>",
    plain_reply="<turn>",
    summary_question="[sum]",
    safety_question="[safe?]",
    writing_question="[fine?]",
    refusal_note="[decline]",
    end_think="</think>",
    forbidden=("<think>",),
)
SHARED = replace(ROLES, thinker_prompt="P:", writer_prompt="", input="{problem}", thinker_split="")
PROMPTS = {"roles": ROLES, "shared": SHARED}


def make(policy="always-on", arrangement="roles", **options) -> AsyncReasoningProtocol:
    options.setdefault("prompts", PROMPTS[arrangement])
    options.setdefault("max_forwards", 10_000)
    options.setdefault("clock", Clock())
    return AsyncReasoningProtocol("Q", TOKENIZER, policy, arrangement=arrangement, **options)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ids(text: str) -> list[int]:
    """Token ids; `|` is the end of the text, `</think>` that of the thoughts."""
    return [END if token == TOKENIZER.id("|") else token for token in TOKENIZER.encode(text)]


class Run(ScriptedEngine):
    """A protocol with the texts that its streams sample.

    Args:
        protocol: what is run.
        thoughts, answer: the texts; when one is used up, its stream goes on with "~".
        yes: answers questions, in the order in which they are asked; a number is the log-odds of yes, and
            what `entropy` measures answer is taken from `entropies`. When they are used up: no.
    """

    def __init__(
        self,
        protocol: AsyncReasoningProtocol,
        thoughts: str = "",
        answer: str = "",
        yes: Sequence[float | bool] = (),
        entropies: Callable[[int], float] = lambda count: 0.0,
    ) -> None:
        self.scripts = {"thinker": ids(thoughts), "writer": ids(answer)}
        self.answers, self.asked, self.measured = list(yes), [], 0
        self.sampled: list[tuple[str, int]] = []
        self._entropies = entropies
        super().__init__(protocol, self._say, self._reply)

    def _say(self, feed: Feed, view: list[int]) -> int:
        script = self.scripts[feed.worker]
        token = script.pop(0) if script else TOKENIZER.id("~")
        self.sampled.append((feed.worker, token))
        return token

    def fork(self) -> Run:
        """A run of a restored protocol, which goes on from here by itself."""
        state = json.loads(json.dumps(protocol_state(self.protocol)))
        twin = copy.copy(self)
        twin.protocol = restore_protocol(state, TOKENIZER)
        twin.scripts = copy.deepcopy(self.scripts)
        twin.answers, twin.asked, twin.sampled = list(self.answers), list(self.asked), list(self.sampled)
        twin.feeds, twin.store = [], copy.deepcopy(self.store)
        twin._next, twin._measure = twin._say, twin._reply
        twin.events = [*twin.protocol.begin(twin.store), *twin.protocol.resume()]
        return twin

    def _reply(self, feed: Feed, view: list[int]) -> tuple[tuple[float, float], float]:
        if feed.entropy:
            self.measured += 1
            return (0.0, 0.0), self._entropies(self.measured)
        assert feed.probe == ((TOKENIZER.id(" yes"),), (TOKENIZER.id(" no"),))
        self.asked.append(TOKENIZER.decode(view))
        odds = self.answers.pop(0) if self.answers else False
        odds = {True: 2.0, False: -2.0}.get(odds, odds) if isinstance(odds, bool) else odds
        return (-math.log1p(math.exp(-odds)), -math.log1p(math.exp(odds))), 0.0

    # ------------------------------------------------------------------ what can be seen

    @property
    def modes(self) -> list[str]:
        return [event.mode for event in self.events if event.type == "mode"]

    def block(self, name: str) -> str:
        return TOKENIZER.decode(self.store.tokens(name))

    def view(self, worker: str) -> str:
        """What a stream sees, with what it has yet to write behind it."""
        arrangement = self.protocol.arrangement
        stream = self.protocol._streams.by_worker[worker]
        view = arrangement.thinker if worker == "thinker" else arrangement.writer
        return TOKENIZER.decode([*self.store.view(view), *stream.queue])

    def forwards(self, count: int) -> None:
        for _ in range(count):
            self.forward()
            self.check()

    def finish(self, limit: int = 2000) -> None:
        while not self.protocol.finished and limit:
            self.forwards(1)
            limit -= 1
        assert self.protocol.finished

    def check(self) -> None:
        """Each block holds exactly what its stream has said and written, in order."""
        protocol = self.protocol
        if not protocol._streams.prefilled:
            return
        for stream in (*protocol._streams.by_worker.values(), protocol._streams.input):
            assert self.store.tokens(stream.block) == stream.tokens[: stream.written], stream.block
        assert self.store.tokens("side") == []
        ask, so_far = protocol._switch.ask, self.store.tokens("so_far")
        assert so_far == protocol._streams.writer.tokens[: len(so_far)]
        assert not so_far or (ask is not None and ask.question == "unsure")


LONG = "abcdefghijklmnopqrstuvw"


def running(policy="always-on", thoughts=LONG, answer="xyz" * 9, forwards=4, arrangement="roles", **options):
    run = Run(make(policy, arrangement, **options), thoughts, answer)
    run.forwards(forwards)
    return run
