"""Made-up runs: the events that a session of the engine would give, without a model."""

from __future__ import annotations

from collections.abc import Sequence

from hogwild.engine.events import Event, FinishEvent, StartEvent, StepEvent, TokenEvent

SENTENCES = (
    "Let me split the sum into tens and ones first.",
    "The tens give 30 + 40 = 70, and the ones give 7 + 8 = 15.",
    "I see that {other} already adds the ones, so I check the result from the other side instead.",
    "So 37 + 48 = 85, because 70 + 15 = 85.",
)
NAMES = ("Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi")


def names(count: int) -> list[str]:
    """Names of `count` workers."""
    return [NAMES[i] if i < len(NAMES) else f"worker{i + 1}" for i in range(count)]


def make_run(
    workers: int | Sequence[str] = 2,
    forwards: int = 60,
    *,
    sentences: Sequence[str] = SENTENCES,
    seconds_per_forward: float = 0.08,
    finish: str | None = "max_forwards",
    layout: str = "combined",
    problem: str = "What is 37 + 48?",
) -> list[Event]:
    """A run in which every worker writes one word a forward and finishes a step at each sentence's end."""
    crew = names(workers) if isinstance(workers, int) else list(workers)
    events: list[Event] = [
        StartEvent(
            protocol="collaboration",
            problem=problem,
            workers=crew,
            layout=layout,
            model="demo",
            prompt=problem,
            settings={"max_forwards": forwards},
            version="0.1.0",
        )
    ]
    index = dict.fromkeys(crew, 1)
    words: dict[str, list[str]] = {}
    tokens = 0
    for forward in range(1, forwards + 1):
        for i, worker in enumerate(crew):
            now = {"forward": forward, "time": forward * seconds_per_forward}
            if not words.get(worker):
                other = crew[(i + 1) % len(crew)]
                sentence = sentences[(index[worker] + i) % len(sentences)].format(other=other)
                words[worker] = [word + " " for word in sentence.split(" ")]
                tag = f"\n\n**{worker} [{index[worker]}]:** "
                events.append(TokenEvent(worker=worker, token=2, text=tag, source="inserted", **now))
            events.append(TokenEvent(worker=worker, token=100 + tokens, text=words[worker].pop(0), **now))
            tokens += 1
            if not words[worker]:
                text = sentences[(index[worker] + i) % len(sentences)].format(other=crew[(i + 1) % len(crew)])
                events.append(StepEvent(worker=worker, index=index[worker], text=text, **now))
                index[worker] += 1
    if finish is not None:
        seconds = forwards * seconds_per_forward
        events.append(
            FinishEvent(
                reason=finish,
                forwards=forwards,
                tokens=tokens,
                seconds=seconds,
                forward=forwards,
                time=seconds,
            )
        )
    return events
