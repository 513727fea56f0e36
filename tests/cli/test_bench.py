"""`hogwild bench`: what it measures, what it says, and what it refuses."""

from __future__ import annotations

import json

import pytest

from hogwild.cli import app
from hogwild.cli.bench import BenchRequest, _integers
from hogwild.cli.solve import COMPILE_MODES
from hogwild.measure import shapes
from hogwild.measure.decode import DecodeTime, tokens_needed
from hogwild.measure.tables import seconds_to_generate, table_1, table_2, table_of_parts
from hogwild.measure.words import explain
from hogwild.models import compiled

TINY = {
    **shapes.SHAPES["qwen3-0.6b"],
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(shapes.SHAPES, "tiny", TINY)
    return ["bench", "--model", "tiny", "--device", "cpu", "--dtype", "float32", "--forwards", "3"]


def test_tables_and_words(tiny, capsys):
    assert app.run([*tiny, "--workers", "1,2", "--contexts", "64,512"]) == 0
    out, err = capsys.readouterr()
    for title in (
        "tokens per second",
        "latency per forward (ms)",
        "time to generate # tokens (s)",
        "setup (x 1)",
    ):
        assert title in out
    assert "With 2 workers on 512 tokens a forward takes" in out and "limit" in out
    assert err.count("ms a forward") == 4


def test_json_of_several_sessions(tiny, capsys):
    arguments = ["--workers", "2", "--contexts", "64", "--sessions", "3", "--compile", "none", "--json"]
    assert app.run([*tiny, *arguments]) == 0
    facts = json.loads(capsys.readouterr().out)
    (row,) = facts["rows"]
    assert (row["workers"], row["context"], row["sessions"], row["captured"]) == (2, 64, 3, False)
    assert row["us"] >= row["model_us"] > 0 and row["setup_us"] == pytest.approx(row["us"] - row["model_us"])
    weights = (
        64 * (2 * 4 * 32 + 2 * 2 * 32) + 3 * 64 * 96
    )  # of a layer: q and o, k and v, gate and up and down
    assert row["weight_bytes"] == 4 * (2 * weights + 300 * 64)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "1,x"], "--workers: expected whole numbers from 1 on"),
        (["--contexts", "0"], "--contexts: expected whole numbers"),
        (["--forwards", "0"], "--forwards: expected at least 1, got 0"),
        (["--sessions", "-1"], "--sessions: expected at least 1, got -1"),
        (["--compile", "all"], "--compile: expected one of none, layers, model"),
        (["--dtype", "int8"], "dtype: expected one of"),
    ],
)
def test_bad_requests(tiny, arguments, said, capsys):
    assert app.run([*tiny, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_contexts_that_the_model_does_not_have(tiny, monkeypatch, capsys):
    model = shapes.random_model("tiny", "cpu")
    model.config.max_position_embeddings = 256
    monkeypatch.setattr(shapes, "random_model", lambda *_, **__: model)
    assert app.run([*tiny, "--contexts", "4096"]) == 2
    err = capsys.readouterr().err
    assert "left out: context 4,096: the model has 256 positions" in err and "none of them fits" in err


def test_lists_of_modes_agree():
    assert COMPILE_MODES == compiled.COMPILE_MODES
    assert BenchRequest().compile is None and _integers("--workers", "1, 2_0") == [1, 20]


def time_of(workers, context, us, floor_us=4000.0, **parts):
    return DecodeTime(
        workers=workers, context=context, sessions=1, us=us, model_us=us - 200, floor_us=floor_us,
        weight_bytes=10**10, **parts,
    )  # fmt: skip


def test_time_to_generate_is_the_sum_over_a_growing_context():
    times = [time_of(1, 1000, 10_000.0), time_of(1, 2000, 20_000.0), time_of(2, 1000, 10_000.0)]
    assert seconds_to_generate(times, 1, 1000) == pytest.approx(10)
    assert seconds_to_generate(times, 1, 2000) == pytest.approx(10 + 15)
    assert seconds_to_generate(times, 1, 3000) == pytest.approx(10 + 15 + 20)
    assert seconds_to_generate(times, 2, 500) == pytest.approx(2.5)


def test_tables_by_hand():
    profiled = {"attention_us": 360.0, "append_us": 40.0, "products_us": 4000.0, "other_us": 500.0}
    times = [time_of(1, 1024, 5000.0, **profiled), time_of(4, 1024, 5500.0)]
    lines = table_1(times).splitlines()
    assert [line.split() for line in lines[2:4]] == [["1", "200.0"], ["4", "727.3"]]
    assert table_2(times, layers=4).splitlines()[-1].split() == ["1,024", "100.0", "200", "200"]
    assert table_of_parts(times, [{"HF eager": 70_000.0}, {}]).splitlines()[1].split()[-1] == "70.000"
    words = explain(times[:1])
    assert "reading the weights limits it" in words[0] and "1.25 times" in words[1]
    assert "4 write 3.64 times that" in " ".join(explain(times))


def test_words_tell_the_weights_from_the_rows():
    one = time_of(1, 1024, 5000.0)
    assert "more workers cost next to nothing" in explain([one, time_of(4, 1024, 5500.0)])[0]
    slower = explain([one, time_of(2, 1024, 9000.0, floor_us=8000.0)])[0]
    assert "they take 2.00 times as long as with 1 worker, a smaller dtype" in slower
    assert "more workers" not in slower + explain([one])[0] + explain([time_of(4, 1024, 5500.0)])[0]


def test_pages_that_are_needed():
    # a history of 100 tokens, two headers, and a block of 20 + 10 + 6 tokens for each worker, in pages of 32
    assert tokens_needed(2, 100, 10) == 128 + 2 * 32 + 2 * 160  # 20 tokens, 10 forwards and those before them
    assert tokens_needed(2, 100, 10, sessions=3) == 3 * tokens_needed(2, 100, 10)
