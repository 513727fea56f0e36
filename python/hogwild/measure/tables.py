"""Measurements as text: the paper's Table 1 and Table 2, and what else is worth a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from hogwild.measure.decode import DecodeTime

__all__ = ["seconds_to_generate", "table_1", "table_2", "table_of_parts"]


def seconds_to_generate(times: Sequence[DecodeTime], workers: int, tokens: int) -> float:
    """Seconds in which `workers` together write `tokens`, which they all see.

    The time of a forward is interpolated between the measured contexts; before the first it is that of the first.
    """
    same = sorted((t for t in times if t.workers == workers), key=lambda t: t.context)
    points = [(0, same[0].us), *((t.context, t.us) for t in same)]
    total = 0.0
    for (begin, before), (end, after) in pairwise(points):
        stop = min(end, tokens)
        if stop > begin:
            at_stop = before + (after - before) * (stop - begin) / (end - begin)
            total += (before + at_stop) / 2 * (stop - begin)
    total += points[-1][1] * max(tokens - points[-1][0], 0)
    return total / workers * 1e-6


def table_1(times: Sequence[DecodeTime]) -> str:
    """Tokens per second, latency per forward, and time to generate as many tokens as the column says."""
    contexts = sorted({t.context for t in times})
    by_case = {(t.workers, t.context): t for t in times}

    def rows(title: str, value: Callable[[DecodeTime], str]) -> list[list[str]]:
        lines = [[title]]
        for workers in sorted({t.workers for t in times}):
            cells = [by_case.get((workers, context)) for context in contexts]
            lines.append([f"  {workers}", *("" if t is None else value(t) for t in cells)])
        return lines

    return _aligned(
        [
            ["workers", *(f"{context:,}" for context in contexts)],
            *rows("tokens per second", lambda t: f"{t.tokens_per_second:,.1f}"),
            *rows("latency per forward (ms)", lambda t: f"{t.us / 1e3:.2f}"),
            *rows(
                "time to generate # tokens (s)",
                lambda t: f"{seconds_to_generate(times, t.workers, t.context):.1f}",
            ),
        ]
    )


def table_2(times: Sequence[DecodeTime], layers: int) -> str:
    """Attention of one layer (with append and rotation) and the setup of a forward."""
    contexts = sorted({t.context for t in times})
    counts = sorted({t.workers for t in times})
    by_case = {(t.workers, t.context): t for t in times}
    lines = [["context", *(f"W{w}" for w in counts), *(f"W{w}" for w in counts)]]
    title = ["", f"attention (x {layers}), us", *[""] * (len(counts) - 1), "setup (x 1), us"]
    for context in contexts:
        cells = [by_case.get((w, context)) for w in counts]
        attention = [
            ""
            if t is None or t.attention_us is None or t.append_us is None
            else f"{(t.attention_us + t.append_us) / layers:.1f}"
            for t in cells
        ]
        lines.append([f"{context:,}", *attention, *("" if t is None else f"{t.setup_us:.0f}" for t in cells)])
    return _aligned([title, *lines])


def table_of_parts(times: Sequence[DecodeTime], baselines: Sequence[dict[str, float]]) -> str:
    """A line for each case: the forward, its parts, and what else was measured beside it."""
    names = list(dict.fromkeys(name for row in baselines for name in row))
    header = [
        "workers",
        "context",
        "ms",
        "of floor",
        "model",
        "floor",
        "attention",
        "append",
        "other",
        "setup",
    ]
    lines = [[*header, "kernels", *names]]
    for t, row in zip(times, baselines, strict=True):
        parts = [t.attention_us, t.append_us, t.other_us]
        lines.append(
            [
                str(t.workers) if t.sessions == 1 else f"{t.sessions}x{t.workers}",
                f"{t.context:,}",
                f"{t.us / 1e3:.3f}",
                f"{t.us / t.floor_us:.3f}x",
                f"{t.model_us / 1e3:.3f}",
                f"{t.floor_us / 1e3:.3f}",
                *("" if part is None else f"{part / 1e3:.3f}" for part in parts),
                f"{t.setup_us / 1e3:.3f}",
                "" if t.kernels is None else str(t.kernels),
                *(f"{row[name] / 1e3:.3f}" if name in row else "" for name in names),
            ]
        )
    return _aligned(lines)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need, the first to the left; a lone cell is a heading of any width."""
    columns = max(len(line) for line in lines)
    widths = [
        max((len(line[i]) for line in lines if i < len(line) and len(line) > 1), default=0)
        for i in range(columns)
    ]
    text = []
    for line in lines:
        first, *others = line
        cells = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:], strict=False))]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)
