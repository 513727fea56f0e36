"""Many sessions on CUDA: drawing without a wait, parking bit by bit, one model on two GPUs."""

from __future__ import annotations

import os
import random
import resource
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sampling import VOCAB
from test_sampling import settings as sampling_settings
from test_scheduler import SOON, a_protocol, alone, run_many, tokens_of
from tiny import PROMPT, Writers, make_engine, make_model, undisturbed

from hogwild.cache import Parking
from hogwild.engine.batch_sampler import BatchSampler, Request
from hogwild.engine.sampler import Sampler
from hogwild.engine.sampling import SamplingParams

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.usefixtures("quick_collections"),
    pytest.mark.filterwarnings("error::hogwild_cuda.fallback.FallbackWarning"),
]


@pytest.fixture(scope="module")
def model():
    return make_model().cuda()


@given(st.lists(sampling_settings, min_size=1, max_size=7), st.integers(0, 1000))
@settings(max_examples=50)
def test_the_draws_of_the_cpu(params, seed):
    generator = torch.Generator().manual_seed(seed)
    samplers = [
        [Sampler(p.replace(logprobs=True), index) for index, p in enumerate(params)] for _ in range(2)
    ]
    batches = BatchSampler(), BatchSampler()
    for _ in range(3):
        logits = torch.randn(len(params), VOCAB, generator=generator) * 3
        fed = torch.randint(VOCAB, (len(params), 2), generator=generator).tolist()
        on_cpu, on_cuda = (
            batch.sample(
                logits.to(device),
                [Request(s, f, [[1, 2], [3]], entropy=True) for s, f in zip(own, fed, strict=True)],
            )
            for batch, own, device in zip(batches, samplers, ("cpu", "cuda"), strict=True)
        )
        for a, b in zip(on_cpu, on_cuda, strict=True):
            assert a.token == b.token
            assert b.logprob == pytest.approx(a.logprob, abs=1e-4)
            assert b.probe == pytest.approx(a.probe, abs=1e-4) and b.entropy == pytest.approx(
                a.entropy, abs=1e-4
            )
        for own in samplers:
            for sampler, tokens in zip(own, fed, strict=True):
                sampler.accept(tokens)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drawing_waits_for_nothing_but_the_download(dtype):
    """Every manner of drawing, probes and entropies: all of it is enqueued before anybody waits."""
    params = [
        SamplingParams(),
        SamplingParams(forbidden_tokens=(1, 2), logprobs=True),
        SamplingParams(temperature=0.6, top_k=20, top_p=0.95),
        SamplingParams(temperature=0.6, top_k=20, repetition_penalty=1.1, seed=1),
        SamplingParams(temperature=1.0, min_p=0.05),
        SamplingParams(temperature=1.0, top_p=0.9, repetition_penalty=1.2),
        SamplingParams(temperature=1.0, top_k=2000, logprobs=True),
    ]
    samplers = [Sampler(p, index) for index, p in enumerate(params)]
    logits = torch.randn(len(params), 32000, device="cuda").to(dtype)
    requests = [Request(s, [5, index], [[1, 2], [3]], entropy=True) for index, s in enumerate(samplers)]
    batch = BatchSampler()
    expected = batch.sample(logits, requests)  # settings are uploaded, kernels loaded
    combination = batch._settings_for(requests, logits)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            values = batch._launch(logits, requests, combination)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert batch._read(logits, requests, values.tolist()) == expected


def test_restored_blocks_are_the_same_bit_by_bit(model):
    engine = make_engine(model, page_size=16, max_tokens=16 * 24, compile="none")
    session = engine.open(Writers(PROMPT, [(5, 6), (11,)], count=100))
    for _ in range(40):
        engine.forward()
    blocks = [session.blocks[name] for name in session.blocks]

    def values():
        return [
            (cache[block.pages].cpu().view(torch.int32))
            for layer in engine.pool.layers.values()
            for cache in (layer.k, layer.v)
            for block in blocks
        ]

    before = values()
    session.forget_prefixes()
    parking = Parking(engine.pool)
    parked = parking.park(blocks)
    assert engine.pool.used_pages == 0
    host = parked.blocks[0][1][0].host
    assert host is not None and all(k.is_pinned() for k, _, _ in host.layers.values())
    for layer in engine.pool.layers.values():
        layer.k.fill_(float("nan"))
        layer.v.fill_(float("nan"))
    parking.unpark(parked)
    assert all(torch.equal(a, b) for a, b in zip(before, values(), strict=True))


