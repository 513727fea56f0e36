"""What models are told, and how their text is read: prompts, headers, ends of steps, answers."""

from hogwild.prompting.answers import ANSWER_FORMATS, AnswerFormat, answer_format, find_boxed
from hogwild.prompting.collaboration import PERSONS, collaboration_prompt, headers_for
from hogwild.prompting.family import Family, FamilyError, family_for, family_names, load_family
from hogwild.prompting.headers import NAMES, Headers, join_names, worker_names
from hogwild.prompting.solo import early_line, solo_prompt
from hogwild.prompting.steps import SEPARATOR, StepDetector, StepRule
from hogwild.prompting.tokens import encode_after

__all__ = [
    "ANSWER_FORMATS",
    "NAMES",
    "PERSONS",
    "SEPARATOR",
    "AnswerFormat",
    "Family",
    "FamilyError",
    "Headers",
    "StepDetector",
    "StepRule",
    "answer_format",
    "collaboration_prompt",
    "early_line",
    "encode_after",
    "family_for",
    "family_names",
    "find_boxed",
    "headers_for",
    "join_names",
    "load_family",
    "solo_prompt",
    "worker_names",
]
