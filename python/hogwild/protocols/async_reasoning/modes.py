"""The modes of a run, and the names of the two streams."""

from __future__ import annotations

THINKER = "thinker"
WRITER = "writer"

THINKER_ONLY = "thinker_only"
THINKER_AND_WRITER = "thinker_and_writer"
WRITER_ONLY = "writer_only"
FOLDING = "folding"  # after an answer, the thinker sums its thoughts up
WAITING = "waiting"  # between two turns

ACTIVE = {
    THINKER_ONLY: (THINKER,),
    THINKER_AND_WRITER: (THINKER, WRITER),
    WRITER_ONLY: (WRITER,),
    FOLDING: (),
    WAITING: (),
}
