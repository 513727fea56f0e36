"""Views of real runs of the demo model, for every layout and number of workers: the texts of Figure 8."""

from __future__ import annotations

import pytest
from view_texts import ViewTexts

import hogwild
from hogwild.models import loading
from hogwild.prompting import Headers, worker_names
from hogwild.protocols import CollaborationProtocol

pytestmark = [pytest.mark.demo, pytest.mark.slow]

LAYOUTS = ["combined", "contiguous", "interleaved"]
WORKERS = [1, 2, 3, 4, 6]
FORWARDS = 40


THINGS = ("cat", "dog", "bird", "fish", "tree", "car")


def text_before(workers: int, layout: str) -> str:
    """A short text that a base model continues with short paragraphs."""
    title = "" if layout == "contiguous" else "\n\n### Past steps"
    steps = "\n\n".join(
        f"**{name} [1]:** I have one {thing}."
        for name, thing in zip(worker_names(workers), THINGS, strict=False)
    )
    return f"Everybody names things, one in a short sentence.{title}\n\n{steps}\n\nOnce more.{title}"


@pytest.fixture(scope="module")
def engine():
    return hogwild.Engine(*loading.load("demo", device="cpu", dtype="bfloat16"))


@pytest.fixture(scope="module")
def seen(engine):
    """For each run: what was seen and expected whenever a worker sampled, and the steps that were finished."""
    tokenizer = engine.tokenizer
    runs = {}
    for layout in LAYOUTS:
        for workers in WORKERS:
            before = text_before(workers, layout)
            prompt = tokenizer.encode(before)
            options = {
                "max_forwards": FORWARDS,
                "headers": Headers(),
                "find_answer": None,
                "question_every": 60,
            }
            protocol = CollaborationProtocol(
                "Name things.", tokenizer, workers, layout, prompt=prompt, **options
            )
            texts = ViewTexts(protocol, tokenizer.decode(prompt), [tokenizer.eos_token_id])
            runs[layout, workers] = (engine.open(protocol), texts, [])
    sessions = [session for session, _, _ in runs.values()]
    for session, texts, _ in runs.values():
        texts.listen(session.take_events())
    by_session = {id(session): (texts, views) for session, texts, views in runs.values()}
    while any(not session.finished for session in sessions):
        for session, texts, views in runs.values():
            feeds = [] if session.finished else session.protocol.feeds()
            fed = {feed.view.write_to: list(feed.tokens) for feed in feeds}
            for feed in feeds:
                if feed.sample:
                    blocks = [session.blocks.tokens(name) + fed.get(name, []) for name in feed.view.blocks]
                    text = tokenizer.decode([token for block in blocks for token in block])
                    views.append((text, texts.expected(feed.worker)))
        for session, events in engine.forward(sessions):
            by_session[id(session)][0].listen(events)
    for session in sessions:
        session.close()
    return {key: (views, texts.finished) for key, (_, texts, views) in runs.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("workers", WORKERS)
def test_every_view_is_the_text_of_the_layout(seen, layout, workers):
    views, finished = seen[layout, workers]
    assert len(views) >= FORWARDS * workers  # more where a full forward left the session out
    for text, expected in views:
        assert text == expected
    assert (not finished) if layout == "contiguous" else len(finished) >= workers
