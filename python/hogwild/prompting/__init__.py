"""What models are told, and how their text is read: prompts, headers, ends of steps, answers."""

from hogwild.prompting.answers import ANSWER_FORMATS, AnswerFormat, answer_format
from hogwild.prompting.asynchronous import ARRANGEMENTS, AsyncPrompts, async_prompts, sequential_prompts
from hogwild.prompting.boxes import find_boxed
from hogwild.prompting.chat_format import ChatFormat, chat_format
from hogwild.prompting.collaboration import PERSONS, collaboration_prompt, headers_for
from hogwild.prompting.family import Family, FamilyError, family_for, family_names, load_family
from hogwild.prompting.headers import NAMES, Headers, join_names, worker_names
from hogwild.prompting.plain import (
    control_tokens,
    encode_filled,
    encode_inside,
    encode_plain,
    encode_template,
)
from hogwild.prompting.sentences import ends_sentence
from hogwild.prompting.solo import early_line, solo_prompt
from hogwild.prompting.steps import SEPARATOR, StepDetector, StepRule
from hogwild.prompting.tokens import AfterEncoder, encode_after

__all__ = [
    "ANSWER_FORMATS",
    "ARRANGEMENTS",
    "NAMES",
    "PERSONS",
    "SEPARATOR",
    "AfterEncoder",
    "AnswerFormat",
    "AsyncPrompts",
    "ChatFormat",
    "Family",
    "FamilyError",
    "Headers",
    "StepDetector",
    "StepRule",
    "answer_format",
    "async_prompts",
    "chat_format",
    "collaboration_prompt",
    "control_tokens",
    "early_line",
    "encode_after",
    "encode_filled",
    "encode_inside",
    "encode_plain",
    "encode_template",
    "ends_sentence",
    "family_for",
    "family_names",
    "find_boxed",
    "headers_for",
    "join_names",
    "load_family",
    "sequential_prompts",
    "solo_prompt",
    "worker_names",
]
