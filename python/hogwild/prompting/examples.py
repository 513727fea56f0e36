"""Worked examples for base models, which continue a pattern where chat models follow rules."""

from __future__ import annotations

from collections.abc import Sequence

from hogwild.prompting.headers import Headers, join_names


def base_examples(problem: str, workers: Sequence[str], layout: str, headers: Headers) -> str:
    """A text whose natural continuation is `workers` solving `problem` in steps under their headers."""
    title = headers.separator + headers.past if layout != "contiguous" else ""
    parts = [f"{join_names(workers)} solve problems {'together ' if len(workers) > 1 else ''}in short steps."]
    for question, steps, answer in _examples(workers):
        index = dict.fromkeys(workers, 0)
        text = f"# Problem{headers.separator}{question}{title}"
        for worker, step in [*steps, (workers[0], f"The final answer is \\boxed{{{answer}}}.")]:
            index[worker] += 1
            text += f"{headers.separator}{headers.step(worker, index[worker])} {step}"
        parts.append(text)
    parts.append(f"# Problem{headers.separator}{problem.strip()}{title}")
    return headers.separator.join(parts)


def _examples(workers: Sequence[str]) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Question, steps by worker, and answer of each example: as many parts as workers, one for each."""
    numbers = [(12, 7), (8, 5), (20, 6), (9, 9), (15, 4), (11, 3), (6, 8), (14, 2)]
    parts = [numbers[i % len(numbers)] for i in range(max(2, len(workers)))]
    question = "Calculate " + join_names([f"{a} + {b}" for a, b in parts]) + "."
    steps = [
        (workers[i % len(workers)], f"I take {a} + {b}. It is {a + b}.") for i, (a, b) in enumerate(parts)
    ]
    return [(question, steps, ", ".join(str(a + b) for a, b in parts))]
