"""How long a text takes to speak: by a rate of words, or by a program that really speaks it."""

from __future__ import annotations

import io
import shlex
import subprocess
import time
import wave
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from hogwild.errors import HogwildError


@dataclass(frozen=True)
class Speech:
    """One piece of speech.

    Attributes:
        seconds: how long it is to be heard.
        synthesis: seconds from the text to its first sound.
    """

    seconds: float
    synthesis: float = 0.0


class SpeechError(HogwildError):
    """A program for speech could not be run, or gave no audio."""


class SpeechModel(ABC):
    """What turns text into speech, or says how long it would be."""

    @abstractmethod
    def speak(self, text: str) -> Speech:
        """The speech of `text`; called once for each chunk, in order."""

    @property
    def name(self) -> str:
        """What it is called in records."""
        return type(self).__name__


@dataclass(frozen=True)
class WordsPerMinute(SpeechModel):
    """Speech of a constant rate; no audio is made.

    A word is what stands between white space; in formulas every sign and number counts as half a word, as it
    is spoken.

    Attributes:
        rate: words in a minute.
        synthesis: seconds from a text to its first sound.
    """

    rate: float = 160.0
    synthesis: float = 0.0

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"rate: expected a number above 0, got {self.rate}")
        if not self.synthesis >= 0:
            raise ValueError(f"synthesis: expected seconds >= 0, got {self.synthesis}")

    def speak(self, text: str) -> Speech:
        words = sum(_spoken_words(word) for word in text.split())
        return Speech(seconds=60.0 * words / self.rate, synthesis=self.synthesis)


def _spoken_words(word: str) -> float:
    signs = sum(not character.isalnum() and character not in ".,;:!?'\"()" for character in word)
    plain = any(character.isalnum() for character in word)
    return plain + 0.5 * signs


class ProgramSpeech(SpeechModel):
    """Speech by a program that reads text from its input and writes a WAV file to its output.

    Such as `["espeak-ng", "--stdout"]` or `["piper", "--model", "voice.onnx", "--output_file", "-"]`. The time
    that the program takes counts as synthesis.

    Args:
        command: the program and its arguments.
        timeout: seconds that it may take for one chunk.
    """

    def __init__(self, command: Sequence[str], timeout: float = 60.0) -> None:
        if isinstance(command, str) or not command:
            raise ValueError(f"command: expected a program and its arguments as a list, got {command!r}")
        self.command, self.timeout = list(command), timeout

    @property
    def name(self) -> str:
        return shlex.join(self.command)

    def speak(self, text: str) -> Speech:
        began = time.perf_counter()
        try:
            done = subprocess.run(
                self.command, input=text.encode(), capture_output=True, timeout=self.timeout, check=True
            )
            took = time.perf_counter() - began
            return Speech(_wav_seconds(done.stdout), took)
        except (OSError, subprocess.SubprocessError, wave.Error, EOFError) as error:
            raise SpeechError(f"{self.command[0]}: no speech for {text!r}: {error}") from error


def _wav_seconds(data: bytes) -> float:
    with wave.open(io.BytesIO(data)) as audio:
        width = audio.getsampwidth() * audio.getnchannels()
        # programs that write to a pipe do not know the length when they write the header: count what came
        frames = min(audio.getnframes(), len(data) // width)
        return frames / audio.getframerate()
