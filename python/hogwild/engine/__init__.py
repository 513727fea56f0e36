"""The engine: packed forwards, sampling, sessions, and the events that come out of them.

Names are imported when they are first used, so that readers of events and traces need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hogwild.engine.core import EngineCore
    from hogwild.engine.events import (
        AnswerEvent,
        BudgetEvent,
        Event,
        FinishEvent,
        InputEvent,
        InterventionEvent,
        ModeEvent,
        ProbeEvent,
        RollbackEvent,
        StartEvent,
        StepEvent,
        TokenEvent,
    )
    from hogwild.engine.feed import Feed, Result
    from hogwild.engine.handle import Handle
    from hogwild.engine.protocol import Protocol
    from hogwild.engine.sampling import SamplingParams
    from hogwild.engine.session import Session
    from hogwild.engine.trace import TraceWriter, read_trace

_HOMES = {
    "EngineCore": "core",
    "Session": "session",
    "Protocol": "protocol",
    "Feed": "feed",
    "Result": "feed",
    "Handle": "handle",
    "SamplingParams": "sampling",
    "TraceWriter": "trace",
    "read_trace": "trace",
    "Event": "events",
    "StartEvent": "events",
    "TokenEvent": "events",
    "StepEvent": "events",
    "InterventionEvent": "events",
    "ModeEvent": "events",
    "InputEvent": "events",
    "RollbackEvent": "events",
    "ProbeEvent": "events",
    "AnswerEvent": "events",
    "BudgetEvent": "events",
    "FinishEvent": "events",
}

__all__ = [
    "AnswerEvent",
    "BudgetEvent",
    "EngineCore",
    "Event",
    "Feed",
    "FinishEvent",
    "Handle",
    "InputEvent",
    "InterventionEvent",
    "ModeEvent",
    "ProbeEvent",
    "Protocol",
    "Result",
    "RollbackEvent",
    "SamplingParams",
    "Session",
    "StartEvent",
    "StepEvent",
    "TokenEvent",
    "TraceWriter",
    "read_trace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
