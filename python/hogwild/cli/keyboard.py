"""Keys from the terminal while something else is on the screen: a line of text, Enter, Esc, the end."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Any

_ESCAPE_SECONDS = 0.05  # a key that sends an escape sequence sends all of it sooner than that
_POLL_SECONDS = 0.1
# One key: an escape sequence of ECMA-48, as arrows and function keys send it, a key with Alt, Esc itself, a character.
_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\x1b])?|[^\x1b]", re.DOTALL)


class Line:
    """A line that is typed, key by key.

    Attributes:
        text: what stands in it.
    """

    def __init__(
        self, on_line: Callable[[str], None], on_escape: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        self.text = ""
        self._on_line, self._on_escape, self._on_end = on_line, on_escape, on_end

    def type(self, keys: str) -> None:
        """Take what the terminal sent at one time: a key, or several over a slow line."""
        for key in _KEY.findall(keys):
            if key == "\x1b":
                self._on_escape()
            elif key in "\r\n":
                text, self.text = self.text.strip(), ""
                if text:
                    self._on_line(text)
            elif key in "\x7f\b":
                self.text = self.text[:-1]
            elif key == "\x15":  # Ctrl-U
                self.text = ""
            elif key == "\x04":  # Ctrl-D
                if not self.text:
                    self._on_end()
            elif key.isprintable():
                self.text += key


class Keyboard:
    """A context manager that reads the terminal in a thread of its own and gives the keys to a `Line`.

    Keys come one by one and are not echoed; Ctrl-C stays a signal.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self._fd = sys.stdin.fileno()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._before: list[Any] = []

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd, termios.TCSADRAIN)  # what was typed before stays
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        while not self._stop.is_set():
            if not self._ready(_POLL_SECONDS):
                continue
            data = os.read(self._fd, 1024)
            if not data:
                return
            if data.endswith(b"\x1b") and self._ready(_ESCAPE_SECONDS):
                data += os.read(self._fd, 64)
            if keys := self._decoder.decode(data):
                self.line.type(keys)

    def _ready(self, seconds: float) -> bool:
        return bool(select.select([self._fd], [], [], seconds)[0])
