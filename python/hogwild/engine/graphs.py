"""Small forwards replayed from CUDA graphs, so that the device never waits for Python."""

from __future__ import annotations

import gc
import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from hogwild.cache import MOST_ROWS, Ahead, ForwardPlan, Integers, Pool, Sizes
from hogwild.engine.flight import Flight
from hogwild.engine.plain_tokens import PlainTables
from hogwild.engine.runner import EagerRunner, Runner
from hogwild.engine.static import StaticForward, padded_sizes
from hogwild.models import Binding, binding_of, packed_forward
from hogwild.models.compiled import ModelCall
from hogwild.models.joined import JoinedProjections

__all__ = ["DEFAULT_COMPILE", "GraphRunner", "make_runner", "why_not_static"]

DEFAULT_COMPILE = "layers"

_LOG = logging.getLogger(__name__)
_MOST_GRAPHS = 64
_MOST_SIZES = 4096  # that are known by heart
_LONG = 8192  # tokens; prompts on more do better with flash attention than with a graph


def why_not_static(model: PreTrainedModel) -> str | None:
    """Why forwards of the model cannot stay at one place, as the end of a sentence; None if they can."""
    devices = {parameter.device for parameter in model.parameters()}
    if any(device.type == "meta" for device in devices):
        return "parts of the model are offloaded, and are moved by the host in every forward"
    if len(devices) > 1:
        return f"the model is spread over {len(devices)} devices"
    return None


def make_runner(model: PreTrainedModel, compile: str | None = None) -> Runner:
    """The runner of an engine on an enabled model.

    Args:
        compile: see `GraphRunner`; None: `DEFAULT_COMPILE` on CUDA. On the CPU the model is called as it is unless
            something is to be compiled.
    """
    on_cuda = any(parameter.device.type == "cuda" for parameter in model.parameters())
    if not on_cuda and compile in (None, "none"):
        return EagerRunner(model)
    return GraphRunner(model, compile=DEFAULT_COMPILE if compile is None else compile)


