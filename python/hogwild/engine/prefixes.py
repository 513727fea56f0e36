"""Prompts that sessions have written, for others that begin with the same tokens."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hogwild.cache import Block, Pool

__all__ = ["Prefix", "PrefixCache"]


class Prefix:
    """The beginning of a block whose tokens saw nothing but each other, in whole pages.

    Attributes:
        block: a fork; its pages are full, so nobody writes to them and nobody copies them.
        owners: blocks for whose sake it is kept. They began with these very pages when they came to own it.
    """

    __slots__ = ("block", "owners")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.owners: list[Block] = []

    def is_beginning_of(self, block: Block) -> bool:
        """Whether `block` begins with these pages, so that keeping them beside it takes no room."""
        pages = self.block.pages
        return len(block) >= len(self.block) and block.pages[: len(pages)] == pages


class PrefixCache:
    """Finds what is written already by token ids.

    Keys and values depend on all that their tokens have seen, so only text that was written into an empty block
    by rows that saw nothing else may stand here. A prefix lives as long as a session that wrote or took it. Its pages
    are those of its owners' blocks; where all of these have dropped them, it goes as soon as the pool needs the room.

    Args:
        pool: of all blocks.

    Attributes:
        lock: held by whoever finds a prefix until its pages are shared: sessions let go of theirs in any thread.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.lock = threading.RLock()
        self._by_first_page: dict[tuple[int, ...], list[Prefix]] = {}
        pool.before_it_is_full(self.drop_unused)

    def __len__(self) -> int:
        """How many prefixes there are."""
        return sum(map(len, self._by_first_page.values()))

    def find(self, tokens: Sequence[int], known: int) -> tuple[Prefix, int] | None:
        """The prefix that has most of `tokens` in common, and how many whole pages of tokens that are.

        Args:
            tokens: what is to be written; the last is never found, since its logits may be wanted.
            known: only more than so many are of use.
        """
        best: tuple[Prefix, int] | None = None
        for prefix in self._by_first_page.get(self._key(tokens), ()):
            common = self._common(prefix.block.tokens, tokens[:-1])
            if common > known:
                best, known = (prefix, common), common
        return best

    def add(self, block: Block, length: int) -> Prefix | None:
        """Keep the first `length` tokens of a block for others; None where they fill no page.

        The block is one of the owners then, until `release` is called.
        """
        length -= length % self._pool.page_size
        if length == 0:
            return None
        with self.lock:
            same = self._by_first_page.setdefault(self._key(block.tokens), [])
            for prefix in same:
                # Of the same pages: what others have written besides, alike or longer, would take room of its own.
                if len(prefix.block) == length and prefix.is_beginning_of(block):
                    break
            else:
                fork = block.fork("prefix")
                fork.crop(length)
                prefix = Prefix(fork)
                same.append(prefix)
            prefix.owners.append(block)
            return prefix

    def release(self, prefix: Prefix, block: Block) -> None:
        """One owner less; without any the prefix is gone."""
        with self.lock:
            prefix.owners.remove(block)
            if not prefix.owners:
                self._drop(prefix)

    def drop_unused(self) -> None:
        """Give back pages that no owner's block has any more."""
        with self.lock:
            for prefix in [prefix for same in self._by_first_page.values() for prefix in same]:
                if not any(map(prefix.is_beginning_of, prefix.owners)):
                    self._drop(prefix)

    def _drop(self, prefix: Prefix) -> None:
        key = self._key(prefix.block.tokens)
        same = self._by_first_page.get(key, [])
        if prefix in same:  # or its pages were given back before
            same.remove(prefix)
            if not same:
                del self._by_first_page[key]
            prefix.block.free()

    def _key(self, tokens: Sequence[int]) -> tuple[int, ...]:
        return tuple(tokens[: self._pool.page_size])

    def _common(self, written: Sequence[int], tokens: Sequence[int]) -> int:
        """Tokens of the whole pages that both begin with."""
        size, common = self._pool.page_size, 0
        most = min(len(written), len(tokens))
        while common + size <= most:
            page = slice(common, common + size)
            if list(written[page]) != list(tokens[page]):
                break
            common += size
        return common
