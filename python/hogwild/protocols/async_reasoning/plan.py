"""What the next forward writes, from how a run stands: a pure function."""

from __future__ import annotations

from dataclasses import dataclass

from hogwild.cache.view import ViewSpec
from hogwild.engine.feed import Feed
from hogwild.protocols.async_reasoning import arrangement as blocks
from hogwild.protocols.async_reasoning.arrangement import Arrangement, behind
from hogwild.protocols.async_reasoning.encoded import EncodedPrompts
from hogwild.protocols.async_reasoning.modes import ACTIVE, FOLDING, THINKER, WAITING, WRITER
from hogwild.protocols.async_reasoning.policies import Ask
from hogwild.protocols.async_reasoning.stream import Stream

PREFILL, USER_INPUT, SPLIT, SIDE, SUMMARY = "prefill", "input", "split", "side", "summary"

Planned = tuple[str, Feed]
"""A feed with what it is: one of the words above, or the name of the stream whose tokens it writes."""


@dataclass(frozen=True)
class Standing:
    """How a run stands between two forwards.

    Attributes:
        arrangement, encoded: of the run.
        mode: its mode.
        thinker, writer, input, summary: what has been said, and how much of it is written.
        ask: the question that the next forward asks.
        prefilled: whether the prompts are written.
        reply: what the block of that name is to hold.
        in_order: whether the answer begins only when the thoughts have ended.
        split_written: whether what stands before the answer is written.
        so_far: tokens of the writer that stand in the block of that name, if its doubt is to be measured.
        measures_writer: whether the entropy of the writer's next token is wanted.
    """

    arrangement: Arrangement
    encoded: EncodedPrompts
    mode: str
    thinker: Stream
    writer: Stream
    input: Stream
    summary: Stream
    ask: Ask | None
    prefilled: bool
    reply: tuple[int, ...]
    in_order: bool
    split_written: bool
    so_far: int
    measures_writer: bool


def plan_feeds(run: Standing) -> list[Planned]:
    """The feeds of the next forward; none where the run waits for the user."""
    if not run.prefilled:
        return _prefill(run)
    if run.mode in (WAITING, FOLDING):
        rest = _rest(run)
        if rest or run.mode == WAITING:
            return rest
        return [(SUMMARY, Feed(THINKER, run.summary.queue, behind(run.arrangement.thinker, blocks.SUMMARY)))]
    side = None if run.ask is None or run.ask.in_stream else run.ask
    plan: list[Planned] = []
    if side is None or not side.alone or run.input.queue:  # what the user has said comes before questions
        plan.extend(_input(run))
        plan.extend(_split(run))
        for stream in (run.thinker, run.writer):
            plan.extend(_of_stream(run, stream))
    if side is not None and not (side.alone and plan):
        plan.append((SIDE, _side(run, side, plan)))
    return plan


def _prefill(run: Standing) -> list[Planned]:
    encoded = run.encoded
    pieces = {
        blocks.THINKER_PROMPT: encoded.thinker_prompt,
        blocks.WRITER_PROMPT: encoded.writer_prompt,
        blocks.THINKER_SPLIT: encoded.thinker_split,
        blocks.INPUT: run.input.queue,
        blocks.THOUGHTS: run.thinker.queue[:-1],
        # in sequential methods these are written when the thoughts have ended
        blocks.WRITER_SPLIT: () if run.in_order else encoded.writer_split,
        blocks.ANSWER: () if run.in_order else run.writer.queue[:-1],
        blocks.REPLY: run.reply,
    }
    places = [*run.arrangement.prefill(), (blocks.REPLY, run.arrangement.reply)]
    return [
        (PREFILL, Feed(THINKER, pieces[what], view, sample=False)) for what, view in places if pieces[what]
    ]


def _rest(run: Standing) -> list[Planned]:
    """Whatever was said in a turn that is over and is not written yet."""
    return [*_input(run), *(_flush(run, stream) for stream in (run.thinker, run.writer) if stream.queue)]


def _input(run: Standing) -> list[Planned]:
    if not run.input.queue:
        return []
    return [(USER_INPUT, Feed(THINKER, run.input.queue, run.arrangement.input, sample=False))]


def _split(run: Standing) -> list[Planned]:
    """What stands before the answer, where it is only written once the thoughts have ended."""
    split = run.encoded.writer_split
    if run.split_written or not split or WRITER not in ACTIVE[run.mode]:
        return []
    seen = run.arrangement.writer.blocks
    view = ViewSpec(seen[: seen.index(blocks.WRITER_SPLIT) + 1], blocks.WRITER_SPLIT)
    return [(SPLIT, Feed(WRITER, split, view, sample=False))]


def _of_stream(run: Standing, stream: Stream) -> list[Planned]:
    worker, tokens, view, ask = stream.worker, stream.queue, _view(run, stream), run.ask
    if ask is not None and ask.in_stream and ask.worker == worker:
        asked = (*tokens, *run.encoded.question(ask))
        return [(worker, Feed(worker, asked, view, sample=False, probe=_yes_no(run)))]
    if stream.closed:
        return [_flush(run, stream)] if tokens else []
    if worker in ACTIVE[run.mode]:
        return [(worker, Feed(worker, tokens, view, entropy=run.measures_writer and worker == WRITER))]
    if run.in_order:
        return []
    if stream.ends_with_a_push:
        return [_flush(run, stream)] if tokens else []  # others are to see all of it
    if len(tokens) > 1:  # inserted while it is silent; the last one waits until it goes on
        return [(worker, Feed(worker, tokens[:-1], view, sample=False))]
    return []


def _side(run: Standing, ask: Ask, plan: list[Planned]) -> Feed:
    """A question behind all that its stream has said, written to the side block."""
    guest = ask.ride != "always"
    if ask.question == "unsure":
        rest = tuple(run.writer.tokens[run.so_far :])
        return Feed(ask.worker, rest, run.arrangement.doubt, sample=False, entropy=True, guest=guest)
    stream = run.thinker if ask.worker == THINKER else run.writer
    fed = sum(len(feed.tokens) for what, feed in plan if what == ask.worker)
    tokens = (*stream.queue[fed:], *run.encoded.question(ask))
    view = behind(_view(run, stream), blocks.SIDE)
    return Feed(ask.worker, tokens, view, sample=False, probe=_yes_no(run), guest=guest)


def _flush(run: Standing, stream: Stream) -> Planned:
    return stream.worker, Feed(stream.worker, stream.queue, _view(run, stream), sample=False)


def _view(run: Standing, stream: Stream) -> ViewSpec:
    return run.arrangement.thinker if stream is run.thinker else run.arrangement.writer


def _yes_no(run: Standing) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return run.encoded.yes_ids, run.encoded.no_ids
