"""What a protocol asks of the next forward, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hogwild.cache.view import ViewSpec


@dataclass(frozen=True, init=False)
class Feed:
    """New tokens of one worker, to be written to the end of `view.write_to`.

    Attributes:
        worker: whose tokens they are; sampling settings and random draws are kept per worker.
        tokens: token ids, at least one.
        view: names of the blocks that the tokens attend to, and of the block they are written to.
        sample: whether the worker samples a token from the logits of the last of `tokens`.
        probe: sets of token ids, at least one id each; the result says how likely the model holds it that one of
            the set comes next. Yes/no questions are asked in this way, also by feeds that do not sample. An id
            that stands in a set twice counts once.
        entropy: whether the result has the entropy of the next token's distribution.
        guest: whether nothing that the other feeds write, and no token that they sample, may differ by a bit
            because of this one. In their forward the model is called for it afterwards, see `PlanWithGuests`.
            Guests come last, and no other feed sees the block that they write to. One that does not sample is
            left out where its session would otherwise end: for want of pages, or because its view is too long.

    Raises:
        ValueError, TypeError: no tokens, tokens in no order, or a probe without ids.
    """

    worker: str
    tokens: tuple[int, ...]
    view: ViewSpec
    sample: bool = True
    probe: tuple[tuple[int, ...], ...] = ()
    entropy: bool = False
    guest: bool = False
    asks: tuple[object, ...] = field(
        init=False, repr=False, compare=False
    )  # all but the tokens, in one piece

    def __init__(
        self,
        worker: str,
        tokens: Sequence[int],
        view: ViewSpec,
        sample: bool = True,
        probe: Sequence[Sequence[int]] = (),
        entropy: bool = False,
        guest: bool = False,
    ) -> None:
        if type(tokens) is not tuple:
            tokens = tuple(tokens) if type(tokens) is list else _in_order(worker, tokens)
        if type(probe) is not tuple or probe:
            try:
                probe = tuple(tuple(dict.fromkeys(ids)) for ids in probe)
            except TypeError:
                raise TypeError(
                    f"feed of worker {worker!r}: probe: expected sets of token ids, got {probe!r}"
                ) from None
            if not all(probe):
                raise ValueError(
                    f"feed of worker {worker!r}: probe: expected at least one token id in each set"
                )
        if not tokens:
            raise ValueError(f"feed of worker {worker!r}: tokens is empty, expected at least one token id")
        # A frozen dataclass's own way takes twice as long, for every token.
        self.__dict__.update(
            worker=worker,
            tokens=tokens,
            view=view,
            sample=sample,
            probe=probe,
            entropy=entropy,
            guest=guest,
            asks=(worker, view, sample, probe, entropy, guest),
        )


def _in_order(worker: str, tokens: Sequence[int]) -> tuple[int, ...]:
    try:
        if not isinstance(tokens, (str, bytes, bytearray, Mapping, Set)):
            return tuple(tokens)
    except TypeError:
        pass
    raise TypeError(f"feed of worker {worker!r}: tokens: expected token ids, got {tokens!r}")


class Result(NamedTuple):
    """What came of one feed.

    Attributes:
        worker: the feed's worker.
        token: the sampled token id; None for a feed that does not sample.
        logprob: natural log of the token's probability under the distribution it was drawn from; None for a
            feed that does not sample, and unless the worker's settings ask for it.
        probe: for each set of the feed's `probe`, the natural log of the set's probability: of the sum over its
            tokens (log-sum-exp of their log-probabilities). Of the model's own distribution, whatever the
            sampling settings are.
        entropy: of that same distribution, in nats; None unless the feed asks for it.
        left_out: the feed was a guest for which there was no room. It was not answered, and what its block holds
            of it is nothing, or where it took several forwards a part.
    """

    worker: str
    token: int | None = None
    logprob: float | None = None
    probe: tuple[float, ...] = ()
    entropy: float | None = None
    left_out: bool = False
