"""The fixed texts of a model's chat format, read off its template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_USER, _REPLY, _NEXT = "Bodensee", "Vierwald", "Langensee"  # stand for turns in the template
_TAGS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>"))


@dataclass(frozen=True)
class ChatFormat:
    """What stands around the turns of a conversation.

    Attributes:
        user: opens the first turn of the user.
        reply: closes a user's turn and opens the model's.
        next_user: closes a turn of the model and opens the user's next one.
        think, end_think: the tags around a model's private thoughts; empty for models without such.
    """

    user: str = ""
    reply: str = "\n\n"
    next_user: str = "\n\n"
    think: str = ""
    end_think: str = ""

    @property
    def is_chat(self) -> bool:
        """Whether the model was taught a chat format at all."""
        return bool(self.user)


def chat_format(tokenizer: Any) -> ChatFormat:
    """The format of this tokenizer's model; without a chat template, blank lines.

    Raises:
        ValueError: the template changes the texts that are put into it, or cannot hold a conversation.
    """
    if not getattr(tokenizer, "chat_template", None):
        return ChatFormat(user=getattr(tokenizer, "bos_token", None) or "")
    turns = [{"role": "user", "content": _USER}, {"role": "assistant", "content": _REPLY}]
    turns.append({"role": "user", "content": _NEXT})
    first = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    if first.count(_USER) != 1 or any(whole.count(word) != 1 for word in (_USER, _REPLY, _NEXT)):
        raise ValueError(
            "tokenizer: its chat template does not write the turns of a conversation as they are"
        )
    user, _, reply = first.partition(_USER)
    next_user = whole.partition(_REPLY)[2].partition(_NEXT)[0]
    tags = next((pair for pair in _TAGS if all(_is_one_token(tokenizer, tag) for tag in pair)), ("", ""))
    if tags[0]:
        reply = reply.partition(tags[0])[0]  # some templates open the thoughts themselves
    return ChatFormat(user, reply, next_user, *tags)


def _is_one_token(tokenizer: Any, text: str) -> bool:
    return len(tokenizer.encode(text, add_special_tokens=False)) == 1
