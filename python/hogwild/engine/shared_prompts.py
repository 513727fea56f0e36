"""What of one session's prompts other sessions have written, or may take over."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from hogwild.cache import Block, BlockSet
from hogwild.engine.feed import Feed
from hogwild.engine.prefixes import Prefix, PrefixCache


class SharedPrompts:
    """The feeds of a session that write what may stand in a `PrefixCache`, and the prefixes that it owns.

    Args:
        blocks: of the session.
        prefixes: of the engine; None: nothing is shared.

    Attributes:
        alone: blocks of the feeds that see nothing but the block that they write, empty before, by their place
            among the feeds.
        taken: how many tokens of such a feed were taken over from others, by the same place.
    """

    def __init__(self, blocks: BlockSet, prefixes: PrefixCache | None) -> None:
        self._blocks, self._prefixes = blocks, prefixes
        self.alone: dict[int, str] = {}
        self.taken: dict[int, int] = {}
        self._owned: dict[str, tuple[Prefix, Block]] = {}

    def begin(self, feeds: Sequence[Feed]) -> None:
        """These are fed from now on."""
        self.alone, self.taken = {}, {}
        if self._prefixes is None:
            return
        for place, feed in enumerate(feeds):
            name = feed.view.write_to
            if feed.view.blocks == (name,) and name in self._blocks and not self._blocks.length(name):
                self.alone[place] = name

    def forget_feeds(self) -> None:
        """Nothing that is fed is shared."""
        self.alone = {}

    def take_over(self, place: int, tokens: Sequence[int]) -> bool:
        """Take over what others have written of a feed, whose `tokens` are given; whether there is any."""
        assert self._prefixes is not None
        name = self.alone[place]
        with self._prefixes.lock:  # from finding a prefix until it is taken over
            found = self._prefixes.find(tokens, len(self._blocks[name]))
            if found is None:
                return False
            prefix, length = found
            self._blocks[name].take_over(prefix.block, length)
            self._offer(name)
            self.taken[place] = length
        return True

    def without_taken(self, feeds: Sequence[Feed]) -> list[Feed]:
        """The feeds without the tokens that were taken over."""
        return [
            replace(feed, tokens=feed.tokens[self.taken.get(place, 0) :]) for place, feed in enumerate(feeds)
        ]

    def put_back(self) -> bool:
        """Empty the blocks again that took something over; whether there were any."""
        taken, self.taken = self.taken, {}
        for place in taken:
            self._empty(place)
        return bool(taken)

    def leave_out(self, places: Collection[int]) -> None:
        """Nothing is written by these feeds, nor taken over."""
        for place in places:
            if self.taken.pop(place, None) is not None:
                self._empty(place)
            self.alone.pop(place, None)

    def _empty(self, place: int) -> None:
        if (name := self.alone[place]) in self._blocks:  # or the session was closed
            self._blocks[name].clear()

    def settle(self, written: Collection[int]) -> None:
        """What was taken over stays, and others may take over what the feeds at some places have written."""
        self.taken = {}
        for place in self.alone.keys() & written:
            self._offer(self.alone[place])

    def release(self) -> None:
        """Own no prefixes any more."""
        owned, self._owned = self._owned, {}
        if self._prefixes is not None:
            for prefix, block in owned.values():
                self._prefixes.release(prefix, block)

    def _offer(self, name: str) -> None:
        """Let others take over what now stands in a block."""
        assert self._prefixes is not None
        block, before = self._blocks[name], self._owned.pop(name, None)
        prefix = self._prefixes.add(block, len(block))
        if prefix is not None:
            self._owned[name] = prefix, block
        if before is not None:
            self._prefixes.release(*before)
