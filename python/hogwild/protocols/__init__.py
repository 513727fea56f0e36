"""The methods that run on the engine, each a pure-Python state machine over tokens, blocks and text."""

from hogwild.protocols.answers import BudgetAnswer
from hogwild.protocols.async_reasoning import AsyncReasoningProtocol, ThinkResult, ThinkSession
from hogwild.protocols.budgeted import BudgetedProtocol
from hogwild.protocols.collaboration import CollaborationProtocol
from hogwild.protocols.engine import Engine
from hogwild.protocols.methods import Method, make, parse
from hogwild.protocols.result import CollaborationResult
from hogwild.protocols.skeleton import SkeletonProtocol
from hogwild.protocols.threads import SelfConsistencyProtocol, SequentialProtocol

__all__ = [
    "AsyncReasoningProtocol",
    "BudgetAnswer",
    "BudgetedProtocol",
    "CollaborationProtocol",
    "CollaborationResult",
    "Engine",
    "Method",
    "SelfConsistencyProtocol",
    "SequentialProtocol",
    "SkeletonProtocol",
    "ThinkResult",
    "ThinkSession",
    "make",
    "parse",
]
