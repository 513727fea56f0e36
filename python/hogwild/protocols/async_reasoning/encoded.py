"""The fixed texts of a run as token ids."""

from __future__ import annotations

from typing import Any

from hogwild.prompting import AsyncPrompts, encode_inside, encode_template
from hogwild.protocols.async_reasoning.policies.base import Ask

# A stream goes on from these, so they must have a token.
_REQUIRED = (
    "thinker_prompt",
    "thoughts_opening",
    "answer_opening",
    "input_note",
    "interrupted",
    "interrupt_note",
    "refusal_note",
)


class EncodedPrompts:
    """Token ids of `AsyncPrompts`.

    Args:
        prompts: the texts.
        problem: the request.
        tokenizer: a Hugging Face tokenizer.

    Attributes:
        thinker_prompt, writer_prompt, input, thinker_split, writer_split: what the blocks of these names hold
            at first.
        thoughts_opening, answer_opening: what the streams begin with.
        yes_ids, no_ids: tokens that count as yes and as no.
        yes, no: an answer and what follows it, as they are written into a stream.
        closing: the token that ends the thoughts, if the model has one.
        forbidden: tokens that neither stream may sample.

    Raises:
        ValueError: a text that may not be empty is, or none of the words for yes (or no) is one token.
    """

    def __init__(self, prompts: AsyncPrompts, problem: str, tokenizer: Any) -> None:
        def encode(text: str) -> tuple[int, ...]:
            return tuple(encode_inside(tokenizer, text))

        def single(texts: tuple[str, ...]) -> tuple[int, ...]:
            ids = [encode(text) for text in texts if text]
            return tuple(dict.fromkeys(token[0] for token in ids if len(token) == 1))

        self.thinker_prompt = tuple(encode_template(tokenizer, prompts.thinker_prompt, problem))
        self.writer_prompt = tuple(encode_template(tokenizer, prompts.writer_prompt, problem))
        self.input = tuple(encode_template(tokenizer, prompts.input, problem))
        self.thinker_split, self.writer_split = encode(prompts.thinker_split), encode(prompts.writer_split)
        self.thoughts_opening = sum(map(encode, prompts.thoughts_opening), ())
        self.answer_opening = sum(map(encode, prompts.answer_opening), ())
        self.input_lead, self.input_note = encode(prompts.input_lead), encode(prompts.input_note)
        self.interrupted, self.interrupt_note = encode(prompts.interrupted), encode(prompts.interrupt_note)
        self.next_turn, self.separator = encode(prompts.next_turn), encode("\n\n")
        self.thoughts_tag, self.plain_reply = encode(prompts.thoughts_tag), encode(prompts.plain_reply)
        self.summary_question, self.refusal_note = (
            encode(prompts.summary_question),
            encode(prompts.refusal_note),
        )
        self.yes_ids, self.no_ids = single(prompts.yes_words), single(prompts.no_words)
        self.yes = encode(prompts.yes) + encode(prompts.answered)
        self.no = encode(prompts.no) + encode(prompts.answered)
        closing = single((prompts.end_think,))
        self.closing = closing[0] if closing else None
        self.forbidden = single(prompts.forbidden)
        self._questions = {
            ("begin", True): prompts.thinker_question,
            ("go on", True): prompts.writer_question,
            ("begin", False): prompts.probe_question,
            ("go on", False): prompts.probe_question,
            ("unsure", False): "",
            ("request", False): prompts.safety_question,
            ("answer", False): prompts.writing_question,
        }
        self._question_ids = {key: encode(text) for key, text in self._questions.items()}
        for name in _REQUIRED:
            if not getattr(self, name):
                raise ValueError(f"prompts: {name}: expected some text, got none")
        for name in ("yes", "no"):
            if not getattr(self, f"{name}_ids"):
                words = getattr(prompts, f"{name}_words")
                raise ValueError(
                    f"prompts: {name}_words: none of {list(words)} is one token of the tokenizer"
                )

    def question_text(self, ask: Ask) -> str:
        """The words of a question; empty for one that is not asked in words."""
        return self._questions[ask.question, ask.in_stream]

    def question(self, ask: Ask) -> tuple[int, ...]:
        """Its token ids."""
        return self._question_ids[ask.question, ask.in_stream]
