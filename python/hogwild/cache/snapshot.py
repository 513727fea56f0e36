"""Blocks to a file and back. Pages shared between blocks are stored once and shared again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hogwild.cache.block import Block
from hogwild.cache.pool import Pool
from hogwild.cache.reservation import UNKNOWN_TOKEN
from hogwild.cache.rotary import Rotary
from hogwild.errors import BlockError

__all__ = ["load_blocks", "read_note", "save_blocks"]

_FORMAT = "hogwild-blocks-1"


@dataclass(frozen=True)
class _Layer:
    """A layer in a file: pages [n, heads, page_size, dim] of keys and of values."""

    k: torch.Tensor
    v: torch.Tensor
    rotary: Rotary | None


@dataclass(frozen=True)
class _File:
    """What a file holds; all of it fits together.

    Attributes:
        page_size, pages: tokens in a page, and how many pages there are.
        layers: index of the layer -> its pages.
        blocks: name -> the numbers of its pages, and its tokens.
    """

    page_size: int
    pages: int
    layers: dict[int, _Layer]
    blocks: dict[str, tuple[list[int], list[int]]]


def save_blocks(path: str | os.PathLike[str], blocks: Mapping[str, Block], note: str = "") -> None:
    """Write blocks of one pool to a safetensors file, atomically.

    Args:
        path: the file; replaced if it exists.
        blocks: name in the file -> block.
        note: any text to be kept with them, for `read_note`.

    Raises:
        BlockError: no blocks, blocks of two pools, or parked ones.
        TypeError: what is no block, or a path, names or a note that are none.
        ValueError: names that hold half of a character.
        OSError: the file cannot be written.
    """
    if not isinstance(blocks, Mapping):
        raise TypeError(f"blocks: expected blocks by name, got {blocks!r}")
    for name, block in blocks.items():
        if not isinstance(name, str) or not isinstance(block, Block):
            raise TypeError(f"blocks: expected blocks by name, got {name!r}: {block!r}")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"blocks: expected names of whole characters, got {name!r}") from None
    _check_path(path)
    if not isinstance(note, str):
        raise TypeError(f"note: expected text, got {note!r}")
    pools = {id(block.pool): block.pool for block in blocks.values()}
    if len(pools) != 1:
        raise BlockError(
            f"blocks: expected blocks of one pool, got {len(blocks)} blocks of {len(pools)} pools"
        )
    for block in blocks.values():
        block.check_present()
    (pool,) = pools.values()
    fill: dict[int, int] = {}  # page -> how much of it is in use
    for block in blocks.values():
        for index, page in enumerate(block.pages):
            fill[page] = max(fill.get(page, 0), min(pool.page_size, len(block) - index * pool.page_size))
    order = {page: index for index, page in enumerate(fill)}
    used = torch.tensor(list(fill.values()), dtype=torch.int64)
    tail = torch.arange(pool.page_size)[None, None, :, None] >= used[:, None, None, None]

    tensors: dict[str, torch.Tensor] = {}
    layers: dict[int, dict[str, int] | None] = {}
    for index, layer in pool.layers.items():
        for name, cache in (("k", layer.k), ("v", layer.v)):
            pages = cache[torch.tensor(list(fill), dtype=torch.int64, device=cache.device)].cpu()
            # what was never written must not reach the file
            tensors[f"{name}.{index}"] = pages.masked_fill(tail, 0)
        layers[index] = None
        if layer.rotary is not None:
            tensors[f"inv_freq.{index}"] = layer.rotary.inv_freq.cpu().clone()
            layers[index] = {"interleaved": layer.rotary.interleaved, "start": layer.rotary.start}
    for name, block in blocks.items():
        tensors[f"tokens.{name}"] = torch.tensor(block.tokens, dtype=torch.int64)
        tensors[f"pages.{name}"] = torch.tensor([order[page] for page in block.pages], dtype=torch.int32)
    header = {"page_size": pool.page_size, "pages": len(fill), "layers": layers, "blocks": list(blocks)}

    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        save_file(tensors, partial, metadata={"format": _FORMAT, "header": json.dumps(header), "note": note})
        os.replace(partial, target)
    except SafetensorError as error:
        raise OSError(f"path: cannot write {target}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def load_blocks(
    path: str | os.PathLike[str], pool: Pool, device: torch.device | str = "cpu"
) -> dict[str, Block]:
    """Read the blocks of a file into a pool.

    Args:
        path: a file written by `save_blocks`.
        pool: a pool of the same page size, that nobody has written to or of the same model.
        device: where the pages of a layer go that the pool does not hold yet.

    Returns:
        name in the file -> new block.

    Raises:
        BlockError: not such a file, a damaged one, another page size, or layers that differ from the pool's.
        OSError: the file cannot be read.
        PoolExhausted: the pool has too few free pages. In every case the pool is as it was.
    """
    if not isinstance(pool, Pool):
        raise TypeError(f"pool: expected a Pool, got {pool!r}")
    try:
        device = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device: expected a torch device such as cpu or cuda:0, got {device!r}") from None
    file = _read(path)
    if file.page_size != pool.page_size:
        raise BlockError(f"pool: the file has pages of {file.page_size} tokens, the pool of {pool.page_size}")
    _check_layers(file, pool)
    pages = pool.allocate(file.pages)
    before = dict(pool.layers)
    try:
        with pool.staying:
            _fill_layers(file, pool, pages, device)
        blocks = {}
        for name, (numbers, tokens) in file.blocks.items():
            block = blocks[name] = Block(pool, name)
            held = [pages[number] for number in numbers]
            pool.share(held)
            block.pages.extend(held)
            block.tokens.extend(tokens)
        return blocks
    except BaseException:
        pool.layers = before
        pool.generation += 1
        raise
    finally:
        pool.release(pages)  # the blocks hold references of their own


def read_note(path: str | os.PathLike[str]) -> str:
    """The text that was saved with the blocks of a file.

    Raises:
        BlockError: not such a file.
        OSError: the file cannot be read.
    """
    with _open(path) as file:
        return file.metadata().get("note", "")


def _check_path(path: object) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected the path of a file, got {path!r}")


def _open(path: str | os.PathLike[str]) -> Any:
    _check_path(path)
    if Path(path).is_dir():
        raise IsADirectoryError(f"path: {os.fspath(path)} is a folder; expected a file of saved blocks")
    try:
        file = safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise BlockError(f"path: {path} is not a file of saved blocks ({error})") from error
    found = (file.metadata() or {}).get("format")
    if found != _FORMAT:
        raise BlockError(f"path: {path} is not a file of saved blocks (format {found!r})")
    return file


def _read(path: str | os.PathLike[str]) -> _File:
    """All of a file, once it is sure that it fits together."""
    with _open(path) as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    try:
        header = json.loads(metadata["header"])
        layers = {int(index): _layer(index, facts, tensors) for index, facts in header["layers"].items()}
        blocks = {
            name: (tensors[f"pages.{name}"].tolist(), tensors[f"tokens.{name}"].tolist())
            for name in header["blocks"]
        }
        file = _File(header["page_size"], header["pages"], layers, blocks)
        wrong = _damage(file)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BlockError(f"path: {path} is damaged ({type(error).__name__}: {error})") from error
    if wrong:
        raise BlockError(f"path: {path} is damaged: {wrong}")
    return file


def _layer(index: str, facts: dict[str, Any] | None, tensors: dict[str, torch.Tensor]) -> _Layer:
    rotary = None
    if facts is not None:
        rotary = Rotary(tensors[f"inv_freq.{index}"], facts["interleaved"], facts["start"])
    return _Layer(tensors[f"k.{index}"], tensors[f"v.{index}"], rotary)


def _damage(file: _File) -> str:
    """What does not fit together; nothing where all does."""
    for index, layer in file.layers.items():
        for name, cache in (("k", layer.k), ("v", layer.v)):
            sizes = tuple(cache.shape)
            if len(sizes) != 4 or (sizes[0], sizes[2]) != (file.pages, file.page_size):
                expected = f"{file.pages} pages of {file.page_size} tokens"
                return f"{name} of layer {index} is of shape {sizes}, there are {expected}"
        if layer.k.shape[1] != layer.v.shape[1] or layer.k.dtype != layer.v.dtype:
            return f"k and v of layer {index} do not fit together"
        rotary = layer.rotary
        if rotary is not None and not 0 <= rotary.start <= layer.k.shape[3] - 2 * len(rotary.inv_freq):
            return f"the rotary embedding of layer {index} does not fit its keys"
    for name, (pages, tokens) in file.blocks.items():
        if len(pages) != -(-len(tokens) // file.page_size):
            return f"block {name!r} has {len(tokens)} tokens on {len(pages)} pages"
        if not all(type(page) is int and 0 <= page < file.pages for page in pages):
            return f"block {name!r} has a page that is not among {file.pages}"
        if len(set(pages)) != len(pages):
            return f"block {name!r} has a page twice"
        if not all(type(token) is int and (token >= 0 or token == UNKNOWN_TOKEN) for token in tokens):
            return f"block {name!r} has a token that is no token id"
    return ""


def _check_layers(file: _File, pool: Pool) -> None:
    if pool.layers and file.layers and set(pool.layers) != set(file.layers):
        raise BlockError(f"pool: it holds layers {sorted(pool.layers)}, the file has {sorted(file.layers)}")
    for index, saved in file.layers.items():
        layer = pool.layers.get(index)
        if layer is None:
            continue
        for name, cache, new in (("k", layer.k, saved.k), ("v", layer.v, saved.v)):
            if new.shape[1:] != cache.shape[1:] or new.dtype != cache.dtype:
                raise BlockError(
                    f"pool: layer {index} holds {name} pages {tuple(cache.shape[1:])} of {cache.dtype}, "
                    f"the file has {tuple(new.shape[1:])} of {new.dtype}"
                )
        rotary = saved.rotary
        if (rotary is None) != (layer.rotary is None) or (rotary and not rotary.same_as(layer.rotary)):
            raise BlockError(f"pool: the rotary embedding of layer {index} differs from the file's")


def _fill_layers(file: _File, pool: Pool, pages: list[int], device: torch.device) -> None:
    shared: list[Rotary] = []
    for index, saved in file.layers.items():
        layer = pool.layers.get(index)
        if layer is None:
            rotary = saved.rotary
            # layers that rotate alike share one object, and so one rotation table a forward
            rotary = next((r for r in shared if rotary is not None and rotary.same_as(r)), rotary)
            if rotary is not None and rotary not in shared:
                shared.append(rotary)
            like_k, like_v = (t.new_empty(0, t.shape[1], t.shape[3]).to(device) for t in (saved.k, saved.v))
            layer = pool.layer(index, like_k, like_v, rotary)
        where = torch.tensor(pages, dtype=torch.int64, device=layer.k.device)
        layer.k[where] = saved.k.to(layer.k.device)
        layer.v[where] = saved.v.to(layer.v.device)
