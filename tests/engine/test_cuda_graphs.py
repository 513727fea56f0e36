"""Graphs on CUDA: the tokens of plain forwards, and a host that waits for nothing but tokens."""

from __future__ import annotations

import gc
import logging

import pytest
import torch
from flying import Plain
from tiny import Writers, contents, drive, make_engine

from hogwild.cache import Pool
from hogwild.engine.graphs import GraphRunner
from hogwild.engine.runner import EagerRunner
from hogwild.engine.sampling import SamplingParams
from hogwild.models import enable
from models.tiny_models import random_ids, tiny_model

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("quick_collections")]

FAMILIES = ["llama", "qwen3", "gemma3_text"]


def teams(count=30):
    """Sessions that begin together, some of whose workers begin with several tokens, and end at different times."""
    generator = torch.Generator().manual_seed(4)
    return [
        Writers(random_ids(30, generator), [(5, 6), (11,)], count=count),
        Writers(random_ids(11, generator), [(7,), (9, 9, 9), (4, 8)], count=count // 2),
        Writers(random_ids(3, generator), [(3,)], count=2 * count),
    ]


def said(runner, protocols, pool=None):
    engine = make_engine(runner.model, pool=Pool(max_tokens=4096) if pool is None else pool, runner=runner)
    sessions = drive(engine, *protocols)
    for session in sessions:
        assert session.error is None, session.error
    result = [protocol.said for protocol in protocols], [contents(session) for session in sessions]
    for session in sessions:
        session.close()
    return result


@pytest.fixture
def model(request):
    torch._dynamo.reset()  # of what was compiled for models that are gone
    return enable(tiny_model(getattr(request, "param", "llama")).to("cuda"))


@pytest.fixture
def half_model():
    """In bf16, with heads that the tensor-core kernel has."""
    return enable(
        tiny_model("llama", dtype=torch.bfloat16, head_dim=64, max_position_embeddings=4096).to("cuda")
    )


def assert_all_captured(runner):
    assert runner.why_eager is None, runner.why_eager
    assert runner.forwards and not [f.sizes for f in runner.forwards if f.graph is None]


@pytest.mark.parametrize("model", FAMILIES, indirect=True)
def test_tokens_are_those_of_plain_forwards(model):
    expected = said(EagerRunner(model), teams())
    assert len(set(expected[0][0]["w0"])) > 3, f"the model says nothing but {expected[0][0]}"
    for join in (False, True):
        runner, pool = GraphRunner(model, join=join), Pool(max_tokens=4096)
        assert said(runner, teams(), pool) == expected, f"together, join={join}"
        for index in range(3):  # some through graphs that are there
            assert said(runner, [teams()[index]], pool)[0] == [expected[0][index]], (
                f"team {index}, join={join}"
            )
        assert_all_captured(runner)
        assert said(runner, teams()) == expected, f"on another pool, join={join}"
        assert_all_captured(runner)
        runner.close()


@pytest.mark.parametrize(
    "model, compile, prompt",
    [
        ("llama", "layers", 20),
        ("qwen3", "layers", 300),
        ("gemma3_text", "layers", 300),
        ("llama", "model", 300),
    ],
    indirect=["model"],
)
def test_tokens_of_compiled_forwards(model, compile, prompt):
    """One size of forward is compiled, and one for the prompt where that is short enough."""

    def team():
        return [Writers(random_ids(prompt, torch.Generator().manual_seed(6)), [(5,), (11,)], count=40)]

    expected = said(EagerRunner(model), team())
    runner = GraphRunner(model, compile=compile)
    assert said(runner, team()) == expected
    assert runner.compile == compile
    assert_all_captured(runner)


def test_a_pool_that_grows(model, monkeypatch):
    monkeypatch.setattr("hogwild.cache.pool._FIRST_PAGES", 2)
    expected = said(EagerRunner(model), teams(80), Pool(page_size=16))
    pool = Pool(page_size=16)
    runner = GraphRunner(model)
    assert said(runner, teams(80), pool) == expected
    assert pool.num_pages > 16
    assert_all_captured(runner)


def test_a_model_that_waits_is_called_as_it_is(model, caplog, monkeypatch):
    layer = model.model.layers[1].mlp
    forward = layer.forward

    def waits(x):
        assert x.abs().max().item() > 0
        return forward(x)

    expected = said(EagerRunner(model), teams())
    monkeypatch.setattr(layer, "forward", waits)
    runner = GraphRunner(model)
    with caplog.at_level(logging.WARNING):
        assert said(runner, teams()) == expected
    assert runner.why_eager and caplog.text.count("not captured") == 1
    torch.cuda.synchronize()
    assert said(GraphRunner(model), teams(4))[0][0].keys() == expected[0][0].keys()  # nothing is left broken


def decoding(engine, kind, workers=4):
    """A session whose workers decode for long, after its first forwards."""
    protocol = kind(random_ids(40, torch.Generator().manual_seed(5)), [(7,)] * workers, count=10_000)
    session = engine.open(protocol)
    for _ in range(5):
        engine.forward([session])
    return session


@pytest.mark.parametrize("kind", [Writers, Plain])
def test_the_host_waits_for_tokens_only_and_nothing_is_allocated(half_model, kind):
    engine = make_engine(half_model, pool=Pool(max_tokens=8192), runner=GraphRunner(half_model))
    session = decoding(engine, kind)
    for _ in range(40):  # until a page is added, and the allocator has all it needs
        engine.forward([session])
    torch.cuda.synchronize()
    device_allocations = torch.cuda.memory_stats()["num_device_alloc"]
    reserved = torch.cuda.memory_reserved()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(100):
            engine.forward([session])
    assert torch.cuda.memory_stats()["num_device_alloc"] == device_allocations
    assert torch.cuda.memory_reserved() == reserved
    counts = {event.key: event.count for event in profile.key_averages()}
    launches = sum(n for key, n in counts.items() if "GraphLaunch" in key)
    waits = {key: n for key, n in counts.items() if "Synchronize" in key}
    # of those that are in flight when the profile begins and ends, either may be missing where a page begins
    assert abs(launches - 100) <= (kind is Plain), counts
    assert (engine._batcher.flown > 100) == (kind is Plain) and not engine._batcher.wasted
    assert sum(waits.values()) <= 103, waits  # the last are the profiler's
    assert not [key for key in counts if key in ("cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost")]
    uploads = sum(n for key, n in counts.items() if "Memcpy HtoD" in key)
    downloads = sum(n for key, n in counts.items() if "Memcpy DtoH" in key)
    assert uploads <= launches and downloads <= 100, counts
    session.close()


@pytest.mark.slow
def test_two_thousand_forwards_leak_nothing(half_model):
    pool = Pool(max_tokens=1 << 16)
    engine = make_engine(half_model, pool=pool, runner=GraphRunner(half_model))
    generator = torch.Generator().manual_seed(8)
    used = []
    for round_ in range(20):
        protocols = [
            Writers(
                random_ids(int(torch.randint(3, 60, (), generator=generator)), generator),
                [(5,)] * (1 + index % 4),
                count=100,
                sampling=SamplingParams(temperature=1.0, seed=index),
            )
            for index in range(8)
        ]
        for session in drive(engine, *protocols):
            assert session.error is None
            session.close()
        assert pool.used_pages == 0
        gc.collect()
        torch.cuda.synchronize()
        if round_ >= 4:  # by then every size of forward is there
            used.append(torch.cuda.memory_allocated())
    assert max(used) - min(used) < 1 << 20, used


@pytest.fixture
def wide_model():
    """With products that cuBLAS splits along their inner side, for which it needs a workspace."""
    config = {"hidden_size": 1024, "intermediate_size": 4096, "head_dim": 64, "num_attention_heads": 16}
    return enable(
        tiny_model("llama", dtype=torch.bfloat16, max_position_embeddings=4096, **config).to("cuda")
    )


def two_writers():
    return [Writers(random_ids(40, torch.Generator().manual_seed(5)), [(7,), (9,)], count=20)]


def test_workspaces_that_others_free(wide_model):
    """Those of cuBLAS belong to the process; `torch.compile` in mode reduce-overhead frees them all."""
    runner, pool = GraphRunner(wide_model), Pool(max_tokens=4096)
    expected = said(runner, two_writers(), pool)
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    others = [torch.full((1 << 20,), float("nan"), device="cuda") for _ in range(64)]
    assert said(runner, two_writers(), pool) == expected
    assert all(bool(other.isnan().all()) for other in others)  # what others have there now is as it was


def test_others_that_capture_graphs_by_torch_compile(wide_model):
    torch._dynamo.reset()
    runner, pool = GraphRunner(wide_model), Pool(max_tokens=4096)
    expected = said(runner, two_writers(), pool)
    product = torch.nn.Linear(4096, 512, dtype=torch.bfloat16, device="cuda")
    compiled = torch.compile(product, mode="reduce-overhead", fullgraph=True, dynamic=False)
    x = torch.ones(4, 4096, dtype=torch.bfloat16, device="cuda")
    with torch.no_grad():
        for _ in range(4):  # a call that compiles, one that captures, replays
            found = compiled(x).clone()
            assert said(runner, two_writers(), pool) == expected
        torch.testing.assert_close(found, product(x))
