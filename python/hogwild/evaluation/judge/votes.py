"""Several votes on each conversation, and their mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from statistics import fmean

from hogwild.evaluation.judge.conversation import MODES, Conversation
from hogwild.evaluation.judge.models import JudgeError, JudgeModel
from hogwild.evaluation.judge.rubric import HIGHEST, LOWEST, messages
from hogwild.evaluation.summary import Mean
from hogwild.prompting import find_boxed
from hogwild.prompting.latex import unwrap

VOTES = 3
_ATTEMPTS = 3  # of a vote whose reply has no level in it


@dataclass(frozen=True)
class Verdict:
    """What the judge said of one conversation.

    Attributes:
        name, mode: of the conversation.
        votes: levels from 1 to 6.
        replies: the judge's reasons, one for each vote.
        error: why votes are missing; then the conversation counts nowhere.
        digest: of the conversation, see `Conversation.digest`.
    """

    name: str
    mode: str
    votes: tuple[int, ...] = ()
    replies: tuple[str, ...] = ()
    error: str = ""
    digest: str = ""

    @property
    def score(self) -> float | None:
        """The mean of the votes; None if some are missing."""
        return None if self.error or not self.votes else fmean(self.votes)


def judge_conversations(
    model: JudgeModel, conversations: Sequence[Conversation], votes: int = VOTES, at_once: int = 4
) -> Iterator[Verdict]:
    """Have each conversation scored; verdicts come in the order in which they are ready.

    Args:
        model: the judge.
        conversations: what it reads.
        votes: how many votes are averaged.
        at_once: conversations that are judged at a time, by a model that allows it.
    """
    with ThreadPoolExecutor(at_once if model.parallel else 1) as threads:
        futures = [threads.submit(judge_one, model, conversation, votes) for conversation in conversations]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def judge_one(model: JudgeModel, conversation: Conversation, votes: int = VOTES) -> Verdict:
    """The verdict on one conversation; where the judge does not answer, one that says so."""
    levels: list[int] = []
    replies: list[str] = []
    asked = messages(conversation.problem, conversation.text)
    problem = ""
    try:
        for vote in range(votes):
            level, reply = _vote(model, asked, vote)
            levels.append(level)
            replies.append(reply)
    except JudgeError as error:
        problem = str(error)
    name, mode, digest = conversation.name, conversation.mode, conversation.digest
    return Verdict(name, mode, tuple(levels), tuple(replies), problem, digest)


def _vote(model: JudgeModel, asked: Sequence[dict[str, str]], vote: int) -> tuple[int, str]:
    reply = ""
    for attempt in range(_ATTEMPTS):
        reply = model.ask(asked, seed=vote + 1000 * attempt)
        if (level := find_level(reply)) is not None:
            return level, reply
    raise JudgeError(
        f"{model.name}: no level from {LOWEST} to {HIGHEST} in {_ATTEMPTS} replies; the last: {reply[-80:]!r}"
    )


def find_level(reply: str) -> int | None:
    """The level in the last box of a reply."""
    match = re.fullmatch(r"(?:level:?\s*)?([0-9])\.?", unwrap(find_boxed(reply) or ""), re.IGNORECASE)
    level = int(match[1]) if match else 0
    return level if LOWEST <= level <= HIGHEST else None


def mean_scores(
    verdicts: Sequence[Verdict], group: Callable[[Verdict], str] = lambda v: v.mode
) -> dict[str, Mean]:
    """Mean score of each mode (or group), over the conversations that were judged."""
    scores: dict[str, list[float]] = {}
    for verdict in sorted(verdicts, key=lambda verdict: MODES.index(verdict.mode)):
        if verdict.score is not None:
            scores.setdefault(group(verdict), []).append(verdict.score)
    return {name: Mean.of(values) for name, values in scores.items()}
