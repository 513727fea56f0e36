"""One run of text behind a prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from hogwild.cache.view import ViewSpec
from hogwild.engine.detokenize import Detokenizer
from hogwild.engine.events import TokenEvent
from hogwild.engine.feed import Feed


class Thread:
    """A worker that sees a prompt and its own text, and nothing else.

    Args:
        worker: who writes it.
        start: token ids that its own block begins with, at least one: from the last of them it samples.
        prompt_block: name of the block before it, which threads may share.
        tokenizer: of the model.

    Attributes:
        block: name of its block.
        text: what was sampled.
        answer: the answer that it gave, or None; its protocol sets it.
        ended: whether it writes no more.
        pending: tokens that stand in no block yet.
    """

    def __init__(self, worker: str, start: Sequence[int], prompt_block: str, tokenizer: Any) -> None:
        self.worker, self.block = worker, f"thread:{worker}"
        self.view = ViewSpec((prompt_block, self.block), self.block)
        self.text = ""
        self.answer: str | None = None
        self.ended = False
        self.pending = tuple(start)
        self._detokenizer = Detokenizer(tokenizer)

    def feed(self) -> Feed:
        """What it writes next."""
        return Feed(self.worker, self.pending, self.view)

    def take(self, token: int, end_tokens: Collection[int]) -> TokenEvent:
        """Go on behind the sampled token; one that ends the text is never written."""
        piece = self._detokenizer.push(token)
        if token in end_tokens:
            self.ended, self.pending = True, ()
        else:
            self.text += piece
            self.pending = (token,)
        return TokenEvent(worker=self.worker, token=token, text=piece)
