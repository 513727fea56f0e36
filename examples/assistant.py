"""An assistant that thinks, answers and listens at the same time, in one asyncio program.

    python examples/assistant.py ["A question"] [--model demo] [--seconds 4]

It asks a question, prints what the writer says as it says it, adds a condition after a few seconds as if the
user had just thought of it, then breaks the answer off where somebody who listens had got to, and asks for the
end. A program with a microphone has the same three calls: `push`, `interrupt`, `finish`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import hogwild
from hogwild.engine import InputEvent, ModeEvent, RollbackEvent, TokenEvent
from hogwild.errors import SessionFinishedError
from hogwild.evaluation.delays import measure_delays
from hogwild.protocols import ThinkSession


async def user(session: ThinkSession, seconds: float) -> None:
    """What the user does meanwhile."""
    with contextlib.suppress(SessionFinishedError):  # the answer may have ended before
        await asyncio.sleep(seconds)
        session.push("Keep it short, please.", at="sentence")
        await asyncio.sleep(seconds)
        session.interrupt(len(session.protocol.answer) // 2)  # half of it was spoken by then
        session.push("Only the result.")
        await asyncio.sleep(seconds)
        session.finish()


async def main(arguments: argparse.Namespace) -> None:
    engine = hogwild.Engine.from_pretrained(arguments.model)
    policy = (
        "fixed-ratio" if arguments.model == "demo" else "probe"
    )  # the demo model cannot judge its thoughts
    session = engine.think(arguments.question, policy=policy, max_forwards=arguments.max_forwards)
    speaking = asyncio.create_task(user(session, arguments.seconds))
    events = []
    async for event in session:
        events.append(event)
        if isinstance(event, ModeEvent):
            print(f"\n[{event.mode}]", flush=True)
        elif isinstance(event, InputEvent):
            print(f"\n[the user: {event.text}]", flush=True)
        elif isinstance(event, RollbackEvent):
            print(f"\n[not heard: {event.text!r}]", flush=True)
        elif isinstance(event, TokenEvent) and event.worker == "writer" and event.source != "inserted":
            print(event.text, end="", flush=True)
    speaking.cancel()
    delays = measure_delays(events)
    if delays.first_seconds is not None:
        print(
            f"\n\nfirst word after {delays.first_seconds:.1f} s ({delays.first_forward} forwards); "
            f"silence {delays.total:.1f} s, longest {delays.longest:.1f} s"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("question", nargs="?", default="A baker sells 12 loaves and then 30 more. How many?")
    parser.add_argument("--model", default="demo", help='"demo", a Hugging Face id, or a local folder')
    parser.add_argument("--seconds", type=float, default=4.0, help="between two things that the user does")
    parser.add_argument("--max-forwards", type=int, default=120)
    asyncio.run(main(parser.parse_args()))
