"""Layouts: who sees what in which order (paper, Figure 8 and Appendix A)."""

from __future__ import annotations

import pytest

from hogwild.cache import ViewSpec, make_layout
from hogwild.errors import BlockError, UnknownNameError

ABC = ("a", "b", "c")


def test_combined():
    layout = make_layout("combined", ABC)
    assert layout.view("b").blocks == (
        "history",
        "header_others",
        "worker:a",
        "worker:c",
        "header_own",
        "worker:b",
    )
    assert layout.moves_finished_steps
    assert [s.blocks for s in layout.sections] == [
        ("history", "header_others"),
        ("history", "header_others", "header_own"),
    ]


def test_contiguous():
    layout = make_layout("contiguous", ABC)
    assert layout.view("a").blocks == ("history", "worker:b", "worker:c", "worker:a")
    assert layout.view("c").blocks == ("history", "worker:a", "worker:b", "worker:c")
    assert not layout.moves_finished_steps and layout.sections == ()


def test_interleaved():
    layout = make_layout("interleaved", ABC)
    assert layout.view("b").blocks == ("history", "worker:b")
    assert layout.moves_finished_steps


@pytest.mark.parametrize("name", ["combined", "contiguous", "interleaved"])
@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_every_layout(name, count):
    workers = [f"w{i}" for i in range(count)]
    layout = make_layout(name, workers)
    for worker in workers:
        view = layout.view(worker)
        assert view.write_to == layout.step_block(worker) == view.blocks[-1]
        assert set(view.blocks) <= set(layout.block_names)
        others = [layout.step_block(w) for w in workers if w != worker]
        assert [b for b in view.blocks if b in others] == ([] if name == "interleaved" else others)
        if count == 1:
            assert "header_others" not in view.blocks
    assert len(set(layout.block_names)) == len(layout.block_names)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="unknown layout 'tree'; expected one of: combined"):
        make_layout("tree", ABC)
    with pytest.raises(UnknownNameError, match="unknown worker 'z'; expected one of: a, b, c"):
        make_layout("combined", ABC).view("z")


@pytest.mark.parametrize("workers", [[], ["a", ""], ["a", "a"], [1]])
def test_bad_workers(workers):
    with pytest.raises(BlockError, match="workers: expected"):
        make_layout("combined", workers)


def test_view_spec_needs_its_target():
    with pytest.raises(BlockError, match="write_to='c' is not in the view"):
        ViewSpec(("a", "b"), "c")
