"""How long decode forwards take, and which part of them takes how long."""

from __future__ import annotations

import dataclasses
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from hogwild.engine import EngineCore, Session
from hogwild.engine.graphs import GraphRunner
from hogwild.measure.floor import matrix_products
from hogwild.measure.workload import HEADER, OWN, DecodeWorkload, randomize

__all__ = ["DecodeTime", "measure_decode", "tell_kernels_apart", "tokens_needed"]

_PRODUCT = re.compile(r"gemm|gemv|cutlass|nvjet|cublas|splitk|xmma", re.IGNORECASE)
# Forwards with nothing in between, so that the next one may be in flight; all but the first are timed.
_IN_A_ROW = 5
# Forwards before the first that is timed: on CUDA processes that compile have to come to rest
_FEW, _MANY = 4, 100


@dataclass(frozen=True)
class DecodeTime:
    """Times of one decode forward in microseconds, medians or means over many.

    Attributes:
        workers, context: how many workers, and how long the history that they share.
        sessions: how many such teams decode in the same forward.
        us: the engine's forward as its caller sees it, while nothing else happens between forwards; median over rows
            of a few of them.
        model_us: the model's part, with attention: a graph's replay by itself, between two of these rows, or the call
            of the model; median likewise.
        floor_us: the matrix products alone.
        weight_bytes: what they read.
        attention_us, append_us, products_us, other_us: by kernels, per forward; None where there is no profile
            (rotation tables count as attention).
        kernels: how many a forward launches; None likewise.
        captured: whether forwards are graphs.
    """

    workers: int
    context: int
    sessions: int
    us: float
    model_us: float
    floor_us: float
    weight_bytes: int
    attention_us: float | None = None
    append_us: float | None = None
    products_us: float | None = None
    other_us: float | None = None
    kernels: int | None = None
    captured: bool = False

    @property
    def setup_us(self) -> float:
        """What is not the model: plans, the upload, sampling, the download, and all of the host."""
        return max(self.us - self.model_us, 0.0)

    @property
    def tokens_per_second(self) -> float:
        """Of all workers together."""
        return 1e6 * self.workers * self.sessions / self.us


