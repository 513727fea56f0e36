"""The paged memory that holds the keys and values of all blocks."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable

import torch

from hogwild.cache.layer import LayerCache
from hogwild.cache.rotary import Rotary
from hogwild.cache.transfer import to_device
from hogwild.errors import BlockError, PoolExhausted

__all__ = ["PAGE_SIZE", "Pool"]

PAGE_SIZE = (
    32  # tokens; a page of 8 heads of 128 in bf16 is 64 KiB, and a short step wastes half a page on average
)
_FIRST_PAGES = 64
_MOST_TOKENS = 2**28  # terabytes of any model: whoever asks for more means something else


class Pool:
    """Pages of fixed size, refcounted, shared by all blocks of one model.

    A page id stands for the same page in every layer. Memory of a layer is allocated when its first keys
    arrive, on their device, with their head count and dtype.

    Args:
        page_size: tokens per page: 16, 32 or 64.
        max_tokens: most tokens that all blocks together may hold, rounded up to pages. Given, all of it is
            allocated at once and never moves; None: the pool doubles when it is full, until the
            device's memory allows no more.

    Attributes:
        generation: how many times the memory of a layer has appeared or moved. What has noted addresses, as
            CUDA graphs have, must note them anew when it changes.
        taken: how many pages were ever taken. Who expects a free page to stay as it is may note that.
        staying: held by who reads or writes pages, from looking where they are until all work on them is on its
            way; the memory does not move meanwhile. Its holder may take it again.

    Raises:
        ValueError, TypeError: a page size or limit out of range, or a limit that is no integer.
    """

    def __init__(self, page_size: int = PAGE_SIZE, max_tokens: int | None = None) -> None:
        if not isinstance(page_size, int) or page_size not in (16, 32, 64):
            raise ValueError(f"page_size: expected 16, 32 or 64, got {page_size!r}")
        if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int)):
            raise TypeError(f"max_tokens: expected an integer >= 1 or None, got {max_tokens!r}")
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens: expected at least 1 or None, got {max_tokens}")
        if max_tokens is not None and max_tokens > _MOST_TOKENS:
            raise ValueError(f"max_tokens: expected at most {_MOST_TOKENS:,} or None, got {max_tokens}")
        self.page_size = page_size
        self.max_pages = None if max_tokens is None else -(-max_tokens // page_size)
        self.num_pages = _FIRST_PAGES if self.max_pages is None else self.max_pages
        self.layers: dict[int, LayerCache] = {}
        self.generation = self.taken = 0
        self.model: weakref.ref[torch.nn.Module] | None = None  # set by the first model that writes here
        self.reserved_pages = 0  # of the used ones, those that no block claims yet
        self._free = list(range(self.num_pages - 1, -1, -1))
        self._refs = [0] * self.num_pages
        # Blocks are freed in any thread; where one is collected, possibly in the middle of a method here, its
        # pages wait in the queue until the next look at what is free.
        self._lock = threading.RLock()
        self.staying = threading.RLock()  # never waited for by who has the other one
        self._abandoned: deque[list[int]] = deque()
        self._spares: list[weakref.WeakMethod[Callable[[], None]]] = []

    def __repr__(self) -> str:
        limit = "growing" if self.max_pages is None else f"{self.max_pages} pages"
        return f"Pool({self.used_pages} of {self.num_pages} pages of {self.page_size} tokens used, {limit})"

    @property
    def free_pages(self) -> int:
        """Pages that no block holds, growth not counted."""
        self._release_abandoned()
        return len(self._free)

    @property
    def used_pages(self) -> int:
        """Pages that at least one block holds; a page shared by forks counts once."""
        return self.num_pages - self.free_pages

    @property
    def is_empty(self) -> bool:
        """Whether no block holds a token; what a forward has reserved does not count."""
        return self.used_pages == self.reserved_pages

    def pages_for(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_size)

    def layer(self, index: int, k: torch.Tensor, v: torch.Tensor, rotary: Rotary | None = None) -> LayerCache:
        """The pages of layer `index`, allocated now if these keys and values are its first.

        Args:
            index: the layer's index in the model.
            k, v: [tokens, kv_heads, head_dim], the new keys and values.
            rotary: how the layer's keys are rotated (None: not at all).

        Raises:
            BlockError: they differ from what the layer holds in heads, head_dim, dtype, device or rotation,
                and some block still holds tokens.
        """
        layer = self.layers.get(index)
        if layer is not None:
            try:
                layer.check(k, v, rotary)
                return layer
            except BlockError:
                if not self.is_empty:
                    raise
        self.generation += 1
        layer = self.layers[index] = LayerCache(index, k, v, self.num_pages, self.page_size, rotary)
        return layer

    def start_over(self) -> None:
        """Forget all layers: another model will write here. For a pool that is empty."""
        with self.staying:
            self.layers = {}
            self.generation += 1

    def allocate(self, count: int) -> list[int]:
        """Take `count` free pages, each with one reference.

        Raises:
            PoolExhausted: fewer are free and the pool cannot grow; nothing was taken.
        """
        with self._lock:
            if count <= self.free_pages:
                return self._take(count)
        if self.max_pages is not None:
            self.has_room(count)
        with self.staying, self._lock:
            if count > self.free_pages:
                self._grow(count)
            return self._take(count)

    def has_room(self, count: int) -> bool:
        """Whether `count` pages are free, if need be once those were asked who keep pages that nobody may want."""
        if count > self.free_pages:
            self.ask_back()
        return count <= self.free_pages

    def ask_back(self) -> None:
        """Have those who keep pages that nobody may want give them back. Fewer pages may be shared then."""
        for spare in list(self._spares):  # without the lock: who is asked has one of their own
            if (give_back := spare()) is not None:
                give_back()

    def before_it_is_full(self, give_back: Callable[[], None]) -> None:
        """Have `give_back` (a method, held weakly) release what can be spared before the pool is called full."""
        self._spares = [spare for spare in self._spares if spare() is not None]
        self._spares.append(weakref.WeakMethod(give_back))

    def next_pages(self, count: int) -> list[int] | None:
        """What `allocate` will give next, page by page, unless pages are taken or freed before; None if it would grow.

        They stay free: what is written there is lost if somebody else takes them, though they may be free again soon.
        """
        with self._lock:
            return self._free[: -count - 1 : -1] if count <= self.free_pages else None

    def share(self, pages: Iterable[int]) -> None:
        """Add one reference to each of `pages`."""
        with self._lock:
            for page in pages:
                self._refs[page] += 1

    def release(self, pages: Iterable[int]) -> None:
        """Drop one reference of each of `pages`; those without any are free again."""
        with self._lock:
            for page in pages:
                self._refs[page] -= 1
                if self._refs[page] == 0:
                    self._free.append(page)

    def abandon(self, pages: list[int]) -> None:
        """`release`, a little later; for finalizers, which may run at any moment in any thread."""
        self._abandoned.append(pages)

    def references(self, page: int) -> int:
        """How many blocks hold `page`."""
        self._release_abandoned()
        return self._refs[page]

    def is_shared(self, page: int) -> bool:
        """Whether more than one block holds `page`, so that it must be copied before it is written to."""
        self._release_abandoned()
        return self._refs[page] > 1

    def copy_page(self, src: int, dst: int, tokens: int) -> None:
        """Copy the first `tokens` entries of page `src` to page `dst`, in every layer, bit by bit."""
        entries = torch.arange(tokens)
        self.move(src * self.page_size + entries, dst * self.page_size + entries, shift=0)

    def move(self, src_slots: torch.Tensor, dst_slots: torch.Tensor, shift: int) -> None:
        """Copy entries between slots ([N] int64, on the CPU) in every layer, keys rotated by `shift` positions further.

        What layers are told goes to their device once, and nobody waits for it: this happens between two forwards.
        """
        slots = torch.stack((src_slots, dst_slots))
        there: dict[torch.device, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        with self.staying:
            for layer in self.layers.values():
                device = layer.k.device
                if device not in there:
                    src, dst = to_device(slots, device)
                    shifts = torch.full(src.shape, shift, dtype=torch.int32, device=device)
                    there[device] = src, dst, shifts
                layer.move(*there[device])

    def _take(self, count: int) -> list[int]:
        pages = [self._free.pop() for _ in range(count)]
        for page in pages:
            self._refs[page] = 1
        self.taken += count
        return pages

    def _release_abandoned(self) -> None:
        while self._abandoned:
            with self._lock:
                if self._abandoned:
                    self.release(self._abandoned.popleft())

    def _grow(self, count: int) -> None:
        free, old = len(self._free), self.num_pages
        if self.max_pages is not None:
            raise PoolExhausted(count, free, self.page_size)
        new = old
        while new - old + free < count:
            new *= 2
        # all copies exist before any layer is switched over: running out of memory changes nothing
        try:
            grown = {index: layer.grown(new) for index, layer in self.layers.items()}
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            self.max_pages = old  # it has become a pool of this size: others must make room
            raise PoolExhausted(count, free, self.page_size) from error
        for index, (k, v) in grown.items():
            self.layers[index].k, self.layers[index].v = k, v
        self.generation += 1
        self._free[:0] = range(new - 1, old - 1, -1)
        self._refs.extend([0] * (new - old))
        self.num_pages = new


def _is_out_of_memory(error: BaseException) -> bool:
    """PyTorch's allocator for the CPU raises a RuntimeError like any other, which names it."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)
