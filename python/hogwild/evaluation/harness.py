"""Our workers as a model of lm-evaluation-harness: `lm_eval --model hogwild`."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from hogwild.engine import AnswerEvent, Event, FinishEvent
from hogwild.engine.checks import check_integer
from hogwild.engine.events import BudgetEvent
from hogwild.errors import HogwildError
from hogwild.evaluation.driver import run_jobs
from hogwild.prompting import load_family
from hogwild.protocols import BudgetedProtocol, CollaborationResult, Engine, parse

ANSWER = "The answer is \\boxed{{{answer}}}."
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@register_model("hogwild")
class HogwildLM(LM):
    """`generate_until` by a method of ours, `loglikelihood` by the plain model.

    A request's whole context, examples included, is the problem that the workers solve. What they answer is put
    into `answer_format`, which must suit the filter by which the harness's task finds answers.

    Args:
        pretrained: "demo", a Hugging Face id, or a local folder.
        workers: of the collaboration; an alternative to `method`.
        method: any method, such as "self-consistency:4"; see `hogwild.protocols.methods.parse`.
        max_forwards: sequential forwards of a run; by default the task's `max_gen_toks`, or 256.
        answer_tokens: length of an early answer.
        answer_format: the reply; "{answer}" stands for the answer, "{text}" for all that was written. Braces that
            are meant as such are written twice.
        batch_size: requests that run side by side.
        device, dtype: see `hogwild.models.loading.load`. The harness asks for "cuda:0" where nothing is said, so a
            CUDA device counts only where there is CUDA.
        seed: of the random draws, for tasks that sample; requests that come again have the seeds after it.
        family: prompts and conventions, by default the tokenizer's own.
        max_batch_size: for the harness, which always gives it; overlooked.

    Raises:
        HogwildError, ValueError, TypeError: both `workers` and `method`, or a value that cannot be; before the
            model is loaded.
    """

    def __init__(
        self,
        pretrained: str = "demo",
        workers: int | str | None = None,
        method: str | None = None,
        max_forwards: int | None = None,
        answer_tokens: int = 64,
        answer_format: str = ANSWER,
        batch_size: int | str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        seed: int = 0,
        family: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if workers is not None and method is not None:
            raise ValueError(f"expected workers or method, got workers={workers} and method={method!r}")
        _check_format(answer_format)
        self.method = method or f"hogwild:{2 if workers is None else workers}"
        parse(self.method)
        for name, value in (("max_forwards", max_forwards), ("answer_tokens", answer_tokens)):
            if value is not None:
                check_integer(name, value, minimum=1)
        if family is not None:
            load_family(family)
        self.at_once = _batch(batch_size)
        self._forwards, self._answer_tokens, self._format = max_forwards, answer_tokens, answer_format
        self._seed, self._family = seed, family
        if str(device).startswith("cuda") and not torch.cuda.is_available():
            device = None
        self.engine = Engine.from_pretrained(pretrained, device=device, dtype=dtype)
        self._plain = HFLM(
            pretrained=self.engine.model,
            tokenizer=self.engine.tokenizer,
            backend="causal",
            batch_size=self.at_once,
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Let workers solve each request's context; the replies, in the order of the requests."""
        replies = [""] * len(requests)
        asked: Counter[str] = Counter()
        seeds = []
        for request in requests:  # the same request again is wanted for another sample
            context = request.args[0]
            seeds.append(self._seed + asked[context])
            asked[context] += 1
        outcomes = run_jobs(
            self.engine,
            range(len(requests)),
            lambda i: self._protocol(requests[i].args[0], requests[i].args[1], seeds[i]),
            self.at_once,
        )
        for outcome in tqdm(
            outcomes, total=len(requests), disable=disable_tqdm, desc=f"Running {self.method}"
        ):
            request = requests[outcome.job]
            reply = self._reply(outcome.events, _stops(request.args[1]))
            replies[outcome.job] = reply
            self.cache_hook.add_partial("generate_until", request.args, reply)
        return replies

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """See the harness's `HFLM`."""
        return self._plain.loglikelihood(requests, disable_tqdm=disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """See the harness's `HFLM`."""
        return self._plain.loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)

    @property
    def tokenizer_name(self) -> str:
        return self._plain.tokenizer_name

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The turns as plain text: the workers' prompt puts the problem into the model's own template."""
        return "\n\n".join(turn["content"] for turn in chat_history)

    def _protocol(self, context: str, settings: dict[str, Any], seed: int) -> BudgetedProtocol:
        sampling = {name: settings[name] for name in _SAMPLING if settings.get(name) is not None}
        if not settings.get("do_sample", sampling.get("temperature", 0) > 0):
            sampling = {"temperature": 0.0}
        forwards = self._forwards or int(settings.get("max_gen_toks", 256))
        family = {} if self._family is None else {"family": self._family}
        return self.engine.method(
            self.method,
            context,
            seed=seed,
            budgets=(forwards,),
            answer_tokens=self._answer_tokens,
            **sampling,
            **family,
        )

    def _reply(self, events: Sequence[Event], stops: Sequence[str]) -> str:
        """The answer in its format; without an answer, all that was written."""
        text = CollaborationResult.from_events(events).text.strip()
        answer = None
        for event in events:
            if isinstance(event, FinishEvent) and event.reason == "error":
                raise HogwildError(f"a run failed: {event.message}")
            if isinstance(event, (AnswerEvent, BudgetEvent)):
                found = event.answer if isinstance(event, BudgetEvent) else event.text
                answer = answer or found
        reply = text if answer is None else self._format.format(answer=answer, text=text)
        for stop in stops:
            reply = reply.partition(stop)[0] if stop else reply
        return reply


def _check_format(text: str) -> None:
    """Refuse a format of replies before it spoils all of them."""
    expected = (
        f"answer_format: expected {{answer}} or {{text}} in it and nothing else in braces, got {text!r}; braces "
        "that are meant as such are written twice, as in \\boxed{{{answer}}}"
    )
    try:
        fields = [field for _, *field in string.Formatter().parse(text) if field[0] is not None]
    except ValueError as error:
        raise ValueError(f"{expected} ({error})") from None
    if not fields or any(field not in (["answer", "", None], ["text", "", None]) for field in fields):
        raise ValueError(expected)


def _stops(settings: dict[str, Any]) -> list[str]:
    until = settings.get("until") or []
    return [until] if isinstance(until, str) else list(until)


def _batch(size: int | str | None) -> int:
    """The harness's batch size; "auto" is ours to choose."""
    if size is None or str(size).startswith("auto"):
        return 8
    if not str(size).isdigit() or int(size) < 1:
        raise ValueError(f"batch_size: expected a number of at least 1 or 'auto', got {size!r}")
    return int(size)