class GraphRunner:
    """Runs forwards of up to 1,152 tokens at fixed sizes, on CUDA as graphs that are captured when first needed.

    A graph belongs to a size (packed tokens 1, 2, 4, ..., and generous numbers of blocks and pages), not to a
    session: all sessions share them, and blocks grow under them. Larger forwards, and models that cannot be
    captured, are called as they are; the reason is logged once. On the CPU the same forwards of fixed size are
    called without a graph.

    Args:
        model: enabled by `hogwild.enable`.
        compile: "none", "layers" or "model", see `hogwild.models.compiled.ModelCall`.
        join: compute sibling projections as one product. The model's parameters become views of the joined
            weights; `close` gives each its own memory again.
        backend: of torch.compile.

    Attributes:
        why_eager: why forwards are not captured, once that is known; else None.
        last: the static forward that ran last; None after one that was called as it is.

    Raises:
        ValueError: an unknown `compile`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        compile: str = "none",
        join: bool = True,
        backend: str = "inductor",
    ) -> None:
        self.model = model
        self._device = model.get_input_embeddings().weight.device
        self._options = {"join": join, "backend": backend}
        self.why_eager = why_not_static(model)
        self.last: StaticForward | None = None
        self._call: ModelCall | None = None
        if self.why_eager is None:
            self._call = ModelCall(model, compile, **self._options)  # type: ignore[arg-type]
        else:
            _LOG.warning("forwards are not captured into CUDA graphs: %s", self.why_eager)
        self._captures = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device) if self._captures else None
        self._kept: list[_PoolForwards] = []  # of each pool that is in use
        self._current: _PoolForwards | None = None  # those that served the last forward
        self._logits: dict[int, torch.Tensor] = {}
        self._padded: dict[Sizes, Sizes | None] = {}
        # Of the forward after `last`. Weak: integers know blocks, and those a pool.
        self._expected: weakref.ref[Integers] | None = None
        self._too_large: set[Sizes] = set()
        # What was launched for the next run, and where. Weak, for the same reason.
        self._flight: weakref.ref[Flight] | None = None
        self._launched_on: torch.cuda.Stream | None = None
        self._plain = PlainTables(self._device)
        self._admitted = torch.zeros(1, dtype=torch.int32, device=self._device)
        self._launches = True  # as far as is known

    @property
    def compile(self) -> str:
        """What is compiled: "none", "layers" or "model"."""
        return "none" if self._call is None else self._call.compile

    @property
    def joined(self) -> JoinedProjections | None:
        """The projections that are computed together, if any are."""
        return None if self._call is None else self._call.joined

    @property
    def forwards(self) -> list[StaticForward]:
        """One for each size that was needed so far, by pool."""
        return [forward for kept in self._kept for forward in kept.by_size.values()]

    @property
    def ahead(self) -> bool:
        """See `hogwild.engine.runner.Runner`."""
        return self.last is not None and self.last.graph is not None

    def expect(self, integers: Integers) -> None:
        """See `hogwild.engine.runner.Runner`."""
        if self.last is not None:
            self.last.prepare(integers)
            self._expected = weakref.ref(integers)

    def run(self, plan: ForwardPlan, rows: Sequence[int]) -> torch.Tensor:
        """Logits [len(rows), vocab] of some of the plan's tokens; see `hogwild.engine.runner.Runner`."""
        self._join()
        flight = None if self._flight is None else self._flight()
        self._flight = None
        if flight is not None and self._is_current(plan.pool) and flight.is_for(plan, rows):
            return self._land(flight)
        expected, self._expected = self._expected, None
        last, self.last = self.last, None
        like = last if expected is not None and expected() is plan.integers else None
        sizes = self._sizes(plan, rows, like)
        if sizes is None:
            return packed_forward(self.model, plan, rows)
        with plan.pool.staying:  # from looking where the pages are until the graph is on its way
            return self._run(plan, rows, sizes)

    def launch(
        self, ahead: Ahead, tokens: Callable[[], torch.Tensor], plain: Sequence[torch.Tensor]
    ) -> Flight | None:
        """See `hogwild.engine.runner.Runner`."""
        forward = self.last
        if not self._launches or forward is None or forward.logits is None:
            return None
        with ahead.pool.staying:
            if not self._is_current(ahead.pool):
                return None
            integers = ahead.settle()
            if integers is None or max(map(len, integers.block_pages)) > forward.sizes.pages:
                return None
            if not self._can_launch(forward):
                return None
            known = self._plain.rows(plain)
            flight = Flight(ahead, forward, known)
            forward.load(integers, [0] * len(plain), integers.last_rows)
            torch.ops.hogwild.admit(tokens(), known.tables, known.classes, forward.input_ids, self._admitted)
            forward.replay_if(self._admitted, ahead)
        if self._captures:
            self._launched_on = torch.cuda.current_stream(self._device)
        self._flight = weakref.ref(flight)
        return flight

    def _can_launch(self, forward: StaticForward) -> bool:
        try:
            forward.prepare_condition(self._admitted)
        except RuntimeError as error:
            self._launches = False
            _LOG.warning("forwards are not launched ahead of their tokens: %s", str(error).splitlines()[0])
        return self._launches

    def _join(self) -> None:
        """Have the current stream wait for what was launched, if that was on another one."""
        before, self._launched_on = self._launched_on, None
        if before is not None:
            current = torch.cuda.current_stream(self._device)
            if current != before:
                current.wait_stream(before)

    def _land(self, flight: Flight) -> torch.Tensor:
        """What `run` gives for a forward that was launched before."""
        flight.served = True
        self.last, self._expected = flight.forward, None
        assert flight.forward.logits is not None and flight.tokens is not None
        return flight.forward.logits[: len(flight.tokens)]

    def _run(self, plan: ForwardPlan, rows: Sequence[int], sizes: Sizes) -> torch.Tensor:
        kept = self._kept_for(plan.pool)
        forward = kept.chosen.get(sizes)
        if forward is None:
            forward = self._prepare(kept, sizes)
        kept.by_size.move_to_end(forward.sizes)
        forward.load(plan.integers, plan.token_ids, rows)
        if forward.graph is not None:
            forward.replay(plan)
        elif not self._captures:
            forward.compute(plan)
        else:
            try:
                self._capture(kept, forward, plan)
                forward.replay(plan)
            except Exception as error:
                return self._run_without(forward, error, plan, rows)
        assert forward.logits is not None
        self._logits[forward.sizes.tokens] = forward.logits
        self.last = forward
        return forward.logits[: len(rows)]

    def close(self) -> None:
        """Drop all graphs, and give the model's projections weights of their own again."""
        self._forget(self._kept)
        self.last = self._flight = None
        self._logits.clear()
        if self.joined is not None:
            self.joined.undo()

    def _sizes(self, plan: ForwardPlan, rows: Sequence[int], like: StaticForward | None) -> Sizes | None:
        """Those of the static forward for a plan; None if it is to be called as it is.

        Args:
            like: the forward of a plan that was as large but for its pages, if one is known.
        """
        if like is not None and plan.num_tokens <= MOST_ROWS:
            if max(map(len, plan.integers.block_pages)) <= like.sizes.pages:
                return like.sizes
        if self.why_eager is not None or len(rows) > MOST_ROWS:
            return None
        if plan.num_tokens > MOST_ROWS and self._captures and max(plan.view_lengths) > _LONG:
            return None
        exact = plan.integers.sizes
        sizes = self._padded.get(exact)
        if sizes is None:
            if len(self._padded) >= _MOST_SIZES:
                self._padded.clear()
            sizes = self._padded[exact] = padded_sizes(exact)
        return None if self._too_large and sizes in self._too_large else sizes

    def _prepare(self, kept: _PoolForwards, sizes: Sizes) -> StaticForward:
        """The smallest forward there is with room for `sizes`, else a new one."""
        same = [f for f in kept.by_size.values() if f.sizes[:2] == sizes[:2] and _covers(f.sizes, sizes)]
        if same:
            forward = min(same, key=lambda f: f.sizes)
        else:
            assert self._call is not None
            logits = self._logits.get(sizes.tokens)
            forward = StaticForward(self._call, kept.binding, sizes, self._device, logits)
            kept.by_size[sizes] = forward
            if len(kept.by_size) > _MOST_GRAPHS:
                oldest = next(iter(kept.by_size.values()))
                self._wait_for([oldest])
                kept.drop(oldest)
        kept.chosen[sizes] = forward
        return forward

    def _capture(self, kept: _PoolForwards, forward: StaticForward, plan: ForwardPlan) -> None:
        """Make a graph of `forward`, which holds `plan`."""
        assert self._stream is not None
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        graph = torch.cuda.CUDAGraph(keep_graph=True)  # as the body of a conditional one
        with torch.cuda.stream(self._stream):
            forward.compute(plan)  # compiles, loads kernels, allocates the layers of a new pool
            with _no_waiting():
                forward.compute(plan)  # in a capture, waiting for the device would be an error beyond repair
            torch.cuda.synchronize(self._device)
            kept.generation = plan.pool.generation
            with _no_collection(), _own_workspaces():
                # Other threads may go on with their CUDA calls.
                graph.capture_begin(kept.memory, capture_error_mode="thread_local")
                try:
                    forward.compute(plan)
                except BaseException:
                    try:
                        graph.capture_end()
                    except RuntimeError:  # the capture was invalidated by what failed, which is the cause
                        pass
                    raise
                graph.capture_end()
            graph.instantiate()
        current.wait_stream(self._stream)
        forward.graph = graph
        _LOG.debug("captured a forward of %s", forward.sizes)

    def _run_without(
        self, forward: StaticForward, error: Exception, plan: ForwardPlan, rows: Sequence[int]
    ) -> torch.Tensor:
        """Carry the forward out as it is. If that works, `error` was the capture's: the next ones do with less."""
        logits = packed_forward(self.model, plan, rows)
        self._forget(self._kept)
        assert self._call is not None
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        if isinstance(error, torch.OutOfMemoryError):
            _LOG.warning("there is no memory for a CUDA graph of a forward of %s", forward.sizes)
            self._too_large.add(forward.sizes)
        elif self._call.compile != "none":
            _LOG.warning("the model is not compiled: %s", reason)
            joined = self._call.joined
            self._call = ModelCall(self.model, "none")
            self._call.joined = joined
        else:
            _LOG.warning("forwards are not captured into CUDA graphs: %s", reason)
            self.why_eager = reason
        return logits

    def _kept_for(self, pool: Pool) -> _PoolForwards:
        """What is kept for a pool.

        Graphs hold addresses of pages: a pool that has grown needs others. So does a model that was enabled anew,
        perhaps with other frequencies. Engines that share a runner may have a pool each, and go on by turns.
        """
        kept = self._current
        if kept is None or not self._is_current(pool):
            binding = binding_of(self.model)
            self._forget([stale for stale in self._kept if not stale.is_valid(binding)])
            kept = next((one for one in self._kept if one.pool is pool), None)
            if kept is None:
                kept = _PoolForwards(pool, binding, self._captures)
                self._kept.append(kept)
            self._current = kept
        return kept

    def _is_current(self, pool: Pool) -> bool:
        """Whether what served the last forward is good for another one of this pool."""
        binding, kept = binding_of(self.model), self._current
        return kept is not None and kept.pool is pool and kept.is_valid(binding)

    def _forget(self, what: Sequence[_PoolForwards]) -> None:
        self._wait_for(forward for kept in what for forward in kept.by_size.values())
        gone = set(map(id, what))
        self._kept = [kept for kept in self._kept if id(kept) not in gone]
        self._current = None

    def _wait_for(self, forwards: Iterable[StaticForward]) -> None:
        """A graph that runs must not be destroyed, nor the memory that it copies its inputs from."""
        if self._captures and any(forward.graph is not None for forward in forwards):
            torch.cuda.synchronize(self._device)


