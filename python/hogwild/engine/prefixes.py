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
        owners: how many sessions keep it.
    """

    __slots__ = ("block", "owners")

    def __init__(self, block: Block) -> None:
        self.block, self.owners = block, 0


class PrefixCache:
    """Finds what is written already by token ids.

    Keys and values depend on all that their tokens have seen, so only text that was written into an empty block
    by rows that saw nothing else may stand here. A prefix lives as long as a session that wrote or took it: the
    cache holds no pages of its own but for those of prompts that running sessions have dropped.

    Args:
        pool: of all blocks.

    Attributes:
        lock: held by whoever finds a prefix until its pages are shared: sessions let go of theirs in any thread.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.lock = threading.RLock()
        self._by_first_page: dict[tuple[int, ...], list[Prefix]] = {}

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

        The caller is one of the owners then, until it calls `release`.
        """
        length -= length % self._pool.page_size
        if length == 0:
            return None
        with self.lock:
            same = self._by_first_page.setdefault(self._key(block.tokens), [])
            for prefix in same:
                if self._common(prefix.block.tokens, block.tokens[:length]) == length:
                    break
            else:
                fork = block.fork("prefix")
                fork.crop(length)
                prefix = Prefix(fork)
                same.append(prefix)
            prefix.owners += 1
            return prefix

    def release(self, prefix: Prefix) -> None:
        """One owner less; without any the prefix is gone."""
        with self.lock:
            prefix.owners -= 1
            if prefix.owners:
                return
            key = self._key(prefix.block.tokens)
            self._by_first_page[key].remove(prefix)
            if not self._by_first_page[key]:
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
