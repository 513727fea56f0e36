"""Shared caches as the seed notebooks use them: blocks and managers that go into ``model(**kwargs)``.

After ``hogwild.enable(model)``, a block can be prefilled by passing it as ``past_key_values``, and a manager
arranges blocks into one view per worker:

    common, alice, bob = (CacheBlock(config=model.config) for _ in range(3))
    model(**tokenizer(prompt, return_tensors="pt"), past_key_values=common)
    manager = SharedCacheManager([[common, bob, alice], [common, alice, bob]])
    logits = model(**manager.get_input_kwargs(next_tokens)).logits[:, -1]
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig

from hogwild.cache import Block, Pool, View
from hogwild.errors import BlockError
from hogwild.models import CacheArgument
from hogwild.models.cache_argument import token_counts

__all__ = ["CacheBlock", "SharedCacheManager"]

_NO_ATTRIBUTE = (
    "{kind} has no attribute {name!r}. If the model asked for it: it must be enabled (hogwild.enable(model)), and "
    "called directly (neither generate() nor torch.compile(model) takes a shared cache)"
)
_POOLS: dict[int, Pool] = {}  # by id of the model's text configuration, gone with it


class CacheBlock(CacheArgument, Block):
    """A block of the shared cache, empty at first.

    As `past_key_values` of an enabled model it takes one row of tokens, which are appended to it.

    Args:
        config: the model's configuration; blocks of one model share a pool that grows as needed.
        pool: take pages from this pool instead.
        name: for messages.
    """

    __slots__ = ()

    def __init__(
        self, config: PreTrainedConfig | None = None, *, pool: Pool | None = None, name: str = ""
    ) -> None:
        if (config is None) == (pool is None):
            raise TypeError("config: expected exactly one of config and pool")
        super().__init__(_pool_of(config) if pool is None else pool, name)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_NO_ATTRIBUTE.format(kind="CacheBlock", name=name))

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except AttributeError:
            raise AttributeError(_NO_ATTRIBUTE.format(kind="CacheBlock", name=name)) from None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens in the block, in every layer alike."""
        return len(self)

    def views(self) -> Sequence[View]:
        return [View([self])]


class SharedCacheManager(CacheArgument):
    """Arranges blocks into one view per worker.

    Args:
        cache_structure: for each worker its blocks, in the order in which it sees them.
        write_to: for each worker the block that its tokens are written to; default: its last one.

    Raises:
        BlockError: no workers, an empty view, a write target outside of its view, blocks of two models.
    """

    def __init__(
        self,
        cache_structure: Sequence[Sequence[CacheBlock]],
        write_to: Sequence[CacheBlock] | None = None,
    ) -> None:
        if isinstance(cache_structure, Block) or not isinstance(cache_structure, Iterable):
            raise TypeError(
                f"cache_structure: expected a list of blocks for each worker, got {cache_structure!r}"
            )
        self.cache_structure = [_blocks(f"cache_structure[{i}]", b) for i, b in enumerate(cache_structure)]
        if not self.cache_structure:
            raise BlockError("cache_structure: expected the blocks of at least one worker, got none")
        blocks = [block for view in self.cache_structure for block in view]
        for block in blocks:
            if block.pool is not blocks[0].pool:
                raise BlockError(
                    f"cache_structure: {blocks[0]!r} and {block!r} belong to two pools (two models?)"
                )
        self.write_to = self._targets(write_to, range(len(self.cache_structure)))
        self._views(self.write_to, range(len(self.cache_structure)))

    def get_input_kwargs(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        write_to: Sequence[CacheBlock] | None = None,
        active_worker_indices: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """Keyword arguments for one call of the model; each call appends the new tokens to their blocks.

        Args:
            input_ids: [workers, n] int64, the new tokens of each active worker.
            attention_mask: [workers, n], 0 where a shorter row is padded on its left; None: no padding.
            write_to: for each active worker the block to write to, for this call.
            active_worker_indices: the workers that the rows stand for; default: all.

        Raises:
            BlockError: workers that do not exist or twice, targets outside of their views, two rows with one target.
            ValueError: shapes that do not fit, or padding that is not on the left.
        """
        workers = range(len(self.cache_structure))
        active = list(workers) if active_worker_indices is None else _indices(active_worker_indices)
        if not active or len(set(active)) != len(active) or not set(active) <= set(workers):
            raise BlockError(
                f"active_worker_indices: expected different workers from 0 to {len(workers) - 1}, got {active}"
            )
        targets = [self.write_to[i] for i in active] if write_to is None else self._targets(write_to, active)
        if len({id(target) for target in targets}) != len(targets):
            raise BlockError("write_to: two workers would write to one block in one forward")
        views = _Views(self._views(targets, active))
        token_counts("input_ids", input_ids, attention_mask, len(active))
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "past_key_values": views,
            "use_cache": True,
        }

    def _targets(self, write_to: Sequence[CacheBlock] | None, active: Sequence[int]) -> list[CacheBlock]:
        if write_to is None:
            for index in active:
                if not self.cache_structure[index]:
                    raise BlockError(f"cache_structure[{index}]: a view needs at least one block, got none")
            return [self.cache_structure[index][-1] for index in active]
        targets = _blocks("write_to", write_to)
        if len(targets) != len(active):
            raise BlockError(
                f"write_to: expected a block for each of {len(active)} workers, got {len(targets)}"
            )
        return targets

    def views(self) -> Sequence[View]:
        """All workers' views, for a manager that is itself passed as `past_key_values`."""
        return self._views(self.write_to, range(len(self.cache_structure)))

    def _views(self, targets: Sequence[CacheBlock], active: Sequence[int]) -> list[View]:
        return [View(self.cache_structure[i], target) for i, target in zip(active, targets, strict=True)]


class _Views(CacheArgument):
    """A manager's views, as `past_key_values`."""

    __slots__ = ("_list",)

    def __init__(self, views: list[View]) -> None:
        self._list = views

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_NO_ATTRIBUTE.format(kind="a shared cache", name=name))

    def views(self) -> Sequence[View]:
        return self._list


def _blocks(name: str, blocks: object) -> list[CacheBlock]:
    if isinstance(blocks, Block) or not isinstance(blocks, Sequence):
        raise TypeError(f"{name}: expected a list of blocks, got {type(blocks).__name__}")
    for block in blocks:
        if not isinstance(block, Block):
            raise TypeError(f"{name}: expected blocks, got {type(block).__name__}")
    return list(blocks)


def _indices(indices: Sequence[int]) -> list[int]:
    if isinstance(indices, torch.Tensor):
        indices = indices.tolist()
    try:
        if any(isinstance(index, bool) for index in indices):
            raise TypeError
        return [operator.index(index) for index in indices]
    except TypeError:
        raise TypeError(
            f"active_worker_indices: expected a list of integers (not a mask), got {indices!r}"
        ) from None


def _pool_of(config: PreTrainedConfig | None) -> Pool:
    if not isinstance(config, PreTrainedConfig):
        raise TypeError(f"config: expected a model's configuration, got {type(config).__name__}")
    text = config.get_text_config(decoder=True)
    pool = _POOLS.get(id(text))
    if pool is None:
        pool = _POOLS[id(text)] = Pool()
        weakref.finalize(text, _POOLS.pop, id(text), None).atexit = False
    return pool