def tokens_needed(workers: int, context: int, forwards: int, sessions: int = 1, page_size: int = 32) -> int:
    """Tokens that a pool must have room for: whole pages for each block."""
    longest = OWN + forwards + _MANY + 2
    blocks = [context, HEADER, HEADER, *[longest] * workers]
    return sessions * sum(-(-length // page_size) * page_size for length in blocks)


def measure_decode(
    engine: EngineCore, workers: int, context: int, forwards: int = 50, sessions: int = 1
) -> DecodeTime:
    """Let workers decode on an engine that nobody else uses.

    Args:
        engine: its pool has room for `tokens_needed`; what its pages hold is overwritten.
        workers: how many.
        context: tokens of their shared history.
        forwards: how many. Where they are graphs they are run five in a row, of which the last four are timed.
        sessions: how many such teams.
    """
    warm_ups = _MANY if engine.model.device.type == "cuda" else _FEW
    with _decoding(engine, workers, context, forwards, sessions, warm_ups) as opened:
        with _ModelTime(engine) as model_time:
            seconds, inside = [], []
            in_a_row = min(_IN_A_ROW, forwards) if engine.runner.ahead else 1
            timed = max(1, in_a_row - 1)
            for _ in range(forwards // in_a_row):
                for _ in range(in_a_row - timed):
                    engine.forward(opened)  # if it was in flight already, it had the time of the replays
                model_time.seconds = 0.0
                began = time.perf_counter()
                for _ in range(timed):
                    engine.forward(opened)
                seconds.append((time.perf_counter() - began) / timed)
                graph = _last_graph(engine)
                inside.append(model_time.seconds / timed if graph is None else _replay_seconds(graph))
        _check(opened)
        joined = engine.runner.joined if isinstance(engine.runner, GraphRunner) else None
        floor, weight_bytes = matrix_products(engine.model, workers * sessions, joined)
        floor_us = _host_us(floor) if graph is None else _device_us(_captured(floor).replay)
    return DecodeTime(
        workers=workers,
        context=context,
        sessions=sessions,
        us=1e6 * statistics.median(seconds),
        model_us=1e6 * statistics.median(inside),
        floor_us=floor_us,
        weight_bytes=weight_bytes,
        captured=graph is not None,
    )


def tell_kernels_apart(engine: EngineCore, measured: DecodeTime) -> DecodeTime:
    """What was measured, with the times of kernels by kind, where forwards are graphs.

    To be done when nothing more is to be timed: once a process has profiled a graph, each launch of one takes 0.3 ms.
    """
    if not measured.captured:
        return measured
    with _decoding(engine, measured.workers, measured.context, 1, measured.sessions, _FEW) as opened:
        engine.forward(opened)
        _check(opened)
        graph = _last_graph(engine)
        return measured if graph is None else dataclasses.replace(measured, **_by_kernels(graph.replay))


@contextmanager
def _decoding(
    engine: EngineCore, workers: int, context: int, forwards: int, sessions: int, warm_ups: int
) -> Iterator[list[Session]]:
    """Sessions that have begun to decode and have `forwards` left to go."""
    count = forwards + warm_ups
    opened = [engine.open(DecodeWorkload(workers, context, count + 1)) for _ in range(sessions)]
    try:
        engine.forward(opened)
        randomize(engine.pool)
        for _ in range(warm_ups):
            engine.forward(opened)
        yield opened
    finally:
        for session in opened:
            session.close()


def _check(sessions: list[Session]) -> None:
    for session in sessions:
        if session.error is not None:
            raise session.error


def _last_graph(engine: EngineCore) -> torch.cuda.CUDAGraph | None:
    """The graph of the forwards that were just run."""
    last = engine.runner.last if isinstance(engine.runner, GraphRunner) else None
    return None if last is None else last.graph


def _captured(call: Callable[[], object]) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call()
    return graph


def _replay_seconds(graph: torch.cuda.CUDAGraph) -> float:
    """Of the replay alone, between two forwards: clocks change over seconds by more than what is around the model.

    It follows another one, so that the device does not wait for its launch.
    """
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    begin.record()
    graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def _device_us(call: Callable[[], object], milliseconds: float = 200.0) -> float:
    """Mean time of calls that follow each other on the device."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    repeats = 3
    for _ in range(2):  # the first round says how many the second needs
        torch.cuda.synchronize()
        begin.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        mean = begin.elapsed_time(end) / repeats
        repeats = max(3, min(500, int(milliseconds / mean)))
    return 1e3 * mean


def _host_us(call: Callable[[], object]) -> float:
    """Median time of calls that the host waits for, on a CPU."""
    call()
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 1e6 * statistics.median(seconds)


def _by_kernels(replay: Callable[[], object], repeats: int = 5) -> dict[str, Any]:
    """Microseconds of the kernels of one replay, by kind; empty where kernels cannot be traced."""
    sums = {"attention_us": 0.0, "append_us": 0.0, "products_us": 0.0, "other_us": 0.0}
    count = 0
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(repeats):
            replay()
        torch.cuda.synchronize()
    for event in profile.key_averages():
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        sums[_kind(event.key)] += event.self_device_time_total / repeats
        count += event.count
    return {**sums, "kernels": count // repeats} if count else {}


def _kind(kernel: str) -> str:
    if "hogwild" in kernel:
        return "append_us" if "append" in kernel else "attention_us"
    return "products_us" if _PRODUCT.search(kernel) else "other_us"


class _ModelTime:
    """Seconds spent in the model's own calls, where it is called as it is."""

    def __init__(self, engine: EngineCore) -> None:
        self._model, self.seconds, self._began = engine.model, 0.0, 0.0

    def __enter__(self) -> _ModelTime:
        self._handles = [
            self._model.register_forward_pre_hook(self._begin),
            self._model.register_forward_hook(self._end),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, *_: object) -> None:
        self._began = time.perf_counter()

    def _end(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began
