"""Who judges: a model behind an OpenAI-compatible endpoint, or one on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hogwild.errors import HogwildError
from hogwild.evaluation.extras import need
from hogwild.prompting import encode_filled

Message = dict[str, str]


class JudgeError(HogwildError):
    """The judge gave no answer."""


class JudgeModel(Protocol):
    """Answers a chat."""

    name: str
    parallel: bool  # may be asked from several threads at a time

    def ask(self, messages: Sequence[Message], seed: int) -> str:
        """The reply to `messages`.

        Raises:
            JudgeError: there is none; the message says why.
        """


class EndpointJudge:
    """A model behind an endpoint that speaks OpenAI's chat API.

    A call that fails because nobody answers, or because of too many calls or an error of the server, is made again
    after a while, each time a longer one.

    Args:
        url: the endpoint, such as "http://localhost:8000/v1".
        model: the model's name there.
        key: the API key; by default from the environment variable OPENAI_API_KEY, and none where that is empty.
        retries: further attempts of a call that fails.
        timeout: seconds that an attempt may take.
        temperature: of the judge's words; votes that are to differ need some.
        max_tokens: length of a reply.
    """

    parallel = True

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        *,
        retries: int = 5,
        timeout: float = 120.0,
        temperature: float = 0.7,
        max_tokens: int = 2048,
    ) -> None:
        import os

        openai = need("openai", "a judge behind an endpoint")
        if not url.startswith(("http://", "https://")):
            raise ValueError(
                f"endpoint: expected an address that begins with http:// or https://, got {url!r}"
            )
        self.name, self.url = model, url
        self._settings = {"temperature": temperature, "max_tokens": max_tokens}
        self._failure = openai.OpenAIError
        self._client = openai.OpenAI(
            base_url=url,
            api_key=key or os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=retries,
            timeout=timeout,
        )

    def ask(self, messages: Sequence[Message], seed: int) -> str:
        try:
            reply = self._client.chat.completions.create(
                model=self.name, messages=list(messages), seed=seed, **self._settings
            )
        except (self._failure, ValueError) as error:  # ValueError: the reply is not JSON
            raise JudgeError(f"{self.url}: {str(error).strip() or type(error).__name__}") from error
        try:
            text = reply.choices[0].message.content
        except (AttributeError, IndexError, TypeError):  # the client does not check what it is sent
            text = None
        if not isinstance(text, str) or not text:
            raise JudgeError(f"{self.url}: the reply has no text")
        return text


class LocalJudge:
    """A model on this machine.

    Args:
        model: a loaded Hugging Face causal language model.
        tokenizer: its tokenizer. One without a chat template gets the messages one after the other.
        max_tokens: length of a reply.
        temperature: of the judge's words.
    """

    parallel = False

    def __init__(
        self, model: Any, tokenizer: Any, *, max_tokens: int = 2048, temperature: float = 0.7
    ) -> None:
        self.name = str(getattr(model.config, "name_or_path", "")) or type(model).__name__
        self._model, self._tokenizer = model, tokenizer
        self._settings: dict[str, Any] = {"max_new_tokens": max_tokens, "do_sample": temperature > 0}
        if temperature > 0:
            self._settings["temperature"] = temperature

    def ask(self, messages: Sequence[Message], seed: int) -> str:
        import torch

        chat = bool(getattr(self._tokenizer, "chat_template", None))

        def fill(texts: Mapping[str, str]) -> str:
            if not chat:
                return "\n\n".join([*texts.values(), ""])
            turns = [
                {**message, "content": text} for message, text in zip(messages, texts.values(), strict=True)
            ]
            return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

        # What is judged must not be able to end its turn and give the verdict itself.
        contents = {str(place): message["content"] for place, message in enumerate(messages)}
        ids = encode_filled(self._tokenizer, fill, contents, add_special_tokens=not chat)
        inputs = torch.tensor([ids], device=self._model.device)
        limit = getattr(self._model.config, "max_position_embeddings", None)
        length = len(ids)
        if limit is not None and length + self._settings["max_new_tokens"] > limit:
            raise JudgeError(
                f"{self.name}: the conversation has {length} tokens, too many for {limit} positions"
            )
        torch.manual_seed(seed)
        with torch.inference_mode():
            output = self._model.generate(inputs, attention_mask=torch.ones_like(inputs), **self._settings)
        return self._tokenizer.decode(output[0, length:], skip_special_tokens=True)
