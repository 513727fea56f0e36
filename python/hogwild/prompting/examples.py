"""Worked examples: chat models see how working together looks, base models a pattern to continue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hogwild.prompting.answers import AnswerFormat
from hogwild.prompting.headers import Headers


@dataclass(frozen=True)
class Example:
    """A problem, and the reasoning steps that solve it; `{answer}` in a step stands for the answer."""

    problem: str
    steps: tuple[str, ...]
    answer: str

    def texts(self, form: AnswerFormat) -> list[str]:
        """The steps, with the answer as `form` writes it."""
        return [step.replace("{answer}", form.show(self.answer)) for step in self.steps]


def in_turns(authors: Sequence[str], steps: Sequence[str], headers: Headers) -> list[str]:
    """Steps in the order in which they were written, each under its header."""
    return [
        f"{headers.step(author, authors[: place + 1].count(author))} {step}"
        for place, (author, step) in enumerate(zip(authors, steps, strict=True))
    ]


def in_runs(authors: Sequence[str], steps: Sequence[str], headers: Headers) -> list[str]:
    """Each author's steps together under one header; last comes the one who wrote the last step."""
    text = []
    for author in sorted(set(authors), key=lambda author: (author == authors[-1], authors.index(author))):
        own = [step for writer, step in zip(authors, steps, strict=True) if writer == author]
        text.append(f"{headers.step(author, 1)} {headers.separator.join(own)}")
    return text


def worked(
    example: Example, number: int, workers: Sequence[str], layout: str, headers: Headers, form: AnswerFormat
) -> list[str]:
    """The paragraphs of an example, with the layout's title, under the headers of `workers`.

    The steps go round among the workers from one example (the `number`-th) to the next, so that everybody's
    name occurs.
    """
    count = len(example.steps)
    authors = [workers[(number * count + turn) % len(workers)] for turn in range(count)]
    if layout == "contiguous":
        return in_runs(authors, example.texts(form), headers)
    return [headers.past, *in_turns(authors, example.texts(form), headers)]
