"""Which tokens of which row are plain ones (`Protocol.plain_tokens`), told to the device as well."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from hogwild.cache.transfer import to_device

__all__ = ["PlainRows", "PlainTables"]

_REMEMBERED = 16  # combinations of rows whose tables are kept


class PlainRows:
    """The plain tokens of each row of a forward.

    Args:
        masks: of each row: [V] bool on the CPU, true for plain tokens. Not to be changed afterwards.
        device: that is to know them.

    Attributes:
        tables: [C, V] bool on the device, a row for each of the masks.
        classes: [rows] int32 on the device: which of them is each row's.
    """

    def __init__(self, masks: Sequence[torch.Tensor], device: torch.device) -> None:
        different = list({id(mask): mask for mask in masks}.values())
        width = max(len(mask) for mask in different)
        tables = torch.zeros(len(different), width, dtype=torch.bool)
        for table, mask in zip(tables, different, strict=True):
            table[: len(mask)] = mask
        places = {id(mask): place for place, mask in enumerate(different)}
        classes = [places[id(mask)] for mask in masks]
        self.masks = list(masks)  # which keeps their ids from being given to others
        self.tables = to_device(tables, device)
        self.classes = to_device(torch.tensor(classes, dtype=torch.int32), device)
        self._known = [tables[place].numpy() for place in classes]

    def admit(self, tokens: Sequence[int]) -> bool:
        """Whether each row's token is a plain one: what `torch.ops.hogwild.admit` finds."""
        return all(
            0 <= token < len(known) and known[token] for token, known in zip(tokens, self._known, strict=True)
        )


class PlainTables:
    """The `PlainRows` of the last forwards: mostly they are those of the one before.

    Args:
        device: that is to know them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rows: OrderedDict[tuple[int, ...], PlainRows] = OrderedDict()

    def rows(self, masks: Sequence[torch.Tensor]) -> PlainRows:
        """Those of a forward with these masks."""
        key = tuple(map(id, masks))
        rows = self._rows.get(key)
        if rows is None:
            rows = self._rows[key] = PlainRows(masks, self._device)
            if len(self._rows) > _REMEMBERED:
                self._rows.popitem(last=False)
        self._rows.move_to_end(key)
        return rows
