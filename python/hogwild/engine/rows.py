"""Cutting the feeds of one session into the rows of one or more forwards."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from hogwild.cache.view import ViewSpec
from hogwild.engine.feed import Feed
from hogwild.errors import BlockError, UnknownNameError


class Row(NamedTuple):
    """A feed, or a part of one, in one forward.

    Attributes:
        feed: index of the feed it is from.
        worker, view: those of the feed.
        tokens: the part that this forward writes.
        sample: whether this part ends a feed that samples.
        probe, entropy: those of a feed that this part ends.
        guest: whether the feed is one.
    """

    feed: int
    worker: str
    tokens: tuple[int, ...]
    view: ViewSpec
    sample: bool
    probe: tuple[tuple[int, ...], ...] = ()
    entropy: bool = False
    guest: bool = False

    @property
    def needs_logits(self) -> bool:
        """Whether anything is asked about what follows the last of `tokens`."""
        return self.sample or self.entropy or bool(self.probe)


def check_feeds(
    feeds: Sequence[Feed], workers: Collection[str] | None = None, vocab_size: int | None = None
) -> None:
    """Refuse feeds that cannot share a forward.

    Args:
        feeds: of one session.
        workers: the names of its workers; None: any.
        vocab_size: token ids of the model are below this; None: any.

    Raises:
        BlockError: two feeds write to one block, or a feed sees what a guest writes.
        UnknownNameError: a feed of a worker that is none of `workers`.
        TypeError, ValueError: not a feed, a token id that the model does not have, a worker that samples
            in two feeds, or a guest before other feeds.
    """
    writers: dict[str, str] = {}
    sampling: set[str] = set()
    for feed in feeds:
        if not isinstance(feed, Feed):
            raise TypeError(f"feeds: expected Feed objects, got {type(feed).__name__}")
        if not isinstance(feed.view, ViewSpec):
            raise TypeError(f"feed of worker {feed.worker!r}: view: expected a ViewSpec, got {feed.view!r}")
        for name in ("sample", "entropy", "guest"):
            if not isinstance(getattr(feed, name), bool):
                raise TypeError(
                    f"feed of worker {feed.worker!r}: {name}: expected True or False, got {getattr(feed, name)!r}"
                )
        if workers is not None and feed.worker not in workers:
            raise UnknownNameError("worker", feed.worker, workers)
        _check_tokens(feed, feed.tokens, vocab_size)
        for ids in feed.probe:
            _check_tokens(feed, ids, vocab_size)
        block = feed.view.write_to
        if block in writers:
            raise BlockError(
                f"workers {writers[block]!r} and {feed.worker!r} both write to block {block!r} in one forward"
            )
        writers[block] = feed.worker
        if feed.sample and feed.worker in sampling:
            raise ValueError(f"worker {feed.worker!r} samples in two feeds of one forward")
        if feed.sample:
            sampling.add(feed.worker)
    _check_guests(feeds)


def _check_guests(feeds: Sequence[Feed]) -> None:
    guests = [feed for feed in feeds if feed.guest]
    if not guests:
        return
    hosts = list(feeds[: len(feeds) - len(guests)])
    if any(feed.guest for feed in hosts):
        raise ValueError(
            f"feeds: guests are expected behind all others, got {[feed.guest for feed in feeds]}"
        )
    for guest in guests:
        block = guest.view.write_to
        for feed in hosts:
            if block in feed.view.blocks:
                raise BlockError(
                    f"worker {feed.worker!r} sees block {block!r}, which a guest of worker {guest.worker!r} "
                    "writes to in the same forward"
                )


def _check_tokens(feed: Feed, tokens: Sequence[int], vocab_size: int | None) -> None:
    for token in tokens:
        if isinstance(token, bool) or not isinstance(token, int):
            raise TypeError(
                f"feed of worker {feed.worker!r}: expected token ids, which are integers, got {token!r}"
            )
        if token < 0 or (vocab_size is not None and token >= vocab_size):
            known = "" if vocab_size is None else f" and below the vocabulary's size of {vocab_size}"
            raise ValueError(
                f"feed of worker {feed.worker!r}: expected token ids from 0 on{known}, got {token}"
            )


def cut_rows(feeds: Sequence[Feed], max_tokens: int) -> list[list[Row]]:
    """Rows of each forward, in order, with at most about `max_tokens` tokens a forward.

    What fits is one forward. Otherwise the last feeds that fit together stay together, so that workers who
    write at the same time see each other's new tokens just as they do after a short prompt; the feeds before
    them are cut every `max_tokens` tokens. The cuts depend on nothing but these feeds: a session is computed
    in the same pieces alone and in company.

    Guests ride in the last of these forwards, and change nothing of how it is cut.
    """
    hosts = _cut([(index, feed) for index, feed in enumerate(feeds) if not feed.guest], max_tokens)
    guests = _cut([(index, feed) for index, feed in enumerate(feeds) if feed.guest], max_tokens)
    if hosts and guests:
        hosts[-1] += guests.pop(0)
    return hosts + guests


def _cut(feeds: Sequence[tuple[int, Feed]], max_tokens: int) -> list[list[Row]]:
    """The rows of some feeds, each given with its index."""
    tail, size = len(feeds), 0
    while tail and size + len(feeds[tail - 1][1].tokens) <= max_tokens:
        tail -= 1
        size += len(feeds[tail][1].tokens)

    forwards: list[list[Row]] = []
    room = 0
    for index, feed in feeds[:tail]:
        done = 0
        while done < len(feed.tokens):
            if room == 0:
                forwards.append([])
                room = max_tokens
            part = feed.tokens[done : done + room]
            done += len(part)
            room -= len(part)
            if done == len(feed.tokens):
                forwards[-1].append(_ending(index, feed, part))
            else:
                row = Row(index, feed.worker, part, feed.view, sample=False, guest=feed.guest)
                forwards[-1].append(row)
    if tail < len(feeds):
        forwards.append([_ending(index, feed, feed.tokens) for index, feed in feeds[tail:]])
    return forwards


def tokens_that_follow(
    before: Sequence[Feed], feeds: Sequence[Feed], vocab_size: int | None
) -> list[tuple[int, ...]] | None:
    """The tokens of feeds of one token each that are, but for these, what was fed before.

    What decodes feeds nothing else, and then there is nothing to check anew and nothing to cut.

    Args:
        before: feeds that were checked.
        feeds: of the next forward.
        vocab_size: token ids of the model are below this; None: any.

    Returns:
        None where they differ, or are to be refused: `check_feeds` says why.
    """
    if len(feeds) != len(before):
        return None
    limit = math.inf if vocab_size is None else vocab_size
    found = []
    for old, feed in zip(before, feeds, strict=True):
        if type(feed) is not Feed or feed.asks != old.asks or len(feed.tokens) > 1:
            return None
        (token,) = tokens = feed.tokens
        if type(token) is not int or not 0 <= token < limit:
            return None
        found.append(tokens)
    return found


def renewed(rows: Sequence[Row], feeds: Sequence[Feed]) -> list[Row]:
    """The rows of feeds whose `tokens_that_follow` those of `rows`."""
    return [_ending(row.feed, feed, feed.tokens) for row, feed in zip(rows, feeds, strict=True)]


def _ending(index: int, feed: Feed, tokens: tuple[int, ...]) -> Row:
    """The last part of a feed, which asks what the feed asks."""
    return Row(index, feed.worker, tokens, feed.view, feed.sample, feed.probe, feed.entropy, feed.guest)
