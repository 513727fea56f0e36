"""Forwards of fixed size: the same tokens as plain forwards, whatever is compiled or joined. Here without graphs."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

import pytest
import torch
from interrupting import interrupt_at
from tiny import PROMPT, STOCHASTIC, Writers, contents, drive, make_engine, make_model

from hogwild.cache import Block, ForwardPlan, Pool, Sizes, View
from hogwild.cache.layer import LayerCache
from hogwild.engine.graphs import GraphRunner, make_runner, why_not_static
from hogwild.engine.runner import EagerRunner
from hogwild.engine.sampling import SamplingParams
from hogwild.engine.static import padded_sizes
from hogwild.errors import ContextLengthError
from hogwild.models import binding_of, enable
from hogwild.models.cache_attend import CacheAttend
from hogwild.models.joined import JoinedProjections, find_siblings
from models.tiny_models import random_ids, tiny_model

FAMILIES = ["llama", "qwen2", "qwen3", "gemma3_text", "phi3"]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def teams():
    """Sessions of different sizes, some of whose workers begin with several tokens."""
    return [
        Writers(PROMPT, [(5, 6), (11,)], count=14, sampling=STOCHASTIC),
        Writers(PROMPT[::-1] * 3, [(7,), (9, 9, 9), (4, 8)], count=9),
        Writers(PROMPT[:5], [(3,)], count=20, sampling=SamplingParams(seed=5)),
    ]


def said(runner_of, protocols, **options):
    model = enable(make_model())
    engine = make_engine(model, runner=runner_of(model), **options)
    sessions = drive(engine, *protocols)
    assert all(session.error is None for session in sessions)
    return [protocol.said for protocol in protocols], [contents(session) for session in sessions]


@pytest.mark.parametrize(
    ("compile", "max_forward_tokens"),
    [("none", 1024), ("none", 20), pytest.param("layers", 1024, marks=pytest.mark.slow)],
)
def test_engine_says_the_same(compile, max_forward_tokens):
    def runner(model):
        return GraphRunner(model, compile=compile, backend="aot_eager")

    expected = said(EagerRunner, teams(), max_forward_tokens=max_forward_tokens)
    assert said(runner, teams(), max_forward_tokens=max_forward_tokens) == expected
    if compile == "none":
        for index in range(3):
            assert said(runner, [teams()[index]])[0] == [expected[0][index]]


class BusyDevice(GraphRunner):
    """As on a GPU, where the host has time to think ahead while the device computes."""

    ahead = True
    expected = 0
    came = 0

    def expect(self, integers):
        super().expect(integers)
        self.expected += 1
        self.awaited = integers

    def run(self, plan, rows):
        self.came += plan.integers is getattr(self, "awaited", None)
        return super().run(plan, rows)


def test_thinking_ahead_changes_nothing():
    runners = []

    def runner(model):
        runners.append(BusyDevice(model))
        return runners[-1]

    assert said(runner, teams()) == said(EagerRunner, teams())
    assert runners[0].expected > 15 and runners[0].came > 10
    assert said(runner, teams(), max_forward_tokens=3) == said(EagerRunner, teams(), max_forward_tokens=3)


def forwards(pool):
    """Rows of some forwards over three blocks, several tokens of a worker among them."""
    generator = torch.Generator().manual_seed(3)
    common, a, b = (Block(pool, name) for name in ("common", "a", "b"))
    views = {"a": View([common, b, a]), "b": View([common, a, b])}
    yield [(View([common]), random_ids(50, generator))]
    for counts in ([3, 1], [1, 1], [1, 6], [1, 1], [2, 2]):
        yield [(view, random_ids(n, generator)) for view, n in zip(views.values(), counts, strict=True)]
    yield [(View([common, b, a], common), random_ids(1, generator)), (views["b"], random_ids(1, generator))]


def logits_of(run):
    pool, result = Pool(page_size=16), []
    for rows in forwards(pool):
        plan = ForwardPlan(rows)
        result.append(run(plan, plan.last_rows).clone())
        plan.commit()
    return result


@pytest.mark.parametrize("compile", ["layers", "model"])
@pytest.mark.parametrize("family", FAMILIES)
def test_compiling_breaks_no_graph_and_changes_no_bit(family, compile):
    model = enable(tiny_model(family))
    plain = logits_of(EagerRunner(model).run)
    expected = logits_of(GraphRunner(model, join=False).run)
    # fullgraph: a break would be an error
    runner = GraphRunner(model, compile=compile, join=False, backend="aot_eager")
    for got, want, unpadded in zip(logits_of(runner.run), expected, plain, strict=True):
        assert torch.equal(got, want)
        torch.testing.assert_close(got, unpadded, rtol=1e-4, atol=1e-4)
    assert runner.compile == compile and runner.why_eager is None


@pytest.mark.parametrize("family", [*FAMILIES, "smollm3", "gpt_oss", "glm4", "deepseek_v3", "qwen3_moe"])
def test_joined_projections(family):
    model = tiny_model(family)
    before = copy.deepcopy(model.state_dict())
    enable(model)
    expected = logits_of(EagerRunner(model).run)
    runner = GraphRunner(model)
    joined = runner._call.joined
    assert len(joined) == {"phi3": 0, "glm4": 2}.get(family, len(joined)) and (
        len(joined) or family == "phi3"
    )
    for got, want in zip(logits_of(runner.run), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    # weights, and what the model gives by itself, are as before; while it is joined and afterwards
    for _ in range(2):
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        for got, want in zip(logits_of(EagerRunner(model).run), expected, strict=True):
            assert torch.equal(got, want)
        runner.close()
    storages = [parameter.untyped_storage().data_ptr() for parameter in model.parameters()]
    assert len(set(storages)) == len(storages)


def test_an_interrupt_leaves_projections_as_they_are():
    model = enable(make_model())

    def stand_ins():
        return [module for module in model.modules() if "forward" in vars(module)]

    def use():
        with joined.active():
            binding_of(model).trial()

    joined = JoinedProjections(find_siblings(model, binding_of(model).trial))
    during = []
    with joined.active():
        during += stand_ins()
    assert len(during) == 10 and not stand_ins()
    left = []
    for line in range(1, interrupt_at(0, use) + 1):
        try:
            interrupt_at(line, use)
        except KeyboardInterrupt:
            left.append(len(stand_ins()))
        use()  # what an interrupt has left at the end goes with the next forward
        assert not stand_ins()
    assert left.count(0) > 200 and max(left) <= len(during)
    with joined.active():
        joined.undo()  # or with the joint weights
        assert not stand_ins()


def test_layers_that_are_alike_are_compiled_once():
    compiled = []

    def backend(graph, example_inputs):
        compiled.append(graph)
        return graph.forward

    runner = GraphRunner(enable(tiny_model("qwen3", num_hidden_layers=4)), compile="layers", backend=backend)
    pool = Pool(page_size=16)
    common, a = Block(pool), Block(pool)
    for tokens in (1, 2, 1, 1, 1, 2):
        plan = ForwardPlan([(View([common, a]), [7] * tokens)])
        runner.run(plan, plan.last_rows)
        plan.commit()
    assert len(compiled) == 2 * 3  # for each number of tokens: rotary embedding, layer, norm


def test_sizes():
    assert padded_sizes(Sizes(3, 1, 5, 5, 9)) == Sizes(4, 1, 8, 8, 512)
    assert padded_sizes(Sizes(64, 1, 17, 9, 513)) == Sizes(64, 1, 32, 16, 1024)
    assert padded_sizes(Sizes(5, 2, 6, 3, 9)) == Sizes(8, 8, 8, 8, 128)
    assert padded_sizes(Sizes(1030, 3, 9, 5, 9)) == Sizes(1152, 64, 16, 8, 128)
    assert padded_sizes(Sizes(1030, 70, 300, 5, 9)) == Sizes(1152, 128, 512, 8, 128)
    assert padded_sizes(Sizes(1153, 1, 1, 1, 1)) is None


def test_a_forward_serves_smaller_ones_and_blocks_grow_under_it():
    runner = GraphRunner(enable(tiny_model("llama", max_position_embeddings=4096)))
    pool = Pool(page_size=16, max_tokens=4096)
    blocks = [Block(pool) for _ in range(12)]

    def feed(view, tokens):
        plan = ForwardPlan([(view, [5] * tokens)])
        runner.run(plan, plan.last_rows)
        plan.commit()

    feed(View(blocks), 4)
    assert [forward.sizes for forward in runner.forwards] == [Sizes(4, 1, 16, 16, 512)]
    feed(View(blocks[:3]), 4)  # room for 16 blocks has room for 3
    assert len(runner.forwards) == 1
    for _ in range(40):
        feed(View(blocks[:3]), 4)  # many more pages
    assert len(runner.forwards) == 1
    feed(View(blocks[:3]), 3000)  # too many tokens for any: called as it is
    assert len(runner.forwards) == 1


def test_a_pool_that_grows_is_noticed(monkeypatch):
    monkeypatch.setattr("hogwild.cache.pool._FIRST_PAGES", 2)
    model = enable(make_model())
    runner = GraphRunner(model)
    eager, fixed = (make_engine(model, page_size=16, runner=r) for r in (EagerRunner(model), runner))
    results = []
    for engine in (eager, fixed):
        protocol = Writers(PROMPT, [(5,), (6,)], count=100)
        generations = set()
        with engine.open(protocol) as session:
            while not session.finished:
                engine.forward()
                generations.add(engine.pool.generation)
        results.append(protocol.said)
        assert len(generations) > 2  # it grew twice
    assert results[0] == results[1]


def test_why_not():
    model = make_model()
    assert why_not_static(model) is None
    model.lm_head.to("meta")
    assert "offloaded" in why_not_static(model)


def test_runner_by_default():
    model = enable(make_model())
    assert isinstance(make_runner(model), EagerRunner)
    assert make_runner(model, "layers").compile == "layers"
    with pytest.raises(ValueError, match="compile: expected one of none, layers, model"):
        make_runner(model, "all")


def test_another_pool_and_a_failed_forward_leave_no_trace():
    model = enable(make_model())
    runner = GraphRunner(model)
    for _ in range(2):
        pool = Pool(page_size=16)
        block = Block(pool)
        plan = ForwardPlan([(View([block]), [3, 4])])
        first = runner.run(plan, plan.last_rows).clone()
        plan.rollback()
        plan = ForwardPlan([(View([block]), [3, 4])])
        assert torch.equal(runner.run(plan, plan.last_rows), first)
        plan.commit()
    assert binding_of(model)._running is None


def test_a_model_that_is_enabled_anew():
    model = enable(make_model())
    runner = GraphRunner(model)
    pool = Pool(page_size=16)
    block = Block(pool)
    for _ in range(2):
        plan = ForwardPlan([(View([block]), [3, 4])])
        runner.run(plan, plan.last_rows)
        plan.commit()
    enable(model, max_length=5)
    plan = ForwardPlan([(View([block]), [3, 4])])
    with pytest.raises(ContextLengthError, match="5"):
        runner.run(plan, plan.last_rows)
    plan.rollback()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_random_models_say_depends_on_what_they_read(family):
    """Else the comparisons of tokens, here and on CUDA, would compare nothing."""
    model = enable(tiny_model(family))
    protocol = Writers(random_ids(12, torch.Generator().manual_seed(4)), [(5, 6), (11,)], count=20)
    drive(make_engine(model, runner=EagerRunner(model)), protocol)
    assert min(len(set(tokens)) for tokens in protocol.said.values()) > 3
    assert protocol.said["w0"] != protocol.said["w1"]


def test_engines_on_one_model_share_the_joined_weights():
    model = enable(tiny_model("qwen2"))  # with biases
    first, second = (GraphRunner(model).joined for _ in range(2))
    assert len(first) == len(second) > 0
    for (_, weight, bias), (_, other, other_bias) in zip(first.products, second.products, strict=True):
        assert torch.equal(weight, other) and weight.data_ptr() == other.data_ptr()
        assert bias is None or (torch.equal(bias, other_bias) and bias.data_ptr() == other_bias.data_ptr())
    before = copy.deepcopy(model.state_dict())
    second.undo()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert model.model.layers[0].mlp.gate_proj.weight.untyped_storage().nbytes() == 4 * 80 * 64


def test_a_wrapper_around_a_layer_stays_when_layers_are_compiled():
    model = enable(tiny_model("llama"))
    layer = model.model.layers[0]
    own = layer.forward
    layer.forward = wrapper = lambda *args, **kwargs: own(*args, **kwargs)
    logits_of(GraphRunner(model, compile="layers", join=False, backend="eager").run)
    assert layer.__dict__["forward"] is wrapper


@pytest.mark.parametrize("runner_of", [EagerRunner, GraphRunner])
def test_another_thread_does_not_move_the_pool_under_a_forward(runner_of, monkeypatch):
    """A session's own thread may take pages, and so let the pool grow, while the engine's runs a forward."""
    model = enable(make_model())
    runner, pool = runner_of(model), Pool(page_size=16)
    block = Block(pool)
    moved, threads = [], []
    append = CacheAttend._append_and_attend

    def grow():
        pool.allocate(pool.num_pages)

    def append_while_it_wants_to_grow(self, call, device):
        before = {index: layer.k for index, layer in pool.layers.items()}
        threads.append(threading.Thread(target=grow))
        threads[-1].start()
        threads[-1].join(0.05)
        moved.append(any(pool.layers[index].k is not k for index, k in before.items()))
        return append(self, call, device)

    def run(tokens):
        plan = ForwardPlan([(View([block]), tokens)])
        logits = runner.run(plan, plan.last_rows).clone()
        plan.commit()
        return logits

    run([3, 4])
    with monkeypatch.context() as patch:
        patch.setattr(CacheAttend, "_append_and_attend", append_while_it_wants_to_grow)
        run([5, 6])
    for thread in threads:
        thread.join(60)
    assert moved == [False, False] and pool.num_pages > 64
    last = run([7])
    pool = Pool(page_size=16)
    block = Block(pool)
    for tokens in ([3, 4], [5, 6]):
        run(tokens)
    assert torch.equal(run([7]), last)


def test_blocks_are_not_moved_while_the_pool_does(monkeypatch):
    model = enable(make_model())
    pool = Pool(page_size=16)
    block, other = Block(pool), Block(pool)
    for target, tokens in ((block, [3, 4, 5]), (other, [6, 7])):
        plan = ForwardPlan([(View([target]), tokens)])
        EagerRunner(model).run(plan, plan.last_rows)
        plan.commit()
    expected = block.fork()
    expected.append_from(other)
    grown = LayerCache.grown
    threads = []

    def grown_while_it_is_appended_to(self, pages):
        copies = grown(self, pages)
        if not threads:
            threads.append(threading.Thread(target=block.append_from, args=(other,)))
            threads[0].start()
            threads[0].join(0.05)
        return copies

    monkeypatch.setattr(LayerCache, "grown", grown_while_it_is_appended_to)
    assert pool.free_pages > 2
    pool.allocate(pool.free_pages + 1)
    threads[0].join(60)
    for layer in pool.layers.values():
        for cache in (layer.k, layer.v):
            flat = cache.transpose(1, 2).flatten(0, 1)
            assert torch.equal(flat[block.slots(0, 5)], flat[expected.slots(0, 5)])


def feed(runner, block, tokens=1):
    plan = ForwardPlan([(View([block]), [5] * tokens)])
    runner.run(plan, plan.last_rows)
    plan.commit()


def test_the_forward_that_was_not_used_for_longest_makes_room(monkeypatch):
    monkeypatch.setattr("hogwild.engine.graphs._MOST_GRAPHS", 3)
    runner = GraphRunner(enable(make_model()))
    pool = Pool(page_size=16)
    block = Block(pool)
    feed(runner, block)  # makes the pool's layers, so that what is kept is made anew
    for tokens in (1, 2, 4, 1, 8, 2):  # 1 is used again before there are more than three
        feed(runner, block, tokens)
    assert [forward.sizes.tokens for forward in runner.forwards] == [1, 8, 2]
    before = runner.forwards[0]
    feed(runner, block)
    assert runner.last is before


def test_engines_that_share_a_runner_keep_their_forwards():
    model = enable(make_model())
    runner = GraphRunner(model)
    first, second = (make_engine(model, page_size=16, runner=runner) for _ in range(2))
    alone = make_engine(model, page_size=16, runner=EagerRunner(model))
    teams_of = {engine: Writers(PROMPT, [(5,), (6,)], count=12) for engine in (first, second, alone)}
    sessions = {engine: engine.open(protocol) for engine, protocol in teams_of.items()}
    kept = {}
    while not all(session.finished for session in sessions.values()):
        for engine in teams_of:
            engine.forward()
            if engine is not alone and sessions[engine].forwards > 3 and not sessions[engine].finished:
                assert kept.setdefault(engine, runner.last) is runner.last
    assert kept[first] is not kept[second]
    assert teams_of[first].said == teams_of[second].said == teams_of[alone].said


def test_a_runner_keeps_no_pool_alive(monkeypatch):
    model = enable(make_model())
    runner = GraphRunner(model)
    monkeypatch.setattr(GraphRunner, "ahead", True)
    engine = make_engine(model, runner=runner)
    drive(engine, Writers(PROMPT, [(5,), (6,)], count=5))
    pool = weakref.ref(engine.pool)
    assert runner.forwards
    del engine
    gc.collect()
    assert pool() is None
    other = Pool(page_size=16)
    feed(runner, Block(other))
    assert {forward.sizes.tokens for forward in runner.forwards} == {1}  # those of the other one are gone


def test_a_closed_runner_keeps_nothing():
    runner = GraphRunner(enable(make_model()))
    feed(runner, Block(Pool(page_size=16)))
    forward = weakref.ref(runner.last)
    runner.close()
    gc.collect()
    assert runner.last is None and not runner.forwards and forward() is None


def test_a_runner_of_another_model():
    model = enable(make_model())
    with pytest.raises(ValueError, match="runner: it runs another model"):
        make_engine(enable(make_model()), runner=EagerRunner(model))
