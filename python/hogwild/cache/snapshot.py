"""Blocks to a file and back. Pages shared between blocks are stored once and shared again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hogwild.cache.block import Block
from hogwild.cache.pool import Pool
from hogwild.cache.rotary import Rotary
from hogwild.errors import BlockError

__all__ = ["load_blocks", "read_note", "save_blocks"]

_FORMAT = "hogwild-blocks-1"


def save_blocks(path: str | os.PathLike[str], blocks: Mapping[str, Block], note: str = "") -> None:
    """Write blocks of one pool to a safetensors file, atomically.

    Args:
        path: the file; replaced if it exists.
        blocks: name in the file -> block.
        note: any text to be kept with them, for `read_note`.

    Raises:
        BlockError: no blocks, blocks of two pools, or parked ones.
        OSError: the file cannot be written.
    """
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
        pool: a pool of the same page size, empty or of the same model.
        device: where the pages of a layer go that the pool does not hold yet.

    Returns:
        name in the file -> new block.

    Raises:
        BlockError: not such a file, another page size, or layers that differ from the pool's.
        PoolExhausted: the pool has too few free pages. In every case the pool is as it was.
    """
    with _open(path) as file:
        header = json.loads(file.metadata()["header"])
        if header["page_size"] != pool.page_size:
            raise BlockError(
                f"pool: the file has pages of {header['page_size']} tokens, the pool of {pool.page_size}"
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    _check_layers(header, tensors, pool)
    pages = pool.allocate(header["pages"])
    before = dict(pool.layers)
    try:
        with pool.staying:
            _fill_layers(header, tensors, pool, pages, torch.device(device))
        blocks = {}
        for name in header["blocks"]:
            block = blocks[name] = Block(pool, name)
            held = [pages[index] for index in tensors[f"pages.{name}"].tolist()]
            pool.share(held)
            block.pages.extend(held)
            block.tokens.extend(tensors[f"tokens.{name}"].tolist())
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
    """
    with _open(path) as file:
        return file.metadata().get("note", "")


def _open(path: str | os.PathLike[str]) -> Any:
    try:
        file = safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise BlockError(f"path: {path} is not a file of saved blocks ({error})") from error
    found = (file.metadata() or {}).get("format")
    if found != _FORMAT:
        raise BlockError(f"path: {path} is not a file of saved blocks (format {found!r})")
    return file


def _layer_rotary(header: dict, tensors: dict[str, torch.Tensor], index: str) -> Rotary | None:
    facts = header["layers"][index]
    if facts is None:
        return None
    return Rotary(tensors[f"inv_freq.{index}"], facts["interleaved"], facts["start"])


def _check_layers(header: dict, tensors: dict[str, torch.Tensor], pool: Pool) -> None:
    saved = {int(index) for index in header["layers"]}
    if pool.layers and saved and set(pool.layers) != saved:
        raise BlockError(f"pool: it holds layers {sorted(pool.layers)}, the file has {sorted(saved)}")
    for index in header["layers"]:
        layer = pool.layers.get(int(index))
        if layer is None:
            continue
        for name, cache in (("k", layer.k), ("v", layer.v)):
            new = tensors[f"{name}.{index}"]
            if new.shape[1:] != cache.shape[1:] or new.dtype != cache.dtype:
                raise BlockError(
                    f"pool: layer {index} holds {name} pages {tuple(cache.shape[1:])} of {cache.dtype}, "
                    f"the file has {tuple(new.shape[1:])} of {new.dtype}"
                )
        rotary = _layer_rotary(header, tensors, index)
        if (rotary is None) != (layer.rotary is None) or (rotary and not rotary.same_as(layer.rotary)):
            raise BlockError(f"pool: the rotary embedding of layer {index} differs from the file's")


def _fill_layers(
    header: dict, tensors: dict[str, torch.Tensor], pool: Pool, pages: list[int], device: torch.device
) -> None:
    shared: list[Rotary] = []
    for index in header["layers"]:
        k, v = tensors[f"k.{index}"], tensors[f"v.{index}"]
        layer = pool.layers.get(int(index))
        if layer is None:
            rotary = _layer_rotary(header, tensors, index)
            # layers that rotate alike share one object, and so one rotation table a forward
            rotary = next((r for r in shared if rotary is not None and rotary.same_as(r)), rotary)
            if rotary is not None and rotary not in shared:
                shared.append(rotary)
            like_k, like_v = (t.new_empty(0, t.shape[1], t.shape[3]).to(device) for t in (k, v))
            layer = pool.layer(int(index), like_k, like_v, rotary)
        where = torch.tensor(pages, dtype=torch.int64, device=layer.k.device)
        layer.k[where] = k.to(layer.k.device)
        layer.v[where] = v.to(layer.v.device)
