"""What becomes of the blocks of a turn when the next one begins."""

from __future__ import annotations

from hogwild.cache.store import BlockStore
from hogwild.protocols.async_reasoning.arrangement import (
    ANSWER,
    HISTORY,
    INPUT,
    REPLY,
    SUMMARY,
    THOUGHTS,
    WRITER_SPLIT,
)

EARLIER_THOUGHTS = ("kept", "folded", "dropped")


def closing_operations(earlier_thoughts: str, in_order: bool = False) -> list[tuple[str, ...]]:
    """Block operations that move a turn to the end of the history, in the order in which the writer sees it.

    Nothing is computed anew: keys are rotated to their new places. Afterwards the blocks of the turn are
    empty.

    Args:
        earlier_thoughts: "kept": input, thoughts, answer. "folded": the thoughts' summary in their place.
            "dropped": input and answer only.
        in_order: what stands between thoughts and answer is written anew in every turn.
    """
    middle = {
        "kept": [("move", THOUGHTS), ("copy", WRITER_SPLIT)],
        "folded": [("copy", REPLY), ("move", SUMMARY), ("copy", WRITER_SPLIT)],
        "dropped": [("copy", REPLY)],
    }[earlier_thoughts]
    emptied = [THOUGHTS, SUMMARY, *([WRITER_SPLIT] if in_order else [])]
    return [("move", INPUT), *middle, ("move", ANSWER), *(("clear", block) for block in emptied)]


def run_operation(store: BlockStore, operation: tuple[str, ...]) -> None:
    """Carry out one of `closing_operations`; a `PoolExhausted` leaves it undone."""
    what, block = operation
    if what == "clear":
        store.clear(block)
    else:
        store.append_from(HISTORY, block, keep_source=what == "copy")
