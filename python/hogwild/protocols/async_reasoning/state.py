"""A run of asynchronous reasoning as JSON values, and back: for forks and snapshots in the middle of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from hogwild.engine.sampling import SamplingParams
from hogwild.prompting import AsyncPrompts, StepRule
from hogwild.protocols.async_reasoning.inbox import Cancel, Finish, Interrupt, Message, Push
from hogwild.protocols.async_reasoning.modes import THINKER, WRITER
from hogwild.protocols.async_reasoning.policies import Policy, make_policy
from hogwild.protocols.async_reasoning.protocol import AsyncReasoningProtocol
from hogwild.protocols.async_reasoning.safety import Safety

_OPTIONS = (
    "max_forwards",
    "max_thoughts",
    "turns",
    "earlier_thoughts",
    "summary_tokens",
    "hold_after_interrupt",
)
_OTHER_MESSAGES: dict[str, Callable[..., Message]] = {
    "Interrupt": Interrupt,
    "Finish": Finish,
    "Cancel": Cancel,
}


def protocol_state(protocol: AsyncReasoningProtocol) -> dict[str, Any]:
    """Everything that `restore_protocol` needs beside the blocks and the tokenizer.

    Take it between forwards, when all that was fed is written. What came from outside and was not heard yet
    is part of it.
    """
    return {
        "problem": protocol.problem,
        "arrangement": protocol.arrangement.name,
        "prompts": asdict(protocol.prompts),
        "policy": [protocol.policy.name, protocol.policy.settings(), protocol.policy.state()],
        "safety": None if protocol.safety is None else protocol.safety.to_dict(),
        "rule": asdict(protocol._rule),
        "end_tokens": sorted(protocol._end_tokens),
        "samplings": [protocol._samplings[worker].to_dict() for worker in (THINKER, WRITER)],
        "options": {name: getattr(protocol, name) for name in _OPTIONS},
        "streams": protocol._streams.to_dict(),
        "switch": protocol._switch.to_dict(),
        "conversation": protocol._conversation.to_dict(),
        "deferred": [asdict(push) for push in protocol._hearing.deferred],
        "inbox": [[type(message).__name__, asdict(message)] for message in protocol.inbox.peek()],
    }


def restore_protocol(
    state: dict[str, Any],
    tokenizer: Any,
    seed: int | None = None,
    policy: Policy | None = None,
    max_length: int | None = None,
) -> AsyncReasoningProtocol:
    """A protocol that goes on where `state` was taken, once its blocks hold what they held then: see `resume`.

    Args:
        state: from `protocol_state`.
        tokenizer: that of the same model.
        seed: for other random draws from here on; None: the same.
        policy: one like that of `state`; None: made by its name, which is one of `POLICIES`.
        max_length: see `AsyncReasoningProtocol`; that of the engine that it goes on with.

    Raises:
        UnknownNameError: no policy has the name.
    """
    samplings = [SamplingParams(**settings) for settings in state["samplings"]]
    if seed is not None:
        samplings = [replace(sampling, seed=seed) for sampling in samplings]
    name, settings, policy_state = state["policy"]
    protocol = AsyncReasoningProtocol(
        state["problem"],
        tokenizer,
        make_policy(name, **settings) if policy is None else policy,
        arrangement=state["arrangement"],
        prompts=_prompts(state["prompts"]),
        sampling=samplings[0],
        writer_sampling=samplings[1],
        end_tokens=state["end_tokens"],
        rule=StepRule(**state["rule"]),
        safety=None if state["safety"] is None else Safety(**state["safety"]),
        max_length=max_length,
        **state["options"],
    )
    protocol.policy.load_state(policy_state)
    protocol._streams.load_dict(state["streams"])
    protocol._switch.load_dict(state["switch"])
    protocol._conversation.load_dict(state["conversation"])
    protocol._hearing.deferred = [_push(values) for values in state["deferred"]]
    for kind, values in state["inbox"]:
        protocol.inbox.put(_push(values) if kind == "Push" else _OTHER_MESSAGES[kind](**values))
    protocol._restored = True
    return protocol


def _push(values: dict[str, Any]) -> Push:
    return Push(**{**values, "tokens": tuple(values["tokens"])})


def _prompts(values: dict[str, Any]) -> AsyncPrompts:
    texts: dict[str, Any] = {
        name: value if isinstance(value, str) else tuple(value) for name, value in values.items()
    }
    return AsyncPrompts(**texts)
