"""Forward plans: the integers of the one equation, and that nothing is left behind when a forward fails."""

from __future__ import annotations

import numpy
import pytest
import torch
from filled import contents, same, write

from hogwild.cache import Block, ForwardPlan, Pool, View
from hogwild.errors import BlockError, PoolExhausted


@pytest.fixture
def pool():
    return Pool(page_size=16, max_tokens=256)


def block(pool, length, name=""):
    result = Block(pool, name)
    if length:
        write(result, list(range(length)), seed=length)
    return result


def test_two_workers_by_hand(pool):
    common, alice, bob = block(pool, 10, "common"), block(pool, 4, "alice"), block(pool, 2, "bob")
    plan = ForwardPlan([(View([common, bob, alice]), [50]), (View([common, alice, bob]), [60, 61, 62])])
    meta = plan.metadata(torch.device("cpu"))
    # in this forward alice becomes 5 long, bob 5: both views hold 20 tokens
    assert meta.block_lens.tolist() == [10, 5, 5]  # common, bob, alice: in order of appearance
    assert meta.query_pos.tolist() == [[19, 9, 4], [17, 2, 7], [18, 3, 8], [19, 4, 9]]
    assert meta.rotary_pos.tolist() == [4, 2, 3, 4]
    assert meta.own_block.tolist() == [2, 1, 1, 1]
    assert (meta.group_tokens.tolist(), meta.group_blocks.tolist()) == ([0, 4], [0, 3])
    assert plan.input_ids.tolist() == [[50, 60, 61, 62]]
    assert plan.position_ids.tolist() == [[4, 2, 3, 4]]
    assert (plan.last_rows, plan.view_lengths) == ([0, 3], [20, 20])
    plan.commit()
    assert alice.tokens == [0, 1, 2, 3, 50] and bob.tokens == [0, 1, 60, 61, 62]


def test_write_block_in_the_middle(pool):
    first, middle, last = block(pool, 6), block(pool, 3), block(pool, 5)
    plan = ForwardPlan([(View([first, middle, last], middle), [1, 2])])
    meta = plan.metadata(torch.device("cpu"))
    assert meta.query_pos.tolist() == [[14, 8, 3], [15, 9, 4]]  # the query stands at the end of the view
    assert meta.rotary_pos.tolist() == [3, 4]
    assert meta.own_block.tolist() == [1, 1]
    plan.rollback()


def test_sessions_without_common_blocks_are_groups(pool):
    a, b, c = (block(pool, n) for n in (3, 0, 5))
    plan = ForwardPlan([(View([a]), [1]), (View([b]), [2, 3]), (View([c]), [4])])
    meta = plan.metadata(torch.device("cpu"))
    assert meta.group_tokens.tolist() == [0, 1, 3, 4]
    assert meta.group_blocks.tolist() == [0, 1, 2, 3]
    assert meta.query_pos.tolist() == [[3], [0], [1], [5]]
    plan.rollback()


def test_left_padding(pool):
    a, b = block(pool, 2), block(pool, 0)
    plan = ForwardPlan([(View([a]), [1]), (View([b]), [2, 3, 4])], width=3)
    meta = plan.metadata(torch.device("cpu"))
    assert meta.slots.tolist()[:2] == [-1, -1] and meta.slots.min() == -1 and (meta.slots[2:] >= 0).all()
    assert meta.query_pos[:2].eq(-1).all() and meta.own_block.tolist()[:2] == [-1, -1]
    assert plan.position_ids.tolist() == [[0, 0, 2], [0, 1, 2]]
    assert plan.last_rows == [2, 5]
    plan.rollback()


def test_rollback_and_commit_of_some_rows(pool):
    a, b = block(pool, 17, "a"), block(pool, 3, "b")
    twin = a.fork()
    before, free = contents(a), pool.free_pages
    plan = ForwardPlan([(View([a]), [1]), (View([b]), [2] * 20)])
    assert pool.free_pages < free
    plan.rollback()
    plan.rollback()
    assert (pool.free_pages, len(a), len(b)) == (free, 17, 3)
    assert same(contents(a), before) and same(contents(twin), before)
    plan = ForwardPlan([(View([a]), [1]), (View([b]), [2] * 20)])
    plan.commit(rows=[1])
    assert (len(a), len(b)) == (17, 23)
    with pytest.raises(RuntimeError, match="committed or rolled back"):
        plan.commit()


def test_blocks_that_change_under_an_open_plan(pool):
    """Committing would put freed pages back, or drop tokens: it is refused, and nothing leaks."""
    a, b = block(pool, 20, "a"), block(pool, 20, "b")
    for change in (lambda: a.crop(3), lambda: ForwardPlan([(View([a]), [5])]).commit()):
        plan = ForwardPlan([(View([b]), [7]), (View([a, b], a), [6] * 20)])
        change()
        before = (a.tokens.copy(), len(b))
        with pytest.raises(BlockError, match=r"Block\(a, .* was changed while a forward was writing"):
            plan.commit()
        plan.rollback()
        assert (a.tokens, len(b)) == before
        assert pool.used_pages == len(a.pages) + len(b.pages)
    a.clear()
    b.clear()
    assert pool.is_empty and pool.used_pages == 0


