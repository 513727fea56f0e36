"""Which blocks there are, and in which order each of the two streams sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hogwild.cache.view import ViewSpec
from hogwild.errors import UnknownNameError
from hogwild.prompting import ARRANGEMENTS

THOUGHTS, ANSWER = "thoughts", "answer"
INPUT = "input"  # what the user adds
HISTORY = "history"  # turns that are over
THINKER_PROMPT, WRITER_PROMPT = "thinker_prompt", "writer_prompt"
THINKER_SPLIT, WRITER_SPLIT = "thinker_split", "writer_split"
SIDE = "side"  # questions that leave no trace
SO_FAR = "so_far"  # the answer but for the token that the writer would go on from
REPLY = "reply"  # what stands in the history in the place of thoughts that are not kept
SUMMARY = "summary"  # of a turn's thoughts
THOUGHTS_STUB, ANSWER_STUB = "thoughts_stub", "answer_stub"


@dataclass(frozen=True)
class Arrangement:
    """The order of the blocks in both views. Every token is stored once, whoever sees it.

    Attributes:
        name: "roles": each stream has a prompt of its own, and the thinker sees the answer above its
            thoughts. "shared": one prompt and input for both, and the thoughts do not see the answer.
    """

    name: str = "roles"

    def __post_init__(self) -> None:
        if self.name not in ARRANGEMENTS:
            raise UnknownNameError("arrangement", self.name, ARRANGEMENTS)

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of all blocks that last for the whole session."""
        prompts = (
            (THINKER_PROMPT, WRITER_PROMPT, THINKER_SPLIT) if self.name == "roles" else (THINKER_PROMPT,)
        )
        return (*prompts, HISTORY, INPUT, THOUGHTS, WRITER_SPLIT, ANSWER, REPLY, SUMMARY, SO_FAR, SIDE)

    @property
    def input(self) -> ViewSpec:
        """In which the user's input is written."""
        return ViewSpec((THINKER_PROMPT, HISTORY, INPUT), INPUT)

    @cached_property
    def thinker(self) -> ViewSpec:
        """What the thinker sees and writes to."""
        if self.name == "shared":
            return ViewSpec((THINKER_PROMPT, HISTORY, INPUT, THOUGHTS), THOUGHTS)
        return ViewSpec((THINKER_PROMPT, HISTORY, INPUT, ANSWER, THINKER_SPLIT, THOUGHTS), THOUGHTS)

    @cached_property
    def writer(self) -> ViewSpec:
        """What the writer sees and writes to."""
        prompt = THINKER_PROMPT if self.name == "shared" else WRITER_PROMPT
        return ViewSpec((prompt, HISTORY, INPUT, THOUGHTS, WRITER_SPLIT, ANSWER), ANSWER)

    @property
    def doubt(self) -> ViewSpec:
        """In which it is measured how sure the writer is of its next token: its view, without writing to it."""
        blocks = tuple(SO_FAR if block == ANSWER else block for block in self.writer.blocks)
        return ViewSpec((*blocks, SIDE), SIDE)

    @property
    def reply(self) -> ViewSpec:
        """In which the opening of a reply is written that a history shows without its thoughts."""
        return ViewSpec((self.writer.blocks[0], REPLY), REPLY)

    def prefill(self) -> list[tuple[str, ViewSpec]]:
        """What is written first, as (what it is, where it is written), in this order.

        With a prompt for each, both streams stand in each other's view, so neither can come first. As in the
        published notebook, what each begins with is first written to a stub that the other one sees, which is
        dropped once all has been written.
        """
        if self.name == "shared":
            before = (THINKER_PROMPT, INPUT)
            return [
                (THINKER_PROMPT, ViewSpec((THINKER_PROMPT,), THINKER_PROMPT)),
                (INPUT, ViewSpec(before, INPUT)),
                (THOUGHTS, ViewSpec((*before, THOUGHTS), THOUGHTS)),
                (WRITER_SPLIT, ViewSpec((*before, THOUGHTS, WRITER_SPLIT), WRITER_SPLIT)),
                (ANSWER, ViewSpec((*before, THOUGHTS, WRITER_SPLIT, ANSWER), ANSWER)),
            ]
        writer, thinker = (WRITER_PROMPT, THOUGHTS_STUB), (THINKER_PROMPT, ANSWER_STUB)
        return [
            (WRITER_PROMPT, ViewSpec((WRITER_PROMPT,), WRITER_PROMPT)),
            (THINKER_PROMPT, ViewSpec((THINKER_PROMPT,), THINKER_PROMPT)),
            (THOUGHTS, ViewSpec(writer, THOUGHTS_STUB)),
            (ANSWER, ViewSpec(thinker, ANSWER_STUB)),
            (WRITER_SPLIT, ViewSpec((*writer, WRITER_SPLIT), WRITER_SPLIT)),
            (THINKER_SPLIT, ViewSpec((*thinker, THINKER_SPLIT), THINKER_SPLIT)),
            (ANSWER, ViewSpec((*writer, WRITER_SPLIT, ANSWER), ANSWER)),
            (THOUGHTS, ViewSpec((*thinker, THINKER_SPLIT, THOUGHTS), THOUGHTS)),
        ]

    @property
    def stubs(self) -> Sequence[str]:
        """Blocks that last for the prefill only."""
        return (THOUGHTS_STUB, ANSWER_STUB) if self.name == "roles" else ()


def behind(view: ViewSpec, block: str) -> ViewSpec:
    """A view of all that `view` shows, and of `block` behind it, which is written to."""
    return ViewSpec((*view.blocks, block), block)
