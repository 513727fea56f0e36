"""Protocols that say after which tokens they go on, and engines with forwards that are launched ahead and without."""

import torch
from tiny import PROMPT, Writers, contents, make_engine, make_model

from hogwild.cache.reservation import slots_of
from hogwild.models import enable
from runners import runner_of

ANY = torch.ones(1000, dtype=torch.bool)
SOME = ANY[:40].clone()


class Plain(Writers):
    """Says that it goes on, but for its last token."""

    def plain_tokens(self):
        return ANY if len(self.said["w0"]) + 1 < self._count else None


class Stubborn(Writers):
    """Says that it goes on, always."""

    def plain_tokens(self):
        return ANY


def plain(count=20, kind=Plain, **options):
    return kind(PROMPT, [(5,), (11,)], count=count, **options)


def make(busy=True, device="cpu", **options):
    """An engine whose forwards are launched ahead, or not."""
    model = enable(make_model().to(device))
    return make_engine(model, runner=runner_of(model, busy), **options)


def both(**options):
    return make(**options), make(busy=False, **options)


def story(told):
    """Events without their times."""
    return [[{**vars(event), "time": 0, "seconds": 0} for event in events] for _, events in told]


def assert_same(mine, other):
    assert mine.protocol.said == other.protocol.said and mine.finished == other.finished
    assert repr(mine.error) == repr(other.error)
    assert (mine.forwards, mine.tokens) == (other.forwards, other.tokens)
    if not mine.closed:
        assert contents(mine) == contents(other)
        assert mine.sampler_states() == other.sampler_states()


def written(session):
    """Keys and values of all blocks, layer by layer: [tokens, heads, head_dim] each."""
    found = []
    for name in session.blocks.names():
        block = session.blocks[name]
        slots = slots_of(block.pages, block.pool.page_size, 0, len(block))
        for layer in block.pool.layers.values():
            for pages in (layer.k, layer.v):
                found.append(pages.transpose(1, 2).flatten(0, 1)[slots.to(pages.device)].cpu())
    return found
