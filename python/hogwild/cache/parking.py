"""Blocks whose pages wait in host memory while others need the room."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from hogwild.cache.block import Block
from hogwild.cache.pool import Pool
from hogwild.cache.rotary import Rotary
from hogwild.errors import BlockError

__all__ = ["Parked", "Parking"]


class _HostPages:
    """Copies of some pages of all layers: per layer k and v, [pages, kv_heads, page_size, head_dim] each."""

    def __init__(self, pool: Pool, pages: list[int]) -> None:
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor, Rotary | None]] = {}
        places: dict[torch.device, torch.Tensor] = {}
        with pool.staying:
            for index, layer in pool.layers.items():
                place = _indices(pages, layer.k.device, places)
                self.layers[index] = _to_host(layer.k[place]), _to_host(layer.v[place]), layer.rotary

    def check(self, pool: Pool) -> None:
        """Raise BlockError where the pool's layers are not what the copies are of."""
        for index, (k, v, rotary) in self.layers.items():
            layer = pool.layers.get(index)
            if layer is None or any(
                (cache.shape[1:], cache.dtype) != (copy.shape[1:], copy.dtype)
                for cache, copy in ((layer.k, k), (layer.v, v))
            ):
                raise BlockError(f"layer {index}: the pool was taken over by another model")
            if rotary is not layer.rotary and (rotary is None or not rotary.same_as(layer.rotary)):
                raise BlockError(f"layer {index}: keys were parked with another rotary embedding")

    def load(self, pool: Pool, lines: list[int], pages: list[int]) -> None:
        """Write the copies in `lines` to `pages`, bit by bit."""
        places: dict[torch.device, torch.Tensor] = {}
        with pool.staying:
            for index, (k, v, _) in self.layers.items():
                layer = pool.layers[index]
                place = _indices(pages, layer.k.device, places)
                everything = lines == list(range(k.shape[0]))
                for cache, copy in ((layer.k, k), (layer.v, v)):
                    cache[place] = (copy if everything else copy[lines]).to(cache.device, non_blocking=True)


class _Page:
    """A page of parked blocks: still on the device while others hold it too, else a line of host copies."""

    __slots__ = ("host", "line", "page", "refs")

    def __init__(self, page: int) -> None:
        self.page: int | None = page
        self.refs = 0  # how many parked blocks it belongs to
        self.host: _HostPages | None = None
        self.line = 0


class Parked:
    """What `Parking.park` took: blocks and, for each, what became of its pages."""

    __slots__ = ("blocks",)

    def __init__(self, blocks: list[tuple[Block, list[_Page]]]) -> None:
        self.blocks = blocks

    @property
    def pages_needed(self) -> int:
        """Free pages that bringing the blocks back takes."""
        return len({id(page) for _, pages in self.blocks for page in pages if page.page is None})


