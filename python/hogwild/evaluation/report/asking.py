"""How methods come to an answer within a budget, in words: by themselves, when they are asked to, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from hogwild.prompting import join_names
from hogwild.protocols.methods import parse


def asking(methods: Sequence[str]) -> list[str]:
    """What happened when a budget was spent; plain sentences, each for those methods of which it is true."""
    kinds = {method: _kind(method) for method in methods}
    sentences = []
    for kind, sentence in _SENTENCES.items():
        if these := [method for method in methods if kinds[method] == kind]:
            sentences.append(
                sentence.format(of="" if len(these) == len(methods) else f" of {join_names(these)}")
            )
    if set(kinds.values()) != {"never"}:
        sentences.append("What is written for an answer that is asked for does not count.")
    return sentences


# How runs are asked -> the sentence for all runs of that kind.
_SENTENCES = {
    "late": "A run{of} that had not answered when a budget was spent was made to answer at once, from all that had "
    "been written.",
    "look": "At every budget a run{of} was asked for one answer from what all of its instances had written until "
    "then, also where these had given answers of their own.",
    "vote": "At every budget those instances of a run{of} that had not answered were made to, and the most frequent "
    "answer counted.",
    "never": "A run{of} that had not answered when a budget was spent has no answer within it.",
}


def _kind(method: str) -> str:
    read = parse(method)
    if not read.options.get("early_finish", True):
        return "never"
    if read.kind == "self-consistency":
        return "vote" if read.options.get("vote") else "look"
    return "late"
