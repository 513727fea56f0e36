"""`hogwild think` and `hogwild chat`: a model that thinks, answers and listens at the same time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hogwild.cli.conversation_readers import make_conversation_reader
from hogwild.cli.interrupt import InterruptRequest
from hogwild.cli.keyboard import Line
from hogwild.cli.progress import Preparation
from hogwild.cli.readers import Reader, TraceReader, on_terminal
from hogwild.cli.run import RunFailed
from hogwild.engine.events import FinishEvent
from hogwild.errors import HogwildError, SessionFinishedError

if TYPE_CHECKING:
    from hogwild.protocols import Engine, ThinkSession
    from hogwild.protocols.async_reasoning import Policy, Safety


@dataclass(frozen=True)
class ThinkRequest:
    """What the command line asks for. Settings that are None are the engine's to choose.

    Attributes:
        problem: the first message; None: it is still to be typed or read ("chat" only).
        turns: whether the conversation goes on after an answer.
        safety_hold, safety_every: of the safety mode, see `Safety.hold` and `Safety.every`.
    """

    problem: str | None
    turns: bool = False
    model: str = "demo"
    method: str = "async"
    policy: str | None = None
    arrangement: str | None = None
    earlier_thoughts: str = "kept"
    max_forwards: int = 512
    max_thoughts: int | None = None
    safety: bool = False
    safety_hold: int | None = None
    safety_every: int | None = None
    sampling: dict[str, float | int | None] = field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    thoughts: bool | None = None
    trace: Path | None = None
    as_json: bool = False


def parse_policy(text: str) -> Policy:
    """A policy from its name and settings, such as `probe:every=10,margin=0.5`.

    Raises:
        ValueError: not such a text, an unknown name, or a setting that the policy does not have or take.
    """
    from hogwild.protocols.async_reasoning import make_policy

    name, _, rest = text.partition(":")
    settings: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"--policy: expected NAME:setting=value,..., got {text!r}")
        if key.strip() in settings:
            raise ValueError(f"--policy: {key.strip()} is set twice in {text!r}")
        settings[key.strip()] = _value(value.strip())
    try:
        return make_policy(name.strip(), **settings)
    except TypeError as error:
        raise ValueError(f"--policy: {error}") from None


def make_safety(request: ThinkRequest) -> Safety | None:
    """The safety mode that the request asks for.

    Raises:
        ValueError: a setting of it that is out of range, or without it.
    """
    from hogwild.protocols.async_reasoning import Safety

    settings: dict[str, Any] = {"hold": request.safety_hold, "every": request.safety_every}
    given = {name: value for name, value in settings.items() if value is not None}
    if not request.safety:
        if given:
            raise ValueError(
                f"--safety-{next(iter(given))} is a setting of the safety mode: --safety is missing"
            )
        return None
    try:
        return Safety(**given)
    except ValueError as error:
        raise ValueError(f"--safety-{error}") from None


def _value(text: str) -> Any:
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def check(request: ThinkRequest) -> None:
    """Refuses at once what would be refused after a model was loaded.

    Raises:
        ValueError: a setting is out of range, or unknown.
    """
    from hogwild.cli.solve import SolveRequest
    from hogwild.cli.solve import check as check_common
    from hogwild.protocols.async_reasoning import METHODS, Arrangement
    from hogwild.protocols.async_reasoning.turns import EARLIER_THOUGHTS

    if request.problem is not None and not request.problem.strip():
        raise ValueError("MESSAGE: expected some text, got none")
    check_common(
        SolveRequest(
            problem=request.problem or "",
            max_forwards=request.max_forwards,
            sampling=request.sampling,
            device=request.device,
            dtype=request.dtype,
        )
    )
    if request.method not in METHODS:
        raise ValueError(f"--method: expected one of {', '.join(METHODS)}, got {request.method!r}")
    if request.method != "async" and (request.policy or request.arrangement):
        raise ValueError(f"--policy and --arrangement are for the method async, not {request.method}")
    if request.policy is not None:
        parse_policy(request.policy)
    make_safety(request)
    if request.arrangement is not None:
        Arrangement(request.arrangement)
    if request.earlier_thoughts not in EARLIER_THOUGHTS:
        raise ValueError(
            f"--earlier-thoughts: expected one of {', '.join(EARLIER_THOUGHTS)}, got {request.earlier_thoughts!r}"
        )
    if request.max_thoughts is not None and request.max_thoughts < 1:
        raise ValueError(f"--max-thoughts: expected at least 1, got {request.max_thoughts}")
    if request.max_thoughts is not None and request.method == "no-think":
        raise ValueError("--max-thoughts: the method no-think has no thoughts")


class Speaker:
    """The user's side of a session: what is typed, and lines that are read where nothing is typed.

    Attributes:
        line: what the user is typing; None where input is not a terminal.
    """

    def __init__(self, session: ThinkSession, rest: Iterator[str], typing: bool) -> None:
        self._session, self._rest = session, rest
        self.line = Line(self._say, self._break_off, self._end) if typing else None

    def next_turn(self) -> None:
        """The session waits: say the next line that was read, or let the user type a moment longer."""
        if self.line is not None:
            self._session.protocol.inbox.wait(0.1)
        elif (text := next(self._rest, None)) is not None:
            self._say(text)
        else:
            self._end()

    def _say(self, text: str) -> None:
        try:
            _unless_over(lambda: self._session.push(text))
        except ValueError:  # too long, for one
            if self.line is None:
                raise
            self.line.text = text  # what was typed stays there

    def _break_off(self) -> None:
        _unless_over(self._session.interrupt)  # what is on the screen has been read

    def _end(self) -> None:
        _unless_over(self._session.finish)


def _unless_over(call: Callable[[], None]) -> None:
    """What is typed while the session ends comes too late."""
    try:
        call()
    except SessionFinishedError:
        pass


def think(request: ThinkRequest) -> str:
    """Runs the request and shows it; one of `hogwild.engine.events.FINISH_REASONS`.

    Raises:
        HogwildError, ValueError: a bad request, before anything is shown.
        RunFailed: the run ended with an error, which was shown.
    """
    typing = on_terminal() and sys.stdin.isatty() and not request.as_json
    with ExitStack() as stack:
        trace = stack.enter_context(TraceReader(request.trace)) if request.trace is not None else None
        with Preparation(Console(stderr=True)) as preparation:
            check(request)
            engine = make_engine(request, preparation)
        lines = _lines(request)
        problem = request.problem if request.problem is not None else _first(lines, typing)
        if problem is None:
            raise ValueError("MESSAGE: expected some text, got none")
        session = stack.enter_context(_open(engine, request, problem))
        speaker = Speaker(session, lines, typing)
        reader = stack.enter_context(
            make_conversation_reader(request.as_json, speaker.line, request.thoughts)
        )
        return _run(session, speaker, reader, trace)


def _run(session: ThinkSession, speaker: Speaker, reader: Reader, trace: TraceReader | None) -> str:
    ending = ""
    wrong_line: ValueError | None = None
    with InterruptRequest() as interrupt:
        while not ending:
            try:
                for event in session.turn():
                    if trace is not None:
                        trace.read(event)
                    reader.read(event)
                    if isinstance(event, FinishEvent):
                        ending = event.reason
                    elif interrupt.requested:
                        session.cancel()
            except BrokenPipeError:  # nobody reads any more; the trace says how it ended
                session.cancel()
                for event in session:
                    if trace is not None:
                        trace.read(event)
                raise
            except Exception as error:
                what = str(error) if isinstance(error, HogwildError) else f"{type(error).__name__}: {error}"
                raise RunFailed(what) from error
            if not ending:
                try:
                    with interrupt.at_once():
                        speaker.next_turn()
                except KeyboardInterrupt:
                    session.cancel()
                except ValueError as error:  # it is no text, or too long; what was said so far ends properly
                    wrong_line = error
                    session.cancel()
    if wrong_line is not None:
        raise RunFailed(f"a line of stdin: {wrong_line}") from wrong_line
    return ending


def _lines(request: ThinkRequest) -> Iterator[str]:
    """Turns from stdin, a line each; none where there is only one turn."""
    if not request.turns:
        return iter(())
    return (text for line in iter(sys.stdin.readline, "") if (text := line.strip()))


def _first(lines: Iterator[str], typing: bool) -> str | None:
    """The first message, where it was not given with the command."""
    if typing:
        sys.stderr.write("> ")
        sys.stderr.flush()
    return next(lines, None)


def _open(engine: Engine, request: ThinkRequest, problem: str) -> ThinkSession:
    return engine.think(
        problem,
        request.method,
        policy=None if request.policy is None else parse_policy(request.policy),
        arrangement=request.arrangement,
        max_forwards=request.max_forwards,
        max_thoughts=request.max_thoughts,
        turns=request.turns,
        earlier_thoughts=request.earlier_thoughts,
        safety=make_safety(request),
        **{name: value for name, value in request.sampling.items() if value is not None},
    )


def make_engine(request: ThinkRequest, preparation: Preparation) -> Engine:
    """The engine on the model that the request names, with its stages told."""
    from hogwild.models.loading import load
    from hogwild.protocols import Engine

    preparation.stage(f"loading {request.model}")
    model, tokenizer = load(request.model, request.device, request.dtype, preparation.stage)
    return Engine(model, tokenizer)