def test_64_sessions_get_the_tokens_they_get_alone(model, monkeypatch):
    parked, park = [], Parking.park
    monkeypatch.setattr(Parking, "park", lambda self, blocks: parked.append(1) or park(self, blocks))
    run_many(model, sessions=64, pages=34, seed=1, arrivals=150)
    assert len(parked) > 5


@pytest.mark.slow
def test_64_sessions_for_2000_forwards(model):
    forwards = 0
    for seed in range(20, 40):
        forwards += run_many(model, sessions=64, pages=36, seed=seed, arrivals=400, turn=32)
        if forwards > 2000:
            break
    assert forwards > 2000


@pytest.mark.slow
def test_a_time_of_traffic_leaves_nothing_behind(model):
    """Clients that read, cancel and vanish; afterwards pages and memory, device's and host's, are as before.

    HOGWILD_SOAK_SECONDS: another time than 30; ten minutes find what leaks slowly.
    """
    seconds = float(os.environ.get("HOGWILD_SOAK_SECONDS", 30))
    rng = random.Random(0)
    options = {"page_size": 16, "max_tokens": 16 * 40, "max_forward_tokens": 48}
    with make_engine(model, **options, compile="none") as engine:
        for _ in range(5):
            engine.submit(a_protocol(rng)).result(SOON)
        torch.cuda.synchronize()
        before, begin, count = None, time.monotonic(), 0
        while time.monotonic() < begin + seconds:
            count += 32
            handles = [engine.submit(a_protocol(rng)) for _ in range(32)]
            for handle in handles[::4]:
                handle.cancel()
            del handles[1::4], handle
            for handle in handles:
                handle.wait(SOON)
            del handles, handle
            if before is None and time.monotonic() > begin + seconds / 10:  # all sizes have been seen by now
                before = torch.cuda.memory_allocated(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        deadline = time.monotonic() + SOON
        while engine.pool.used_pages and time.monotonic() < deadline:
            time.sleep(0.01)
        assert engine.pool.used_pages == 0
        after = torch.cuda.memory_allocated(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{count} sessions in {seconds:.0f} s; bytes on the device, KiB on the host: {before}, {after}")
        assert after[0] <= before[0] + 2**20
        assert after[1] <= before[1] + 2**16


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one model on two GPUs")
def test_one_model_on_two_gpus():
    """Pages of a layer are on the layer's device; tokens, parking and company are as on one device."""
    from accelerate import dispatch_model

    split = dispatch_model(
        make_model(),
        {
            "model.embed_tokens": 0,
            "model.rotary_emb": 0,
            "model.layers.0": 0,
            "model.layers.1": 1,
            "model.norm": 1,
            "lm_head": 1,
        },
    )
    with make_engine(split, page_size=16, max_tokens=16 * 14) as engine:
        protocols = [
            Writers(
                PROMPT,
                [(5, 6), (11,)],
                count=40,
                sampling=SamplingParams(temperature=0.8, top_k=9, seed=seed),
            )
            for seed in range(4)
        ]
        handles = [engine.submit(protocol) for protocol in protocols]
        for handle in handles:
            handle.result(SOON)
        assert [layer.k.device.index for layer in engine.pool.layers.values()] == [0, 1]
    for protocol in protocols:
        assert protocol.said == undisturbed(
            lambda p=protocol: Writers(PROMPT, [(5, 6), (11,)], count=40, sampling=p.sampling("w0"))
        )


def test_tokens_of_the_background_are_those_of_a_stream(model):
    with make_engine(model, compile="none") as engine:
        handles = [engine.submit(a_protocol(random.Random(seed))) for seed in range(8)]
        for seed, handle in enumerate(handles):
            assert tokens_of(handle) == alone(model, seed, 1024)
