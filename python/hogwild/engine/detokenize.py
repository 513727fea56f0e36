"""Text from tokens one at a time."""

from __future__ import annotations

from typing import Any

from tokenizers.decoders import DecodeStream

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Turns one worker's tokens into text as they come; special tokens have no text.

    A character that is spread over several tokens comes out with the last of them, and a token is decoded
    next to its neighbours, so that spaces at the edges of tokens are right with every kind of tokenizer.
    Bytes that make no character come out as replacement characters, with the next token that has a text.

    Args:
        tokenizer: a Hugging Face tokenizer. Those of the `tokenizers` library decode in native code; others
            by the `decode` method.
    """

    def __init__(self, tokenizer: Any) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._stream: _NativeStream | _WindowStream
        self._stream = _WindowStream(tokenizer) if backend is None else _NativeStream(backend)

    def push(self, token: int) -> str:
        """Text that `token` completes; empty while a character is incomplete."""
        return self._stream.push(token)


class _NativeStream:
    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._stream = DecodeStream(skip_special_tokens=True)
        self._new: list[int] = []  # tokens whose text is not out yet

    def push(self, token: int) -> str:
        self._new.append(token)
        try:
            text = self._stream.step(self._backend, token)
        except Exception:
            # A byte that makes no character also spoils the run of bytes before it, whose text is out
            # already. The new tokens by themselves are right; the last of them stays, as context.
            text = self._backend.decode(self._new, skip_special_tokens=True)
            self._stream = DecodeStream(skip_special_tokens=True)
            self._stream.step(self._backend, token)
        if text:
            self._new = []
        return text or ""


class _WindowStream:
    """Decodes the last few tokens with and without the new ones; the difference is the new text."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: list[int] = []  # tokens whose text is out, kept as context
        self._new: list[int] = []

    def push(self, token: int) -> str:
        self._new.append(token)
        before, after = self._decode(self._known), self._decode(self._known + self._new)
        if len(after) <= len(before) or after.endswith(INCOMPLETE):
            return ""
        # A byte that makes no character also spoils the run of bytes before it, whose text is out already.
        text = after[len(before) :] if after.startswith(before) else self._decode(self._new)
        self._known, self._new = self._new, []
        return text

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
