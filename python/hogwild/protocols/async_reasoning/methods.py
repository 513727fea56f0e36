"""Asynchronous reasoning and the two methods that it is compared with, by name."""

from __future__ import annotations

from typing import Any

from hogwild.errors import UnknownNameError
from hogwild.prompting import async_prompts, sequential_prompts
from hogwild.protocols.async_reasoning.policies import Policy
from hogwild.protocols.async_reasoning.protocol import AsyncReasoningProtocol

METHODS = ("async", "think", "no-think")


def make_thinking(
    problem: str,
    tokenizer: Any,
    method: str = "async",
    policy: str | Policy | None = None,
    arrangement: str | None = None,
    **options: Any,
) -> AsyncReasoningProtocol:
    """The protocol of a method.

    The baselines are the same protocol with the plain prompt of the model's own chat format, in one stream:
    first all thoughts, then the answer ("think"), or the answer at once ("no-think"). So sampling, events and
    metrics are the same for all three, and the blocks of one stream behind each other are plain decoding.

    Args:
        problem: what the user asks.
        tokenizer: a Hugging Face tokenizer.
        method: one of `METHODS`.
        policy: for "async", by default "probe".
        arrangement: for "async", by default "roles".
        options: further arguments of `AsyncReasoningProtocol`.

    Raises:
        UnknownNameError: no such method.
        ValueError: a policy or an arrangement for a baseline, which has its own.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    if method == "async":
        arrangement = "roles" if arrangement is None else arrangement
        options["prompts"] = options.get("prompts") or async_prompts(tokenizer, arrangement)
        policy = "probe" if policy is None else policy
        return AsyncReasoningProtocol(problem, tokenizer, policy, arrangement=arrangement, **options)
    for name, value in (("policy", policy), ("arrangement", arrangement)):
        if value is not None:
            raise ValueError(
                f"{name}: the method {method!r} has one of its own, expected None, got {value!r}"
            )
    thinks = method == "think"
    options["prompts"] = options.get("prompts") or sequential_prompts(tokenizer, think=thinks)
    policy = "think-first" if thinks else "no-thinking"
    return AsyncReasoningProtocol(problem, tokenizer, policy, arrangement="shared", **options)
