"""`hogwild replay`: a recorded run, shown again at its own pace."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from hogwild.cli.readers import Reader, make_reader, on_terminal
from hogwild.engine.events import Event, StartEvent
from hogwild.engine.trace import TraceError, read_trace


def load_events(path: Path) -> tuple[list[Event], str]:
    """All events of a trace, and what is wrong with its last line, if that breaks off.

    Raises:
        TraceError: the file is not a trace, or has a broken line; the message names the line.
        ValueError: the file cannot be read.
    """
    events: list[Event] = []
    note = ""
    try:
        for event in read_trace(path):
            events.append(event)  # those before a broken line are kept
    except TraceError as error:
        if not error.breaks_off:
            raise
        note = str(error)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"cannot read the trace {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not events:
        raise TraceError(note or f"{path}: the trace holds no events")
    return events, note


def replay(path: Path, speed: float | None = None, instant: bool = False, as_json: bool = False) -> None:
    """Shows the trace. Of one that breaks off in a line all that is before it, and then, on stderr, where it does.

    Args:
        path: a file that `--trace` wrote, of `hogwild solve`, `think` or `chat`.
        speed: how many times faster than it happened; by default 1 on a terminal, and at once elsewhere.
        instant: show the end at once.
        as_json: write the events as JSON lines.
    """
    if speed is not None and not (math.isfinite(speed) and speed > 0):
        raise ValueError(f"--speed: expected a number above 0, got {speed}")
    events, note = load_events(path)
    if speed is None and (as_json or not on_terminal()):
        instant = True
    began = time.monotonic()
    with _reader_of(events, as_json) as reader:
        for event in events:
            if not instant:
                left = began + event.time / (speed or 1.0) - time.monotonic()
                time.sleep(min(max(left, 0.0), threading.TIMEOUT_MAX))
            reader.read(event)
    if note:
        print(f"hogwild: the trace breaks off: {note}", file=sys.stderr)


def _reader_of(events: Sequence[Event], as_json: bool) -> Reader:
    """Shows events as the command did that recorded them."""
    first = events[0]
    if isinstance(first, StartEvent) and first.protocol == "async_reasoning":
        from hogwild.cli.conversation_readers import make_conversation_reader  # takes longer to import

        return make_conversation_reader(as_json)
    return make_reader(as_json)
