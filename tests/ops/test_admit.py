"""hogwild::admit, and the CUDA graphs that it lets run."""

from __future__ import annotations

import random

import pytest
import torch

from hogwild_cuda import reference


def call(seed: int, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """Random arguments, with ids and classes out of range among them; half of the calls admit everything."""
    chance = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    count, classes, ids = chance.choice((0, 1, 2, 7, 33, 600)), chance.randint(1, 4), chance.randint(1, 500)
    plain = torch.rand(classes, ids, generator=generator) < 0.9
    plain[:, 0] = True
    tokens = torch.randint(0, ids, (count,), generator=generator)
    which = torch.randint(0, classes, (count,), dtype=torch.int32, generator=generator)
    if seed % 2:
        tokens[~plain[which.long(), tokens]] = 0
    elif count:
        tokens[chance.randrange(count)] = chance.choice((-1, -(2**40), ids, 2**40, 0))
        which[chance.randrange(count)] = chance.choice((-1, classes, 0))
    room = torch.full((count + chance.randint(0, 5),), -7)
    admitted = torch.tensor([9], dtype=torch.int32)
    return tuple(tensor.to(device) for tensor in (tokens, plain, which, room, admitted))


def test_equals_reference(device: str) -> None:
    found = set()
    for seed in range(200):
        expected, args = call(seed), call(seed, device)
        reference.admit(*expected)
        torch.ops.hogwild.admit(*args)
        for one, other in zip(args, expected, strict=True):
            assert torch.equal(one.cpu(), other)
        found.add(int(args[4]))
    assert found == {0, 1}


def test_no_token_is_nothing_to_refuse(device: str) -> None:
    args = [tensor.to(device) for tensor in call(1)]
    args[0], args[2] = args[0][:0], args[2][:0]
    torch.ops.hogwild.admit(*args)
    assert int(args[4]) == 1


def test_opcheck(device: str) -> None:
    torch.library.opcheck(torch.ops.hogwild.admit.default, call(3, device))


@pytest.mark.parametrize(
    ("index", "change", "error", "what"),
    [
        (0, lambda t: t.int(), TypeError, "tokens"),
        (0, lambda t: t[None], ValueError, "tokens"),
        (1, lambda t: t.int(), TypeError, "plain"),
        (1, lambda t: t[0], ValueError, "plain"),
        (1, lambda t: t.t(), ValueError, "plain"),
        (2, lambda t: t.long(), TypeError, "classes"),
        (2, lambda t: t[1:], ValueError, "classes"),
        (3, lambda t: t.int(), TypeError, "ids"),
        (3, lambda t: t[:1], ValueError, "ids has room for 1; expected at least"),
        (4, lambda t: t.bool(), TypeError, "admitted"),
        (4, lambda t: t.repeat(2), ValueError, "admitted"),
    ],
)
def test_bad_input(index, change, error, what, device: str) -> None:
    seed = next(seed for seed in range(100) if len(call(seed)[0]) > 2 and len(call(seed)[1]) > 1)
    args = list(call(seed, device))
    args[index] = change(args[index])
    before = args[3].clone()
    with pytest.raises(error, match=f"admit: {what}"):
        torch.ops.hogwild.admit(*args)
    assert torch.equal(args[3], before)


def test_ids_that_are_tokens(device: str) -> None:
    """Some tokens would be written over before they are read."""
    both = torch.arange(4, device=device)
    plain = torch.ones(1, 9, dtype=torch.bool, device=device)
    classes, admitted = torch.zeros(2, 3, dtype=torch.int32, device=device)
    with pytest.raises(
        ValueError, match=r"admit: ids is .* shares memory with tokens; expected memory of its own"
    ):
        torch.ops.hogwild.admit(both[:3], plain, classes, both[1:], admitted[:1])
    assert both.tolist() == [0, 1, 2, 3]


@pytest.mark.cuda
def test_a_graph_that_the_device_leaves_out() -> None:
    x = torch.zeros(1000, device="cuda")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph(keep_graph=True)
    with torch.cuda.graph(graph):
        x += 1
        x *= 2
    condition = torch.zeros(1, dtype=torch.int32, device="cuda")
    conditional = torch.classes.hogwild.ConditionalGraph(graph.raw_cuda_graph(), condition)
    expected = 0.0
    for turn in range(50):
        condition.fill_((0, 1, 0, -3, 7)[turn % 5])  # on the stream, like what is launched
        expected = (expected + 1) * 2 % 97 if turn % 5 in (1, 3, 4) else expected
        conditional.launch()
        x.remainder_(97)
        assert turn % 10 or x.unique().tolist() == [expected]
    assert x.unique().tolist() == [expected]


@pytest.mark.cuda
def test_a_conditional_graph_of_bad_input() -> None:
    make = torch.classes.hogwild.ConditionalGraph
    with pytest.raises((RuntimeError, TypeError, ValueError), match="body is 0"):
        make(0, torch.zeros(1, dtype=torch.int32, device="cuda"))
    with pytest.raises((RuntimeError, TypeError, ValueError), match="condition"):
        make(8, torch.zeros(2, dtype=torch.int32, device="cuda"))
    with pytest.raises((RuntimeError, TypeError, ValueError), match="CUDA device"):
        make(8, torch.zeros(1, dtype=torch.int32))
