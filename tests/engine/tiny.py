"""A tiny random model, and the plainest protocol there is, for tests of the engine."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fakes import ToyTokenizer
from hogwild.cache.view import ViewSpec
from hogwild.engine.core import EngineCore
from hogwild.engine.events import StartEvent, TokenEvent
from hogwild.engine.feed import Feed
from hogwild.engine.protocol import Protocol
from hogwild.engine.sampling import SamplingParams

TOKENIZER = ToyTokenizer(["\n\n", ".\n\n"])
PROMPT = TOKENIZER.encode("The quick brown fox jumps over the lazy dog.")
STOCHASTIC = SamplingParams(temperature=1.2, top_k=40, repetition_penalty=1.1, seed=3)


def make_model(max_position_embeddings=2048, seed=1):
    """Two layers of llama over the toy vocabulary, with weights large enough for attention to matter."""
    config = LlamaConfig(
        vocab_size=len(TOKENIZER.vocab),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_position_embeddings,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * (2 / weight.shape[-1]) ** 0.5)
    return model


def make_engine(model=None, **options):
    return EngineCore(make_model() if model is None else model, TOKENIZER, **options)


class Writers(Protocol):
    """Workers that see a prompt and each other, and write `count` tokens each.

    Attributes:
        said: tokens sampled by each worker.
    """

    name = "writers"

    def __init__(self, prompt, starts=((5,),), count=8, sampling=None):
        self.workers = [f"w{index}" for index in range(len(starts))]
        self.said = {worker: [] for worker in self.workers}
        self._prompt, self._count = tuple(prompt), count
        self._pending = {worker: tuple(start) for worker, start in zip(self.workers, starts, strict=True)}
        self._sampling = sampling or SamplingParams()
        self._fresh = True

    def sampling(self, worker):
        return self._sampling

    def start(self, store):
        self.store = store
        for name in ("prompt", *self.workers):
            store.create(name)
        return [StartEvent(protocol=self.name, workers=list(self.workers))]

    def feeds(self):
        prompt = Feed(self.workers[0], self._prompt, ViewSpec(("prompt",), "prompt"), sample=False)
        feeds = [prompt] if self._fresh else []
        for worker in self.workers:
            others = tuple(other for other in self.workers if other != worker)
            view = ViewSpec(("prompt", *others, worker), worker)
            feeds.append(Feed(worker, self._pending[worker], view))
        return feeds

    def receive(self, results):
        self._fresh = False
        events = []
        for result in results:
            if result.token is not None:
                self.said[result.worker].append(result.token)
                self._pending[result.worker] = (result.token,)
                events.append(TokenEvent(worker=result.worker, token=result.token))
        if len(self.said[self.workers[0]]) >= self._count:
            self.finish_reason = "max_forwards"
        return events


def drive(engine, *protocols, interrupt=None):
    """Run protocols side by side through `open` and `forward`; the sessions, finished and open."""
    sessions = [engine.open(protocol) for protocol in protocols]
    while any(not session.finished for session in sessions):
        engine.forward()
    return sessions


def contents(session):
    """Token ids of every block of a session."""
    return {name: session.blocks.tokens(name) for name in session.blocks.names()}


def writers(count=12, **options):
    """Two workers with headers of unequal length on the common prompt."""
    return Writers(PROMPT, [(5, 6), (11,)], count=count, **options)


def undisturbed(make):
    """What the workers of `make()` say when nothing goes wrong."""
    protocol = make()
    drive(make_engine(make_model()), protocol)
    return protocol.said
