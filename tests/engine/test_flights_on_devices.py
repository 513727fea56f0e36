"""The same with flights and without, on the CPU and in CUDA graphs."""

import pytest
import torch
from flying import ANY, assert_same, both, make, plain, story, written
from tiny import STOCHASTIC, Writers

import hogwild.engine.batcher as batcher


class Stepping(Writers):
    """Now and then what the first worker wrote moves into the prompt, and it begins anew.

    Args:
        every: after so many tokens.
        told: whether it says so beforehand.
    """

    def __init__(self, *arguments, every, told, **options):
        super().__init__(*arguments, **options)
        self.every, self.told = every, told

    def plain_tokens(self):
        done = len(self.said["w0"]) + 1
        return None if done == self._count or (self.told and done % self.every == 0) else ANY

    def receive(self, results):
        events = super().receive(results)
        if len(self.said["w0"]) % self.every == 0:
            self.store.append_from("prompt", "w0")
            self.store.clear("w0")
            self._pending["w0"] = (3, *self._pending["w0"])
        return events


ON_DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])


@ON_DEVICES
@pytest.mark.parametrize("sampling", [None, STOCHASTIC], ids=["greedy", "sampled"])
def test_steps_that_end_told_and_untold(device, sampling, monkeypatch):
    monkeypatch.setattr(batcher, "_PATIENCE", 2)
    runs = []
    for flies in (True, False):
        engine = make(flies, device, max_tokens=4096)
        sessions = [
            engine.open(plain(70, Stepping, sampling=sampling, every=every, told=told))
            for every, told in ((7, True), (11, False))
        ]
        told = []
        while not all(session.finished for session in sessions):
            told += story(engine.forward())
        assert not any(session.error for session in sessions)
        runs.append((engine, sessions, told))
    (busy, mine, told), (idle, others, expected) = runs
    assert told == expected
    for one, other in zip(mine, others, strict=True):
        assert_same(one, other)
        assert len(set(one.protocol.said["w0"])) > 3  # not a constant
        for a, b in zip(written(one), written(other), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert busy._batcher.flown > 30 and 3 <= busy._batcher.wasted <= 7
    assert idle._batcher.flown == 0
    if device == "cuda":
        assert busy.runner.why_eager is None and idle.runner.why_eager is None


@ON_DEVICES
def test_an_engine_that_is_dropped_with_a_forward_in_flight(device):
    """Its graph must not be destroyed while it runs, and its pages are free."""
    for _ in range(3):
        engine = make(True, device, max_tokens=2048)
        sessions = [engine.open(plain(50)), engine.open(plain(50, sampling=STOCHASTIC))]
        for _ in range(9):
            engine.forward()
        assert engine._batcher.flown and engine._batcher._flight is not None
        for session in sessions:
            session.close()
        assert engine.pool.used_pages == 0
        engine.runner.close()
    if device == "cuda":
        torch.cuda.synchronize()


@pytest.mark.cuda
def test_forwards_on_two_streams_by_turns():
    engine, idle = both(device="cuda")
    session, other = (e.open(plain(60, sampling=STOCHASTIC)) for e in (engine, idle))
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    while not session.finished:
        with torch.cuda.stream(streams[session.forwards // 3 % 2]):
            engine.forward()
    torch.cuda.synchronize()
    while not other.finished:
        idle.forward()
    assert_same(session, other)
    assert engine._batcher.flown > 40 and engine._batcher.wasted == 0
