"""From logits to tokens, for all workers of all sessions of a forward in one go, with one download."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from hogwild.engine import picking
from hogwild.engine.device_settings import DeviceSettings, Group
from hogwild.engine.download import Download
from hogwild.engine.sampler import Kind, Sampler
from hogwild.engine.seen import SeenTokens, SeenUpdate
from hogwild.engine.upload import upload

__all__ = ["BatchSampler", "Draw", "Outcome", "Request"]

_REMEMBERED = 64  # combinations of settings whose tensors are kept


class Request(NamedTuple):
    """What is wanted of one row of logits.

    Attributes:
        sampler: of the worker that draws a token; None: none is drawn.
        fed: tokens that this forward adds to the worker's text, the last of which the logits follow.
        probe: sets of token ids whose probabilities are wanted.
        entropy: whether the distribution's entropy is wanted.
    """

    sampler: Sampler | None
    fed: Sequence[int] = ()
    probe: Sequence[Sequence[int]] = ()
    entropy: bool = False


class Outcome(NamedTuple):
    """What came of one row of logits.

    Attributes:
        finite: whether the logits are numbers; nothing else counts if they are not.
        token: the token id; None where none was drawn, or the settings leave none.
        logprob: natural log of its probability under the distribution it was drawn from; None unless the
            settings ask for it.
        probe: for each set the natural log of the probability that the model gives to all of it together.
        entropy: of the model's distribution, in nats.
        redone: whether it took a second draw, so that the token is not among `Draw.tokens`.
    """

    finite: bool
    token: int | None = None
    logprob: float | None = None
    probe: tuple[float, ...] = ()
    entropy: float | None = None
    redone: bool = False


class Draw:
    """Outcomes that are on their way.

    Args:
        read: waits for them.
        tokens: see there.
    """

    __slots__ = ("_read", "_tokens")

    def __init__(self, read: Callable[[], list[Outcome]], tokens: Callable[[], torch.Tensor]) -> None:
        self._read, self._tokens = read, tokens

    def __call__(self) -> list[Outcome]:
        """The outcome of each row."""
        return self._read()

    def tokens(self) -> torch.Tensor:
        """[rows] int64 on the device: the token of each row, as far as the device can tell by itself; else -1.

        Nobody waits for them. Valid until the next draw; before outcomes are read, and only where all rows draw one.
        """
        return self._tokens()


class BatchSampler:
    """Draws the tokens of all rows of a forward; what it keeps on the device is shared by all sessions.

    Settings mean what they mean in Hugging Face's `generate`. Probes and entropies are of the model's own
    distribution, before any setting.
    """

    def __init__(self) -> None:
        self._settings: OrderedDict[tuple[object, ...], DeviceSettings] = OrderedDict()
        self._seen: SeenTokens | None = None
        self._downloads: dict[torch.device, Download] = {}
        self._likeliest: dict[tuple[torch.device, int], tuple[torch.Tensor, ...]] = {}

    def sample(self, logits: torch.Tensor, requests: Sequence[Request]) -> list[Outcome]:
        """Pick a token for every row that asks for one.

        Pure as far as the rows are concerned: until a worker's `Sampler.accept`, it gives the same token.

        Args:
            logits: [n, vocab], left as they are.
            requests: one for each row.
        """
        return self.start(logits, requests)()

    def start(self, logits: torch.Tensor, requests: Sequence[Request]) -> Draw:
        """`sample` in two parts: its work is enqueued here, and what it returns waits for the outcomes."""
        with torch.inference_mode():
            settings = self._settings_for(requests, logits)
            if not settings.groups and not any(request.probe or request.entropy for request in requests):
                words = self._find_likeliest(logits)
                found = self._download(words)
                drawing = [request.sampler is not None for request in requests]
                return Draw(
                    lambda: _likeliest(found(), drawing), lambda: words[: 2 * len(logits)].view(torch.int64)
                )
            vector = self._launch(logits, requests, settings)
            values = self._download(vector)
            return Draw(lambda: self._read(logits, requests, values()), lambda: _drawn(vector, len(logits)))

    def _download(self, vector: torch.Tensor) -> Callable[[], list[Any]]:
        download = self._downloads.get(vector.device)
        if download is None:
            download = self._downloads[vector.device] = Download(vector.device)
        return download.start(vector)

    def _find_likeliest(self, logits: torch.Tensor) -> torch.Tensor:
        """[3 n] int32: n token ids of two words each, then the bits of n largest logits in fp32.

        For rows that want nothing else, by one operation: the device waits while the host tells it of each.
        """
        x, count = logits.float(), len(logits)
        key = (logits.device, count)
        if key not in self._likeliest:
            words = torch.empty(3 * count, dtype=torch.int32, device=logits.device)
            self._likeliest[key] = (
                words,
                words[: 2 * count].view(torch.int64),
                words[2 * count :].view(x.dtype),
            )
        words, index, value = self._likeliest[key]
        torch.max(x, -1, out=(value, index))
        return words

    def _launch(
        self, logits: torch.Tensor, requests: Sequence[Request], settings: DeviceSettings
    ) -> torch.Tensor:
        """Enqueue all work, in fp64: [n, 4] (largest logit, token, log-probability, state), probes, entropies."""
        device = logits.device
        x = _searchable(logits)
        largest, likeliest = x.max(-1)
        token, logprob = likeliest.double(), torch.zeros_like(largest, dtype=torch.float64)
        state = torch.zeros_like(logprob)
        sets = [(row, ids) for row, request in enumerate(requests) for ids in request.probe]
        longest = max((len(ids) for _, ids in sets), default=0)
        texts = self._texts(logits, requests) if settings.penalized else None
        uniform, set_rows, set_ids, entropy_rows, *texts_there = upload(
            device,
            [r.sampler.uniform if r.sampler and not r.sampler.params.greedy else 0.0 for r in requests],
            [row for row, _ in sets],
            [token for _, ids in sets for token in (*ids, *[-1] * (longest - len(ids)))],
            [row for row, request in enumerate(requests) if request.entropy],
            *(() if texts is None else texts.lists),
        )
        seen = None
        if texts is not None and self._seen is not None:
            seen = self._seen.ids(texts, *texts_there)
            for request in requests:
                if request.sampler is not None:
                    request.sampler.unseen.clear()
        for group in settings.groups:
            results = _pick(group, x, uniform[:, None], seen)
            for whole, part in zip((token, logprob, state), results, strict=True):
                if group.index is None:
                    whole.copy_(part)
                else:
                    whole.index_copy_(0, group.index, part)
        picked = torch.stack((largest.double(), token, logprob, state), 1)
        probes = _probe(logits, set_rows, set_ids.view(len(sets), longest))
        return torch.cat((picked.flatten(), probes, _entropy(logits, entropy_rows)))

    def _texts(self, logits: torch.Tensor, requests: Sequence[Request]) -> SeenUpdate:
        """What the device has to be told of the texts of workers with a repetition penalty."""
        if self._seen is None:
            self._seen = SeenTokens(logits.device)
        samplers = [
            r.sampler if r.sampler and r.sampler.params.repetition_penalty != 1 else None for r in requests
        ]
        return self._seen.update(samplers, [request.fed for request in requests], logits.shape[1])

    def _read(
        self, logits: torch.Tensor, requests: Sequence[Request], values: Sequence[float]
    ) -> list[Outcome]:
        probe = 4 * len(requests)
        entropy = probe + sum(len(request.probe) for request in requests)
        outcomes = []
        for row, request in enumerate(requests):
            largest, token, logprob, state = values[4 * row : 4 * row + 4]
            finite = math.isfinite(largest)
            redone = state == _OVERFLOW and finite
            if redone:
                token, logprob = self._again(logits[row : row + 1], request)
                state = _FINE
            sampler, sets = request.sampler, len(request.probe)
            if sampler is None or not finite or state != _FINE:
                drawn: tuple[int | None, float | None] = (None, None)
            else:
                drawn = int(token), logprob if sampler.params.logprobs else None
            likely = tuple(values[probe : probe + sets]) if sets else ()
            asked = values[entropy] if request.entropy else None
            outcomes.append(Outcome(finite, *drawn, likely, asked, redone))
            probe += sets
            entropy += request.entropy
        return outcomes

    def _again(self, logits: torch.Tensor, request: Request) -> tuple[float, float]:
        """Token and log-probability of a row where more tokens tie with the last of the top k than were looked at."""
        assert request.sampler is not None
        settings = DeviceSettings([request.sampler.kind], logits.shape[1], logits.device, narrow=False)
        alone = request._replace(probe=(), entropy=False)
        _, token, logprob, _ = self._launch(logits, [alone], settings).tolist()
        return token, logprob

    def _settings_for(self, requests: Sequence[Request], logits: torch.Tensor) -> DeviceSettings:
        kinds: list[Kind | None] = [None if r.sampler is None else r.sampler.kind for r in requests]
        key = (logits.device, logits.shape[1], *kinds)
        settings = self._settings.get(key)
        if settings is None:
            settings = self._settings[key] = DeviceSettings(kinds, logits.shape[1], logits.device)
            if len(self._settings) > _REMEMBERED:
                self._settings.popitem(last=False)
        else:
            self._settings.move_to_end(key)
        return settings


_FINE, _NO_TOKEN, _OVERFLOW = 0.0, 1.0, 2.0
_INFINITE = 0x7F800000  # bits of the exponent in fp32; all set: infinite, or NaN


def _drawn(vector: torch.Tensor, count: int) -> torch.Tensor:
    """The tokens in what `_launch` gives, [count] int64; -1 where there is none, or not yet."""
    rows = vector[: 4 * count].view(count, 4)
    return torch.where(rows[:, 3] == _FINE, rows[:, 1], -1.0).long()


def _searchable(logits: torch.Tensor) -> torch.Tensor:
    """On the CPU in fp32, where it is several times faster to search."""
    return logits.float() if logits.device.type == "cpu" else logits


def _likeliest(words: Sequence[Any], drawing: Sequence[bool]) -> list[Outcome]:
    """What comes of rows that want the likeliest token (`drawing`) or nothing, from `_find_likeliest`."""
    count = len(drawing)
    rows = zip(drawing, words[: 2 * count : 2], words[2 * count :], strict=True)
    return [
        Outcome(True, token if draws else None) if bits & _INFINITE != _INFINITE else Outcome(False)
        for draws, token, bits in rows
    ]


def _pick(
    group: Group, logits: torch.Tensor, uniform: torch.Tensor, seen: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, log-probabilities and states of a group's rows, [n] fp64 each."""
    x = logits
    if group.index is not None:
        x, uniform = x.index_select(0, group.index), uniform.index_select(0, group.index)
        seen = None if seen is None else seen.index_select(0, group.index)
    if group.penalty is not None and seen is not None:
        x = picking.penalize(x.float(), seen, group.penalty)
    if group.forbidden is not None:
        x = x.float().index_put(group.forbidden, x.new_full((), -math.inf, dtype=torch.float32))
    ids: torch.Tensor | None = None
    overflow = None
    if group.greedy:
        x = x.float()
        value, index = x.max(-1, keepdim=True)
        fine = value[:, 0].isfinite()
    else:
        if group.width and group.top_k is not None:
            # Before the temperature, which changes no order, so that few logits are divided by it.
            x, ids, overflow = picking.narrow(x, group.top_k, group.width)
            ids, order = ids.sort(-1)
            x = picking.keep_top(_tempered(x, group), None, group.top_p, group.min_p, descending=True)
            x = x.gather(-1, order)
        else:
            x = _tempered(x, group)
            x = picking.keep_top(x, group.top_k, group.top_p, group.min_p, largest_k=group.largest_k)
        index, fine = picking.draw(x, uniform)
    token = index if ids is None else ids.gather(-1, index)
    state = torch.where(fine, _FINE, _NO_TOKEN).double()
    if overflow is not None:
        state = state.masked_fill(overflow & fine, _OVERFLOW)
    logprob = picking.log_probability(x, index) if group.logprobs else torch.zeros_like(state)
    return token[:, 0].double(), logprob.double(), state


def _tempered(logits: torch.Tensor, group: Group) -> torch.Tensor:
    """In fp32, divided by the temperature."""
    logits = logits.float()
    return logits if group.temperature is None else logits / group.temperature


def _probe(logits: torch.Tensor, rows: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """[sets] log-probabilities of sets of tokens, `ids` [sets, longest] filled up with -1."""
    if not rows.numel():
        return torch.empty(0, dtype=torch.float64, device=logits.device)
    x = logits.index_select(0, rows).float()
    chosen = x.gather(-1, ids.clamp(min=0)).masked_fill(ids < 0, -math.inf)
    return (chosen.logsumexp(-1) - x.logsumexp(-1)).double()


def _entropy(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """[rows] entropies in nats."""
    if not rows.numel():
        return torch.empty(0, dtype=torch.float64, device=logits.device)
    return torch.special.entr(logits.index_select(0, rows).float().softmax(-1)).sum(-1).double()
