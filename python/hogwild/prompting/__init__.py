"""What models are told, and how their text is read: prompts, headers, ends of steps, answers."""

from hogwild.prompting.answers import find_boxed
from hogwild.prompting.asynchronous import ARRANGEMENTS, AsyncPrompts, async_prompts, sequential_prompts
from hogwild.prompting.chat_format import ChatFormat, chat_format
from hogwild.prompting.collaboration import collaboration_prompt, headers_for
from hogwild.prompting.headers import NAMES, Headers, join_names, worker_names
from hogwild.prompting.plain import control_tokens, encode_inside, encode_plain, encode_template
from hogwild.prompting.sentences import ends_sentence
from hogwild.prompting.steps import SEPARATOR, StepDetector, StepRule
from hogwild.prompting.tokens import encode_after

__all__ = [
    "ARRANGEMENTS",
    "NAMES",
    "SEPARATOR",
    "AsyncPrompts",
    "ChatFormat",
    "Headers",
    "StepDetector",
    "StepRule",
    "async_prompts",
    "chat_format",
    "collaboration_prompt",
    "control_tokens",
    "encode_after",
    "encode_inside",
    "encode_plain",
    "encode_template",
    "ends_sentence",
    "find_boxed",
    "headers_for",
    "join_names",
    "sequential_prompts",
    "worker_names",
]
