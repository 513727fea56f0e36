"""What methods are, in words for readers who have never heard of them."""

from __future__ import annotations

from typing import Any

from hogwild.protocols.methods import parse

_SETTINGS = {
    ("layout", "contiguous"): "all text of a worker stands together",
    ("question_every", None): "nobody is asked about redundant work",
    ("question_to", "random"): "a random worker is asked about redundant work",
    ("reencode", True): "finished paragraphs are encoded anew instead of being moved",
    ("examples", False): "without worked examples in the prompt",
    ("person", "first"): "rules in the first person",
    ("person", "second"): "rules in the second person",
    ("numbered", True): "workers have numbers instead of names",
    ("early_finish", False): "an answer counts only if it comes by itself",
}


def describe(method: str) -> str:
    """One sentence about a method, without a full stop."""
    read = parse(method)
    options = dict(read.options)
    text = _KINDS[read.kind](options)
    settings = [_SETTINGS[name, value] for name, value in options.items() if (name, value) in _SETTINGS]
    if every := options.get("question_every"):
        settings.insert(0, f"somebody is asked about redundant work every {every:,} tokens")
    return "; ".join([text, *settings])


def _sequential(options: dict[str, Any]) -> str:
    return "One instance of the model thinks alone, as usual"


def _self_consistency(options: dict[str, Any]) -> str:
    threads = options.pop("threads", 2)
    ending = (
        "the most frequent of their answers wins"
        if options.pop("vote", False)
        else "one more look at all of them decides"
    )
    return f"{threads} instances think independently, and {ending}"


def _skeleton(options: dict[str, Any]) -> str:
    at_a_time = options.pop("at_a_time", None)
    how = "all at the same time" if at_a_time is None else f"{at_a_time} at a time"
    return (
        f"Skeleton-of-thought: a short outline first, then its points are written {how}, then the thinking goes "
        "on over all of them"
    )


def _hogwild(options: dict[str, Any]) -> str:
    workers = options.pop("workers", 2)
    count = workers if isinstance(workers, int) else len(workers)
    if count == 1:
        return "Hogwild! with a single worker: the same prompt and steps, and nobody to share them with"
    if options.get("layout") == "interleaved":
        sees = "each paragraph of the others once it is finished"
    else:
        sees = "what the others write while they write it"
    return f"Hogwild!: {count} instances think at the same time, and each sees {sees}"


_KINDS = {
    "sequential": _sequential,
    "self-consistency": _self_consistency,
    "skeleton": _skeleton,
    "hogwild": _hogwild,
}
