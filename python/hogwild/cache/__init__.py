"""The shared cache: a pool of pages, blocks, views and layouts, and the plan of a forward over them."""

import hogwild_cuda  # noqa: F401  (registers torch.ops.hogwild)
from hogwild.cache.ahead import Ahead
from hogwild.cache.block import Block
from hogwild.cache.guests import PlanWithGuests
from hogwild.cache.inputs import MOST_ROWS, ForwardInputs, Metadata
from hogwild.cache.integers import Integers, Sizes
from hogwild.cache.layer import LayerCache
from hogwild.cache.layouts import (
    LAYOUTS,
    CombinedLayout,
    ContiguousLayout,
    InterleavedLayout,
    Layout,
    make_layout,
)
from hogwild.cache.parking import Parked, Parking
from hogwild.cache.plan import ForwardPlan
from hogwild.cache.pool import PAGE_SIZE, Pool
from hogwild.cache.reservation import UNKNOWN_TOKEN
from hogwild.cache.rotary import Rotary
from hogwild.cache.snapshot import load_blocks, read_note, save_blocks
from hogwild.cache.store import BlockSet, BlockStore
from hogwild.cache.transfer import to_device
from hogwild.cache.view import View, ViewSpec

__all__ = [
    "LAYOUTS",
    "MOST_ROWS",
    "PAGE_SIZE",
    "UNKNOWN_TOKEN",
    "Ahead",
    "Block",
    "BlockSet",
    "BlockStore",
    "CombinedLayout",
    "ContiguousLayout",
    "ForwardInputs",
    "ForwardPlan",
    "Integers",
    "InterleavedLayout",
    "LayerCache",
    "Layout",
    "Metadata",
    "Parked",
    "Parking",
    "PlanWithGuests",
    "Pool",
    "Rotary",
    "Sizes",
    "View",
    "ViewSpec",
    "load_blocks",
    "make_layout",
    "read_note",
    "save_blocks",
    "to_device",
]
