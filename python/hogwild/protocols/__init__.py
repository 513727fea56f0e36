"""The methods that run on the engine, each a pure-Python state machine over tokens, blocks and text."""

from hogwild.protocols.async_reasoning import AsyncReasoningProtocol, ThinkResult, ThinkSession
from hogwild.protocols.collaboration import CollaborationProtocol
from hogwild.protocols.engine import Engine
from hogwild.protocols.result import CollaborationResult

__all__ = [
    "AsyncReasoningProtocol",
    "CollaborationProtocol",
    "CollaborationResult",
    "Engine",
    "ThinkResult",
    "ThinkSession",
]
