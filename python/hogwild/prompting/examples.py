"""Worked examples for base models, which continue a pattern where chat models follow rules."""

from __future__ import annotations

from collections.abc import Sequence

from hogwild.prompting.headers import Headers, join_names

# Base models take long titles for the beginning of another text; a rule between the sections is enough for them.
BASE_HEADERS = Headers(others="---", own="---", unfinished="")

# Question and steps. The order matters: a small model copies from the last one most.
EXAMPLES = (
    (
        "Name a bird and a fish.",
        "I will name a bird. The owl is a bird.",
        "Then I will name a fish. The salmon is a fish.",
        "Now we have both, so we are done. The answer is \\boxed{owl, salmon}.",
    ),
    (
        "Tom has 5 red balls and 3 blue balls. He loses 2 balls. How many are left?",
        "At the start Tom has 5 + 3 = 8 balls.",
        "Tom loses 2 balls, so we have to subtract 2.",
        "We found 8 balls, and 8 - 2 = 6. The answer is \\boxed{6}.",
    ),
    (
        "How can we save water and power at home?",
        "To save power, we can turn off the lights when we leave.",
        "To save water, we can take short showers.",
        "We have a way to save power and one to save water. The answer is \\boxed{lights off, short showers}.",
    ),
    (
        "Add 12, 7 and 30.",
        "The first two numbers give 12 + 7 = 19.",
        "We have to add 30 at the end.",
        "We found 19, and 19 + 30 = 49. The answer is \\boxed{49}.",
    ),
)


def base_examples(problem: str, workers: Sequence[str], layout: str, headers: Headers) -> str:
    """A text whose natural continuation is `workers` solving `problem` in steps under their headers.

    The steps of the examples go round among the workers, so that everybody's name occurs.
    """
    title = "" if layout == "contiguous" else headers.separator + headers.past
    if len(workers) == 1:
        parts = [f"{workers[0]} solves problems in short steps."]
    else:
        parts = [
            f"{join_names(workers)} solve problems together. They write at the same time, see what the others "
            "write, and share the work."
        ]
    for number, (question, *steps) in enumerate(EXAMPLES):
        authors = [workers[(number * len(steps) + turn) % len(workers)] for turn in range(len(steps))]
        written = _in_runs if layout == "contiguous" else _in_turns
        text = written(authors, steps, headers)
        parts.append(headers.separator.join([f"# Problem{headers.separator}{question}{title}", *text]))
    parts.append(f"# Problem{headers.separator}{problem.strip()}{title}")
    return headers.separator.join(parts)


def _in_turns(authors: Sequence[str], steps: Sequence[str], headers: Headers) -> list[str]:
    """Steps in the order in which they were written, each under its header."""
    return [
        f"{headers.step(author, authors[: place + 1].count(author))} {step}"
        for place, (author, step) in enumerate(zip(authors, steps, strict=True))
    ]


def _in_runs(authors: Sequence[str], steps: Sequence[str], headers: Headers) -> list[str]:
    """Each author's steps together under one header; last comes the one who wrote the last step."""
    text = []
    for author in sorted(set(authors), key=lambda author: (author == authors[-1], authors.index(author))):
        own = [step for writer, step in zip(authors, steps, strict=True) if writer == author]
        text.append(f"{headers.step(author, 1)} {headers.separator.join(own)}")
    return text
