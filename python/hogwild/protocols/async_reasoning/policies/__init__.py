"""Switching policies: when the writer speaks and when it is silent. By name in `POLICIES`."""

from __future__ import annotations

import copy
from typing import Any

from hogwild.errors import UnknownNameError
from hogwild.protocols.async_reasoning.policies.base import (
    Answer,
    Ask,
    Decision,
    Moment,
    Pause,
    Policy,
    Speak,
)
from hogwild.protocols.async_reasoning.policies.entropy import EntropyPolicy
from hogwild.protocols.async_reasoning.policies.fixed import (
    AlwaysOnPolicy,
    FixedRatioPolicy,
    NoThinkingPolicy,
    ThinkFirstPolicy,
)
from hogwild.protocols.async_reasoning.policies.in_stream import InStreamPolicy
from hogwild.protocols.async_reasoning.policies.probe import ProbePolicy

POLICIES: dict[str, type[Policy]] = {
    policy.name: policy
    for policy in (
        InStreamPolicy,
        ProbePolicy,
        EntropyPolicy,
        FixedRatioPolicy,
        AlwaysOnPolicy,
        ThinkFirstPolicy,
        NoThinkingPolicy,
    )
}


def make_policy(policy: str | Policy = "probe", **settings: Any) -> Policy:
    """A policy of its own for one run.

    Args:
        policy: a name of `POLICIES`, or a policy, which is copied.
        settings: those of the named policy.

    Raises:
        UnknownNameError: no policy has this name.
        TypeError, ValueError: a setting that it does not have, or a value out of range.
    """
    if isinstance(policy, Policy):
        if settings:
            raise TypeError(f"policy: settings {sorted(settings)} need a policy's name, not a policy")
        return copy.deepcopy(policy)
    if policy not in POLICIES:
        raise UnknownNameError("policy", policy, POLICIES)
    cls = POLICIES[policy]
    known = cls().settings()
    if unknown := sorted(settings.keys() - known.keys()):
        raise TypeError(f"policy {policy!r}: it has no settings {unknown}; expected some of {sorted(known)}")
    return cls(**settings)


__all__ = [
    "POLICIES",
    "AlwaysOnPolicy",
    "Answer",
    "Ask",
    "Decision",
    "EntropyPolicy",
    "FixedRatioPolicy",
    "InStreamPolicy",
    "Moment",
    "NoThinkingPolicy",
    "Pause",
    "Policy",
    "ProbePolicy",
    "Speak",
    "ThinkFirstPolicy",
    "make_policy",
]