def test_pool_exhausted_names_pages_and_reserves_nothing(pool):
    a, b = block(pool, 100), block(pool, 100)
    free = pool.free_pages
    with pytest.raises(PoolExhausted, match=f"4 pages of 16 tokens needed, {free} free"):
        ForwardPlan([(View([a]), [1] * 40), (View([b]), [1] * 40)])
    assert (pool.free_pages, len(a), len(b)) == (free, 100, 100)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda a, b, other: [], "at least one row"),
        (lambda a, b, other: [(View([a]), [])], r"rows\[0\]: expected at least one token"),
        (lambda a, b, other: [(View([a]), [1]), (View([b, a]), [1])], "both write to Block"),
        (lambda a, b, other: [(View([a]), [1]), (View([other]), [1])], r"rows\[1\].*another pool"),
        (lambda a, b, other: [(View([]), [1])], "at least one block"),
        (lambda a, b, other: [(View([a, b, a]), [1])], "once in a view"),
        (lambda a, b, other: [(View([a], b), [1])], "write_to.*not among the blocks"),
        (lambda a, b, other: [(View([a, other]), [1])], "two pools"),
    ],
)
def test_bad_rows(pool, rows, message):
    a, b = block(pool, 1, "a"), block(pool, 1, "b")
    free = pool.free_pages
    with pytest.raises(BlockError, match=message):
        ForwardPlan(rows(a, b, Block(Pool())))
    assert pool.free_pages == free and len(a) == 1


@pytest.mark.parametrize("tokens", ["abc", b"abc", True, 1.5, None, iter([1])])
def test_what_is_no_tokens(pool, tokens):
    a = block(pool, 1, "a")
    with pytest.raises(TypeError, match=r"rows\[0\]: expected token ids or their number, got"):
        ForwardPlan([(View([a]), tokens)])
    assert len(a) == 1 and pool.used_pages == 1


def test_a_row_named_twice_commits_no_other(pool):
    first, second = block(pool, 3), block(pool, 5)
    ForwardPlan([(View([first]), [7]), (View([second]), [8])]).commit([0, 0])
    assert (len(first), len(second)) == (4, 5)


@pytest.mark.parametrize("rows", [[1], [-1], [0, 1]])
def test_rows_that_are_not_there_cannot_be_committed(pool, rows):
    a = block(pool, 1, "a")
    plan = ForwardPlan([(View([a]), [1])])
    with pytest.raises(ValueError, match="rows: expected indices from 0 to 0"):
        plan.commit(rows)
    plan.commit([0])
    assert len(a) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k.to("meta"), r"expected .*device\(type='cpu'\)\) as this pool holds, got .*type='meta'"),
        (lambda k: k.half(), r"expected .*torch.float32.* as this pool holds, got .*torch.float16"),
        (lambda k: k[:, :1], r"key of layer 0: expected .*\(2, 8, .* got \(1, 8, "),
    ],
)
def test_keys_of_another_device_dtype_or_shape(pool, change, message):
    a = block(pool, 3)
    before = contents(a)
    k = torch.zeros(1, 2, 8)
    with pytest.raises(BlockError, match=message):
        pool.layer(0, change(k), k, pool.layers[0].rotary)
    assert same(contents(a), before)


@pytest.mark.parametrize("tokens", [[5, 6], (5, 6), range(5, 7), torch.tensor([5, 6]), numpy.array([5, 6])])
def test_ids_of_any_kind_are_kept_as_integers(pool, tokens):
    own = Block(pool)
    ForwardPlan([(View([own]), tokens)]).commit()
    assert own.tokens == [5, 6] and {type(token) for token in own.tokens} == {int}


@pytest.mark.parametrize(
    "rows, error, message",
    [
        (lambda view: [(view, [5.0])], TypeError, r"rows\[0\]: expected token ids .*, got \[5.0\]"),
        (lambda view: [(view, {5, 6})], TypeError, r"rows\[0\]: expected token ids .*, got \{5, 6\}"),
        (lambda view: [(view, {5: 6})], TypeError, r"rows\[0\]: expected token ids"),
        (lambda view: [(view, [[5]])], TypeError, r"rows\[0\]: expected token ids"),
        (lambda view: [(view, [5, -3])], ValueError, r"rows\[0\]: expected token ids of 0 or more, got -3"),
        (lambda view: [(view, [5], 3)], TypeError, r"rows\[0\]: expected a view and its token ids"),
        (lambda view: None, TypeError, r"rows: expected pairs of a view and its token ids, got None"),
    ],
)
def test_rows_that_are_none(pool, rows, error, message):
    own = Block(pool)
    with pytest.raises(error, match=message):
        ForwardPlan(rows(View([own])))
    with pytest.raises(TypeError, match="width: expected an integer or None, got 'x'"):
        ForwardPlan([(View([own]), [5])], width="x")
    assert pool.used_pages == 0


@pytest.mark.parametrize("blocks", [None, 5])
def test_views_of_nothing(blocks, pool):
    with pytest.raises(TypeError, match=r"blocks: expected Block objects, got"):
        View(blocks)
    with pytest.raises(TypeError, match=r"blocks: expected Block objects, got Block"):
        View(Block(pool))