class Parking:
    """Moves the pages of blocks to host memory and back, bit by bit, each page once whoever holds it.

    A parked block keeps its tokens; its pages come back, under other numbers, by `unpark`. A page that a block
    outside shares stays on the device, since moving it would free nothing; once nobody else holds it,
    `squeeze` moves it too. Pages that parked blocks share are shared when they come back.

    Args:
        pool: the blocks' pool.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: dict[int, _Page] = {}  # page on the device -> what parked blocks know of it

    def park(self, blocks: Iterable[Block]) -> Parked:
        """Take the pages of `blocks`, all of this pool and none of them parked.

        Raises:
            BlockError: a block of another pool, one that is parked, or one twice.
            RuntimeError, MemoryError: no host memory; the blocks are as they were.
        """
        blocks = list(blocks)
        for block in blocks:
            if block.pool is not self._pool:
                raise BlockError(f"blocks: {block!r} is of another pool")
            block.check_present()
        if len(set(map(id, blocks))) < len(blocks):
            raise BlockError(f"blocks: expected each block once, got {blocks}")
        parked: list[tuple[Block, list[_Page]]] = []
        pages: dict[int, _Page] = {}
        for block in blocks:
            entries = []
            for number in block.pages:
                entry = pages.get(number) or self._kept.get(number) or _Page(number)
                pages[number] = entry
                entries.append(entry)
            parked.append((block, entries))
        held = {number: entry.refs for number, entry in pages.items()}
        for _, entries in parked:
            for entry in entries:
                entry.refs += 1
        try:
            self._move([entry for entry in pages.values() if self._is_alone(entry)])
        except BaseException:
            for number, entry in pages.items():
                entry.refs = held[number]
            raise
        self._kept.update((number, entry) for number, entry in pages.items() if entry.page is not None)
        for block, _ in parked:
            block.pages.clear()
            block.changes += 1  # what is behind its end is lost
        return Parked(parked)

    def unpark(self, parked: Parked) -> None:
        """Bring the blocks back as they were.

        Raises:
            PoolExhausted: fewer than `pages_needed` pages are free; the blocks stay parked.
            BlockError: the pool belongs to another model by now; the blocks stay parked.
        """
        missing = list({id(p): p for _, pages in parked.blocks for p in pages if p.page is None}.values())
        for host in {id(page.host): page.host for page in missing}.values():
            assert host is not None
            host.check(self._pool)
        taken = self._pool.allocate(len(missing))
        try:
            self._load(missing, taken)
        except BaseException:
            self._pool.release(taken)
            raise
        for entry, number in zip(missing, taken, strict=True):
            self._pool.share([number] * (entry.refs - 1))
            entry.page, entry.host = number, None
            self._kept[number] = entry
        for block, entries in parked.blocks:
            block.pages.extend(self._give_up(entry) for entry in entries)
        parked.blocks = []

    def forget(self, parked: Parked) -> None:
        """Drop the pages of blocks that are not to come back. The blocks are empty afterwards."""
        for block, entries in parked.blocks:
            for entry in entries:
                if entry.page is None:
                    entry.refs -= 1
                else:
                    self._pool.release([self._give_up(entry)])
            block.tokens.clear()
        parked.blocks = []

    def squeeze(self) -> int:
        """Move pages that stayed on the device, but that only parked blocks hold by now; how many they were."""
        alone = [entry for entry in self._kept.values() if self._is_alone(entry)]
        self._move(alone)
        return len(alone)

    def _is_alone(self, entry: _Page) -> bool:
        return entry.page is not None and self._pool.references(entry.page) == entry.refs

    def _move(self, entries: list[_Page]) -> None:
        """Copy pages to the host, then free them."""
        numbers = [entry.page for entry in entries if entry.page is not None]
        if not numbers:
            return
        host = _HostPages(self._pool, numbers)
        for line, (entry, number) in enumerate(zip(entries, numbers, strict=True)):
            entry.page, entry.host, entry.line = None, host, line
            self._kept.pop(number, None)
            self._pool.release([number] * entry.refs)

    def _load(self, entries: list[_Page], numbers: list[int]) -> None:
        batches: dict[int, tuple[_HostPages, list[int], list[int]]] = {}
        for entry, number in zip(entries, numbers, strict=True):
            assert entry.host is not None
            _, lines, pages = batches.setdefault(id(entry.host), (entry.host, [], []))
            lines.append(entry.line)
            pages.append(number)
        for host, lines, pages in batches.values():
            host.load(self._pool, lines, pages)

    def _give_up(self, entry: _Page) -> int:
        """One reference of a page on the device passes to the caller."""
        assert entry.page is not None
        entry.refs -= 1
        if entry.refs == 0:
            self._kept.pop(entry.page, None)
        return entry.page


def _indices(pages: list[int], device: torch.device, made: dict[torch.device, torch.Tensor]) -> torch.Tensor:
    if device not in made:
        made[device] = torch.tensor(pages, dtype=torch.int64).to(device)
    return made[device]


def _to_host(pages: torch.Tensor) -> torch.Tensor:
    """A copy in host memory; pinned for CUDA, so that both ways go at the bus's speed."""
    if pages.device.type == "cpu":
        return pages  # of an indexed read: a copy already
    host = torch.empty(pages.shape, dtype=pages.dtype, pin_memory=pages.device.type == "cuda")
    return host.copy_(pages, non_blocking=True)
