"""Asynchronous reasoning: think, write and listen at the same time."""

from hogwild.protocols.async_reasoning.arrangement import Arrangement
from hogwild.protocols.async_reasoning.inbox import Inbox
from hogwild.protocols.async_reasoning.methods import METHODS, make_thinking
from hogwild.protocols.async_reasoning.modes import (
    FOLDING,
    THINKER_AND_WRITER,
    THINKER_ONLY,
    WAITING,
    WRITER_ONLY,
)
from hogwild.protocols.async_reasoning.policies import POLICIES, Policy, make_policy
from hogwild.protocols.async_reasoning.protocol import AsyncReasoningProtocol
from hogwild.protocols.async_reasoning.result import ThinkResult
from hogwild.protocols.async_reasoning.safety import Safety
from hogwild.protocols.async_reasoning.session import ThinkSession
from hogwild.protocols.async_reasoning.state import protocol_state, restore_protocol

__all__ = [
    "FOLDING",
    "METHODS",
    "POLICIES",
    "THINKER_AND_WRITER",
    "THINKER_ONLY",
    "WAITING",
    "WRITER_ONLY",
    "Arrangement",
    "AsyncReasoningProtocol",
    "Inbox",
    "Policy",
    "Safety",
    "ThinkResult",
    "ThinkSession",
    "make_policy",
    "make_thinking",
    "protocol_state",
    "restore_protocol",
]
