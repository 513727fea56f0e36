"""Which tokens stand in the texts of workers that have a repetition penalty."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from hogwild.engine.sampler import Sampler

__all__ = ["SeenTokens", "SeenUpdate"]


@dataclass
class _Text:
    """The different tokens of one worker's text: where they are on the device, and what they are."""

    line: int
    known: set[int] = field(default_factory=set)


@dataclass
class SeenUpdate:
    """What the device has to be told for one forward.

    Attributes:
        lists: lines and lengths of the rows' texts; lines, places and values of what is new in them; tokens that
            this forward adds, [rows * longest]. Integers, to go to the device together with others.
        width: places that are looked at, at least as many as there are different tokens.
        longest: tokens that this forward adds to each row; shorter ones are filled up.
    """

    lists: tuple[list[int], list[int], list[int], list[int], list[int], list[int]]
    width: int
    longest: int
    learnt: list[tuple[_Text, list[int]]]


class SeenTokens:
    """The different tokens of each worker's text, on the device: a line of ids each, as long as its `Sampler` lives.

    Args:
        device: where the logits are.
    """

    def __init__(self, device: torch.device) -> None:
        self._ids = torch.zeros(8, 64, dtype=torch.int64, device=device)
        self._texts: weakref.WeakKeyDictionary[Sampler, _Text] = weakref.WeakKeyDictionary()
        self._free = list(range(7, 0, -1))  # line 0 is for rows without a penalty
        self._stale: list[int] = []  # lines of workers that are gone; finalizers may run at any moment

    def update(
        self, samplers: Sequence[Sampler | None], fed: Sequence[Sequence[int]], vocab: int
    ) -> SeenUpdate:
        """What has to be told for these rows; nothing has changed before `ids`.

        Args:
            samplers: of the rows' workers; None for one without a penalty.
            fed: tokens that this forward adds to their texts.
            vocab: number of logits; tokens beyond have none.
        """
        lines: list[int] = []
        lengths: list[int] = []
        new_lines: list[int] = []
        new_places: list[int] = []
        new_tokens: list[int] = []
        learnt: list[tuple[_Text, list[int]]] = []
        adding: list[list[int]] = []
        for sampler, tokens in zip(samplers, fed, strict=True):
            if sampler is None:
                lines.append(0)
                lengths.append(0)
                adding.append([0])
                continue
            text = self._text(sampler)
            new = [
                token for token in dict.fromkeys(sampler.unseen) if token < vocab and token not in text.known
            ]
            new_lines.extend([text.line] * len(new))
            new_places.extend(range(len(text.known), len(text.known) + len(new)))
            new_tokens.extend(new)
            learnt.append((text, new))
            lines.append(text.line)
            lengths.append(len(text.known) + len(new))
            adding.append([token for token in tokens if token < vocab] or [*text.known][:1] or [0])
        longest = max(map(len, adding))
        filled = [token for own in adding for token in (*own, *own[-1:] * (longest - len(own)))]
        width = max(1, 1 << (max(lengths) - 1).bit_length()) if max(lengths) else 1
        lists = (lines, lengths, new_lines, new_places, new_tokens, filled)
        return SeenUpdate(lists, width, longest, learnt)

    def ids(
        self,
        update: SeenUpdate,
        lines: torch.Tensor,
        lengths: torch.Tensor,
        new_lines: torch.Tensor,
        new_places: torch.Tensor,
        new_tokens: torch.Tensor,
        adding: torch.Tensor,
    ) -> torch.Tensor:
        """[rows, n] ids of all tokens of each row's text, some of them more than once.

        What this forward adds is in the result only, until the worker accepts it.
        """
        while self._ids.shape[1] < update.width:
            self._ids = torch.cat((self._ids, torch.zeros_like(self._ids)), dim=1)
        if new_lines.numel():
            self._ids.index_put_((new_lines, new_places), new_tokens)
        for text, tokens in update.learnt:
            text.known.update(tokens)
        adding = adding.view(-1, update.longest)
        known = self._ids[lines, : update.width]
        there = torch.arange(update.width, device=known.device) < lengths[:, None]
        return torch.cat((torch.where(there, known, adding[:, :1]), adding), dim=1)

    def _text(self, sampler: Sampler) -> _Text:
        text = self._texts.get(sampler)
        if text is not None:
            return text
        if self._stale:
            self._free.append(self._stale.pop())
        if not self._free:
            count = self._ids.shape[0]
            self._ids = torch.cat((self._ids, torch.zeros_like(self._ids)))
            self._free.extend(range(2 * count - 1, count - 1, -1))
        text = self._texts[sampler] = _Text(self._free.pop())
        weakref.finalize(sampler, self._stale.append, text.line).atexit = False
        return text
