"""The contract between the engine and the methods that run on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from hogwild.engine.events import Event
from hogwild.engine.feed import Feed, Result
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import HogwildError

if TYPE_CHECKING:
    from hogwild.cache.store import BlockStore


class Protocol(ABC):
    """A pure-Python state machine: which worker feeds which tokens next, and what becomes of what comes back.

    A protocol knows tokens, text and the names of blocks; it never touches tensors. The engine drives it::

        events = protocol.begin(store)         # calls start
        while not protocol.finished:
            events = protocol.listen()
            feeds = protocol.feeds()
            ...                                # one forward, or several if the feeds are long
            events = protocol.receive(results)

    so a scripted list of results stands in for the engine in tests. One protocol object runs once.

    Attributes:
        name: the method's name in events and traces.
        workers: names of the workers, in ascending order. A worker's index here is part of its random seed. While
            the protocol runs, names may join at the end.
        finish_reason: None while the protocol runs, then one of `events.FINISH_REASONS`.
        max_length: most tokens that its views may hold, below the model's positions; None: these alone count. A
            session ends with a `ContextLengthError` before a forward in which a view would hold more.
    """

    name: str
    workers: Sequence[str]
    finish_reason: str | None = None
    max_length: int | None = None
    _begun = False

    @property
    def finished(self) -> bool:
        """Whether the protocol has ended; it is not asked for feeds then."""
        return self.finish_reason is not None

    def sampling(self, worker: str) -> SamplingParams:
        """Settings of `worker`; asked once, when it first samples. By default greedy."""
        return SamplingParams()

    def begin(self, store: BlockStore) -> list[Event]:
        """`start`, for those who drive a protocol: refuses a second run, which would go on in the middle.

        Raises:
            HogwildError: the protocol was begun before.
        """
        if self._begun:
            raise HogwildError(
                f"protocol {self.name!r}: a protocol object runs once; make a new one for each run"
            )
        self._begun = True
        return self.start(store)

    @abstractmethod
    def start(self, store: BlockStore) -> list[Event]:
        """Create the blocks in `store`, which the protocol keeps, and say what begins.

        The first event is a `StartEvent`; the session adds the model's name and the version to it. In all
        events the protocol leaves `forward` and `time` alone: the session fills them in.
        """

    def listen(self) -> list[Event]:
        """Take what came from outside; called between forwards, before `feeds`, which answers to it.

        As in `receive`, blocks may be changed and `finish_reason` set here, and after a `PoolExhausted` the
        call is repeated. By default nothing comes from outside.
        """
        return []

    @property
    def has_messages(self) -> bool:
        """Whether something came from outside that `listen` has not taken yet. Asked from the engine's thread."""
        return False

    def notify(self, callback: Callable[[], None]) -> None:  # noqa: B027  (most have nobody to hear)
        """Have `callback` called after each message, in any thread: a protocol that waits is asked again then."""

    def stop(self) -> None:  # noqa: B027
        """The session has ended, for whatever reason: nothing that comes from outside is taken any more."""

    @abstractmethod
    def feeds(self) -> list[Feed]:
        """What is to be written next, in order.

        Pure: called again before `receive`, it gives the same answer and has changed nothing, so a forward
        that was interrupted can be repeated.

        All feeds are written before anything is read, layer by layer, as if at the same time: every worker
        sees the others' new tokens as far as its view shows them. Feeds that together exceed the engine's
        `max_forward_tokens` are written in several forwards, earlier feeds first.

        A feed may also ask how likely sets of tokens are to come next (`Feed.probe`, as for a yes/no question),
        and how uncertain the model is (`Feed.entropy`); the answers stand in its result.

        At most one feed writes to a block, and each worker samples in at most one feed. An empty list
        says that the protocol waits for something from outside: for what `listen` takes, or for a `Handle.call`,
        which may come between `receive` and the next `feeds`, and may change the protocol and its blocks.
        """

    def plain_tokens(self) -> torch.Tensor | None:
        """Tokens after which this protocol surely goes on in the plain way.

        Asked between `feeds` and `receive`, while a forward of one token a feed is computed whose feeds all sample.
        If each of them then samples one of these tokens, `receive` is expected to change no block and to set no
        `finish_reason`, and `feeds` to be the same as before but for the tokens, which are those that were sampled.
        That forward is launched before anybody knows the tokens, and the device looks whether they are plain ones.

        It is no promise: where something else comes, the forward is thrown away, and nothing is lost but its time,
        so tokens and moments after which that is likely should be left out. Pure, like `feeds`. By default there
        are no such tokens, and every forward waits for the protocol.

        Returns:
            [V] bool on the CPU, true for each token id that is a plain one; ids from V on are none. Mostly the same
            tensor, which nobody changes, since each one is sent to the device once. None: there are none.
        """
        return None

    @abstractmethod
    def receive(self, results: Sequence[Result]) -> list[Event]:
        """Take the results of the last `feeds`, one for each feed in the same order.

        Everything that was fed stands in its block by now. Here, in `listen` and in calls from outside, blocks may
        be moved, cleared, cropped or forked, and `finish_reason` set; the session then adds the `FinishEvent`
        itself. An exception ends this session with the reason "error" and leaves the others alone, with one
        exception: after a `PoolExhausted` from a block operation the call is repeated with the same results
        once there may be room, so it must go on from where it was.
        """