class _PoolForwards:
    """The forwards that write to one pool, as long as that stays where it is.

    Attributes:
        binding: of the model.
        generation: of the pool, see `Pool`.
        by_size: those of each size, the one that has not been used for longest first.
        chosen: which of them serves what sizes.
        memory: that graphs compute in.
    """

    def __init__(self, pool: Pool, binding: Binding, captures: bool) -> None:
        self._pool = weakref.ref(pool)
        self.binding, self.generation = binding, pool.generation
        self.by_size: OrderedDict[Sizes, StaticForward] = OrderedDict()
        self.chosen: dict[Sizes, StaticForward] = {}
        self.memory = torch.cuda.graph_pool_handle() if captures else None

    @property
    def pool(self) -> Pool | None:
        """None once it is gone."""
        return self._pool()

    def is_valid(self, binding: Binding) -> bool:
        """Whether the pages are where they were, and the model is bound as it was."""
        pool = self.pool
        return pool is not None and pool.generation == self.generation and binding is self.binding

    def drop(self, forward: StaticForward) -> None:
        """Keep a forward no longer."""
        del self.by_size[forward.sizes]
        self.chosen = {sizes: other for sizes, other in self.chosen.items() if other is not forward}


def _covers(one: Sizes, other: Sizes) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))


@contextmanager
def _no_waiting() -> Iterator[None]:
    """What waits for the device raises."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _no_collection() -> Iterator[None]:
    """A collector that frees CUDA tensors and graphs in the middle of a capture may end it."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _own_workspaces() -> Iterator[None]:
    """What is captured in here has cuBLAS workspaces in the graph's own memory.

    Those that exist belong to the process, and whoever captures by `torch.compile` in mode reduce-overhead frees them.
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()
