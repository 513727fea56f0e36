"""What limits decode forwards, in words."""

from __future__ import annotations

from collections.abc import Sequence

from hogwild.measure.decode import DecodeTime

__all__ = ["explain"]


def explain(times: Sequence[DecodeTime]) -> list[str]:
    """Sentences about measurements of one model on one machine, the most important first."""
    longest = max(times, key=lambda t: (t.context, t.workers))
    sentences = [_limit(longest, times)]
    sentences += _floor(longest)
    sentences += _workers(times)
    sentences += _context(times)
    return sentences


def _limit(t: DecodeTime, times: Sequence[DecodeTime]) -> str:
    parts = _parts(t)
    name, share = max(parts.items(), key=lambda part: part[1])
    listed = ", ".join(f"{part} {value / 1e3:.2f} ms" for part, value in parts.items())
    advice = {
        "matrix products": _products(t, times) + ", a smaller dtype or model helps",
        "attention": "reading keys and values limits it: shorter contexts, or fewer sessions at once, help",
        "attention and small operations": "attention and the operations between matrix products limit it",
        "small kernels": "many small kernels limit it: compile the model (--compile layers or model)",
        "host": "the host limits it: a faster processor, or more workers a forward, helps",
        "model": "the model limits it",
    }[name]
    return (
        f"With {_counted(t.workers)} on {t.context:,} tokens a forward takes {t.us / 1e3:.2f} ms ({listed}): "
        f"{advice} ({share / t.us:.0%} of the time)."
    )


def _products(t: DecodeTime, times: Sequence[DecodeTime]) -> str:
    """Whether the weights are what takes long in products, or the rows."""
    fewer = [o for o in times if (o.context, o.sessions) == (t.context, t.sessions) and o.workers < t.workers]
    if not fewer:
        return "reading the weights limits it" if t.workers == 1 else "the matrix products limit it"
    least = min(fewer, key=lambda o: o.workers)
    growth = t.floor_us / least.floor_us
    if growth < 1.25:
        return "reading the weights limits it: more workers cost next to nothing"
    return f"the matrix products limit it: they take {growth:.2f} times as long as with {_counted(least.workers)}"


def _counted(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


def _parts(t: DecodeTime) -> dict[str, float]:
    """Microseconds of a forward by what they are spent on."""
    if t.products_us is not None and t.attention_us is not None and t.append_us is not None:
        attention = t.attention_us + t.append_us
        rest = max(t.model_us - t.products_us - attention, 0.0)
        return {
            "matrix products": t.products_us,
            "attention": attention,
            "small kernels": rest,
            "host": t.setup_us,
        }
    if t.floor_us < t.model_us:
        return {
            "matrix products": t.floor_us,
            "attention and small operations": t.model_us - t.floor_us,
            "host": t.setup_us,
        }
    return {"model": t.model_us, "host": t.setup_us}


def _floor(t: DecodeTime) -> list[str]:
    gigabytes = t.weight_bytes / 1e9
    return [
        f"The matrix products alone, {gigabytes:.2f} GB of weights, take {t.floor_us / 1e3:.2f} ms "
        f"({gigabytes / (t.floor_us / 1e6):,.0f} GB/s); the whole forward is {t.us / t.floor_us:.2f} times that, "
        f"and what is not the model takes {t.setup_us / 1e3:.2f} ms of it."
    ]


def _workers(times: Sequence[DecodeTime]) -> list[str]:
    """How much more several workers write than one."""
    context = min(t.context for t in times)
    same = sorted((t for t in times if t.context == context), key=lambda t: t.workers)
    if len(same) < 2 or same[0].workers != 1:
        return []
    ratios = ", ".join(
        f"{t.workers} write {t.tokens_per_second / same[0].tokens_per_second:.2f} times" for t in same[1:]
    )
    return [
        f"On {context:,} tokens one worker writes {same[0].tokens_per_second:.1f} tokens per second; {ratios} that."
    ]


def _context(times: Sequence[DecodeTime]) -> list[str]:
    """What more context costs."""
    workers = max(t.workers for t in times)
    same = sorted((t for t in times if t.workers == workers), key=lambda t: t.context)
    if len(same) < 2:
        return []
    first, last = same[0], same[-1]
    each = (last.us - first.us) / (last.context - first.context)
    return [f"With {_counted(workers)} each further 1,000 tokens of context cost {each:.3f} ms a forward."]
