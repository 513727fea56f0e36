"""Layers on several devices, as with `device_map`: pages, metadata and rotations are where each layer is.

The second device is PyTorch's "meta", which has shapes and no values, so most of these run everywhere.
"""

import pytest
import torch
from filled import ROTARY

from hogwild.cache import Block, ForwardPlan, Pool, Rotary, View
from hogwild.cache import pool as pool_module

CPU, META = torch.device("cpu"), torch.device("meta")


def test_each_layer_keeps_its_pages_on_its_own_device():
    pool = Pool(page_size=16)
    block, other = Block(pool), Block(pool)
    plan = ForwardPlan([(View([other, block]), [1, 2, 3]), (View([block, other]), [4])])
    k, v = torch.randn(4, 2, 8), torch.randn(4, 2, 6)
    for index, device in enumerate((CPU, META)):
        layer = pool.layer(index, k.to(device), v.to(device), ROTARY)
        meta = plan.metadata(device)
        assert {tensor.device for tensor in (layer.k, layer.v, *vars(meta).values())} == {device}
        torch.ops.hogwild.append(k.to(device), v.to(device), layer.k, layer.v, meta.slots)
        rotation = plan.rotation(ROTARY, device)
        assert rotation.device == device and rotation.shape[0] == 4
        assert plan.rotation(ROTARY, device) is rotation  # made once a forward for each device
    for name, tensor in vars(plan.metadata(CPU)).items():
        assert getattr(plan.metadata(META), name).shape == tensor.shape
    plan.commit()
    assert block.tokens == [1, 2, 3] and other.tokens == [4]
    pool.allocate(100)  # grows
    assert [layer.k.device for layer in pool.layers.values()] == [CPU, META]
    assert {layer.k.shape[0] for layer in pool.layers.values()} == {pool.num_pages}


def test_keys_move_on_every_device():
    pool = Pool(page_size=16)
    block, history = Block(pool), Block(pool)
    plan = ForwardPlan([(View([block]), [1, 2, 3])])
    for index, device in enumerate((CPU, META)):
        pool.layer(index, torch.zeros(3, 2, 8, device=device), torch.zeros(3, 2, 6, device=device), ROTARY)
    plan.commit()
    history.append_from(block, keep_other=False)
    assert history.tokens == [1, 2, 3] and block.tokens == []


def test_where_keys_move_is_told_once_to_each_device(monkeypatch):
    pool = Pool(page_size=16)
    block, history = Block(pool), Block(pool)
    plan = ForwardPlan([(View([block]), [1, 2, 3])])
    for index, device in enumerate((CPU, META, META, CPU)):
        pool.layer(index, torch.zeros(3, 2, 8, device=device), torch.zeros(3, 2, 6, device=device), ROTARY)
    plan.commit()
    sent = []

    def to_device(tensor, device):
        sent.append((tensor.tolist(), device))
        return tensor.to(device)

    monkeypatch.setattr(pool_module, "to_device", to_device)
    history.append_from(block)
    slots = [block.slots(0, 3).tolist(), history.slots(0, 3).tolist()]
    assert sent == [(slots, CPU), (slots, META)]


@pytest.mark.cuda
def test_the_host_does_not_wait_where_keys_move():
    pool, device = Pool(page_size=16), torch.device("cuda")
    rotary = Rotary((1.0 / 100 ** (torch.arange(32) / 32)).to(device))
    block, history = Block(pool), Block(pool)
    plan = ForwardPlan([(View([block]), [1, 2, 3])])
    for index in range(3):
        pool.layer(index, *torch.zeros(2, 3, 2, 64, device=device), rotary)
    plan.commit()
    history.append_from(block)  # pinned memory is allocated
    torch.cuda.set_sync_debug_mode("error")
    try:
        history.append_from(block)  # rotated
        pool.copy_page(block.pages[0], history.pages[0], 3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert history.tokens == [1, 2, 3] * 2
