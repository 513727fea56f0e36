"""What models are told, and how their text is read: prompts, headers, ends of steps, answers."""

from hogwild.prompting.answers import find_boxed
from hogwild.prompting.collaboration import collaboration_prompt, headers_for
from hogwild.prompting.headers import NAMES, Headers, join_names, worker_names
from hogwild.prompting.steps import SEPARATOR, StepDetector, StepRule
from hogwild.prompting.tokens import encode_after

__all__ = [
    "NAMES",
    "SEPARATOR",
    "Headers",
    "StepDetector",
    "StepRule",
    "collaboration_prompt",
    "encode_after",
    "find_boxed",
    "headers_for",
    "join_names",
    "worker_names",
]
