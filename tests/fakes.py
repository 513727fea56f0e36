"""Stand-ins for what surrounds a protocol: a toy tokenizer, blocks that are lists, an engine with a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from hogwild.cache.view import ViewSpec
from hogwild.engine.events import Event
from hogwild.engine.feed import Feed, Result
from hogwild.engine.protocol import Protocol
from hogwild.engine.rows import check_feeds
from hogwild.errors import BlockError, UnknownNameError


class ToyTokenizer:
    """Greedy longest match over a list of pieces, and single characters for the rest; no special treatment.

    Args:
        pieces: tokens of more than one character, for example `"\\n\\n"` or `".\\n\\n"`.
    """

    eos_token_id = 0
    chat_template = None

    def __init__(self, pieces: Sequence[str] = ("\n\n",)) -> None:
        characters = [chr(code) for code in range(128)]
        self.vocab = ["<eos>", *pieces, *characters]
        self._ids = {piece: index for index, piece in enumerate(self.vocab)}
        self._pieces = sorted(pieces, key=len, reverse=True)

    def id(self, piece: str) -> int:
        return self._ids[piece]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids = []
        place = 0
        while place < len(text):
            piece = next((p for p in self._pieces if text.startswith(p, place)), text[place])
            ids.append(self._ids[piece])
            place += len(piece)
        return ids

    def decode(
        self,
        ids: Sequence[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> str:
        return "".join("" if i == 0 and skip_special_tokens else self.vocab[i] for i in ids)

    def batch_decode(self, sequences: Sequence[Sequence[int]], **options: bool) -> list[str]:
        return [self.decode(ids, **options) for ids in sequences]

    def __len__(self) -> int:
        return len(self.vocab)


class ChatTokenizer(ToyTokenizer):
    """A tokenizer with a chat template, as simple as they come.

    Args:
        pieces: as for `ToyTokenizer`.
        start: how the assistant's turn begins.
    """

    chat_template = "yes"

    def __init__(self, pieces: Sequence[str] = ("\n\n",), start: str = "<assistant>") -> None:
        super().__init__(pieces)
        self._start = start

    def apply_chat_template(
        self, turns: Sequence[Mapping[str, str]], tokenize: bool = True, add_generation_prompt: bool = False
    ) -> str:
        assert not tokenize and add_generation_prompt
        said = (f"<{turn['role']}>{turn['content']}</{turn['role']}>" for turn in turns)
        return "".join(said) + self._start


class ListStore:
    """A `BlockStore` of plain lists, which remembers every operation."""

    def __init__(self) -> None:
        self.blocks: dict[str, list[int]] = {}
        self.log: list[tuple[str, ...]] = []

    def create(self, name: str) -> None:
        self._free(name)
        self.blocks[name] = []
        self.log.append(("create", name))

    def names(self) -> list[str]:
        return list(self.blocks)

    def length(self, name: str) -> int:
        return len(self._get(name))

    def tokens(self, name: str) -> list[int]:
        return list(self._get(name))

    def append_from(self, dst: str, src: str, keep_source: bool = False) -> None:
        if dst == src:
            raise BlockError(f"block {dst!r} cannot be appended to itself")
        self._get(dst).extend(self._get(src))
        if not keep_source:
            self.blocks[src] = []
        self.log.append(("append_from", dst, src))

    def clear(self, name: str) -> None:
        self._get(name).clear()
        self.log.append(("clear", name))

    def crop(self, name: str, length: int) -> None:
        del self._get(name)[length:]
        self.log.append(("crop", name))

    def fork(self, src: str, dst: str) -> None:
        self._free(dst)
        self.blocks[dst] = list(self._get(src))
        self.log.append(("fork", src, dst))

    def drop(self, name: str) -> None:
        self._get(name)
        del self.blocks[name]
        self.log.append(("drop", name))

    def view(self, spec: ViewSpec) -> list[int]:
        """Tokens of the view in order."""
        return [token for name in spec.blocks for token in self._get(name)]

    def _get(self, name: str) -> list[int]:
        if name not in self.blocks:
            raise UnknownNameError("block", name, self.blocks)
        return self.blocks[name]

    def _free(self, name: str) -> None:
        if name in self.blocks:
            raise BlockError(f"there is a block {name!r} already")


class ScriptedEngine:
    """Runs a protocol without a model.

    Args:
        protocol: what is run.
        next_token: gives the token that a feed samples, from the feed and the tokens in its view; or, as a
            mapping, the token ids that each worker samples one after the other.
        measure: gives a feed's `probe` and `entropy` results; by default every set is equally likely, and
            the entropy 0.
        store: where its blocks are; by default a new `ListStore`.
    """

    def __init__(
        self,
        protocol: Protocol,
        next_token: Callable[[Feed, list[int]], int] | Mapping[str, Sequence[int]],
        measure: Callable[[Feed, list[int]], tuple[Sequence[float], float]] | None = None,
        store: ListStore | None = None,
    ) -> None:
        self.protocol, self.store = protocol, store or ListStore()
        if isinstance(next_token, Mapping):
            scripts: dict[str, Iterator[int]] = {worker: iter(ids) for worker, ids in next_token.items()}
            self._next: Callable[[Feed, list[int]], int] = lambda feed, view: next(scripts[feed.worker])
        else:
            self._next = next_token
        self._measure = measure or (lambda feed, view: ([0.0] * len(feed.probe), 0.0))
        self.feeds: list[list[Feed]] = []
        self.events: list[Event] = list(protocol.start(self.store))

    def forward(self) -> list[Event]:
        """One forward: what came from outside is heard, everything is written, every worker samples, and the
        protocol hears of it."""
        heard = self.protocol.listen()
        self.events.extend(heard)
        if self.protocol.finished:
            return heard
        before = [self.store.tokens(name) for name in self.store.names()]
        feeds = self.protocol.feeds()
        assert self.protocol.feeds() == feeds, "feeds() gave another answer the second time"
        assert [self.store.tokens(name) for name in self.store.names()] == before, "feeds() changed blocks"
        check_feeds(feeds)
        self.feeds.append(feeds)
        if not feeds:
            return heard
        for feed in feeds:
            self.store._get(feed.view.write_to).extend(feed.tokens)
        events = self.receive([self._result(feed) for feed in feeds])
        self.events.extend(events)
        return [*heard, *events]

    def _result(self, feed: Feed) -> Result:
        view = self.store.view(feed.view)
        token = self._next(feed, view) if feed.sample else None
        if not feed.probe and not feed.entropy:
            return Result(feed.worker, token)
        probe, entropy = self._measure(feed, view)
        return Result(
            feed.worker,
            token,
            probe=tuple(probe) if feed.probe else (),
            entropy=entropy if feed.entropy else None,
        )

    def receive(self, results: list[Result]) -> list[Event]:
        """Tell the protocol what came back."""
        return self.protocol.receive(results)

    def run(self, forwards: int = 10_000) -> list[Event]:
        """Forwards until the protocol has finished, or so many."""
        for _ in range(forwards):
            if self.protocol.finished:
                break
            self.forward()
        return self.events
