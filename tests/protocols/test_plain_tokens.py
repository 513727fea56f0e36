"""What protocols say of tokens beforehand is true, and changes nothing."""

import itertools

import pytest
import torch
from streams import ROLES, ControlTokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from fakes import ToyTokenizer
from hogwild.engine import EngineCore, SamplingParams
from hogwild.models import enable
from hogwild.prompting import StepRule
from hogwild.prompting.answers import BoxedAnswer, CodeAnswer
from hogwild.protocols import CollaborationProtocol
from hogwild.protocols.async_reasoning import AsyncReasoningProtocol
from hogwild.protocols.plain_tokens import characters_of_ends, plain_tokens
from hogwild.protocols.threads import SelfConsistencyProtocol, SequentialProtocol
from runners import runner_of

TOKENIZER = ToyTokenizer(["\n\n", ".\n\n", "\\boxed{", "}\n"])
CONTROL = ControlTokenizer()
FEW = "abcdef .}"  # characters that are sampled, besides longer tokens


def make_engine(tokenizer, busy, device):
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer.vocab),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
    )
    model = enable(LlamaForCausalLM(config).eval().to(device))
    return EngineCore(model, tokenizer, runner=runner_of(model, busy))


def sampling(tokenizer, seed):
    kept = {*FEW, *tokenizer.vocab[:8]} if seed % 3 else {*FEW, *tokenizer.vocab[1:8]}
    forbidden = [index for index, piece in enumerate(tokenizer.vocab) if piece not in kept]
    return SamplingParams(temperature=1.0, seed=seed, forbidden_tokens=tuple(forbidden))


def run(make, tokenizer, during=None, device="cpu"):
    """Events, without their times, of a run with flights; they are those of one without."""
    found = []
    for busy in (True, False):
        engine = make_engine(tokenizer, busy, device)
        protocol = make()
        session = engine.open(protocol)
        told = []
        while not session.finished:
            if during is not None:
                during(session)
            for _, events in engine.forward():
                told += [{**vars(event), "time": 0, "seconds": 0} for event in events]
        assert session.error is None, session.error
        contents = {name: session.blocks.tokens(name) for name in session.blocks.names()}
        found.append((told, contents, session.sampler_states()))
        if busy:
            batcher = engine._batcher
    assert found[0] == found[1]
    return found[0][0], batcher


def test_tokens_are_plain_by_their_text():
    plain = plain_tokens(TOKENIZER, "\n}", [TOKENIZER.id("q"), 10**6])
    others = {TOKENIZER.id(piece) for piece in ("\n", "\n\n", ".\n\n", "}", "}\n", "q")}
    assert [token for token in range(len(TOKENIZER)) if not plain[token]] == sorted(others)


def test_a_character_of_several_tokens_may_end_with_any_of_them():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    ids = tokenizer.encode("\u3002")
    assert len(ids) == 3
    assert not plain_tokens(tokenizer, "\u3002")[ids].any()
    assert plain_tokens(tokenizer, "\u3002")[tokenizer.encode("a\n")].all()
    assert plain_tokens(tokenizer, "\n")[ids].all()  # which is one byte


def test_tokens_are_looked_at_once():
    assert plain_tokens(TOKENIZER, "ab") is plain_tokens(TOKENIZER, "ba")
    assert plain_tokens(TOKENIZER, "ab") is not plain_tokens(TOKENIZER, "ab", [3])
    assert plain_tokens(ToyTokenizer(), "ab") is not plain_tokens(TOKENIZER, "ab")


def test_a_tokenizer_that_cannot_tell_tokens_has_no_plain_ones(caplog):
    class Odd(ToyTokenizer):
        def batch_decode(self, sequences, **options):
            raise LookupError("no such token")

    class NotThere(ToyTokenizer):
        __hash__ = None

    odd = Odd()
    assert plain_tokens(odd, "a") is None and plain_tokens(odd, "b") is None
    assert caplog.text.count("no such token") == 1
    assert plain_tokens(NotThere(), "a") is None and "unhashable" in caplog.text


def test_what_ends_is_known_of_our_own_rules_only():
    class Own(StepRule):
        pass

    assert characters_of_ends(StepRule()) == "\n" and characters_of_ends(StepRule("ab")) == "b"
    assert characters_of_ends(Own()) is None


@pytest.mark.parametrize("form", [BoxedAnswer(), CodeAnswer()])
def test_an_answer_comes_with_one_of_its_ends(form):
    texts = [
        "so \\boxed{5} is \\boxed{answer} it \\boxed{a \\boxed{7} b\n\nno",
        "\\boxed{\\boxed{3} and\n\nso \\boxed {x{y}z} \\boxed{...}",
        "Final program:\n```python\na = {1}\n```\nand\n```\nb\n```\n",
    ]
    changes = 0
    for text in texts:
        for place in range(1, len(text) + 1):
            if form.find(text[:place]) != form.find(text[: place - 1]):
                changes += 1
                assert text[place - 1] in form.ends
    assert changes


def on_cpu_and_cuda(names, cases, on_cuda):
    """Parameters `names` and the device: all cases on the CPU, a few on CUDA."""
    return pytest.mark.parametrize(
        (*names, "device"),
        [(*case, "cpu") for case in cases]
        + [pytest.param(*case, "cuda", marks=pytest.mark.cuda) for case in on_cuda],
    )


LAYOUTS = ["combined", "contiguous", "interleaved"]


@on_cpu_and_cuda(
    ("layout", "seed"), itertools.product(LAYOUTS, range(4)), [("combined", 0), ("contiguous", 1)]
)
def test_collaboration(layout, seed, device):
    def make():
        return CollaborationProtocol(
            "?",
            TOKENIZER,
            2 + seed % 3,
            layout,
            prompt=TOKENIZER.encode("Go on."),
            max_forwards=120,
            budgets=(40, 80, 120),
            early_finish=seed % 2 == 0,
            question_every=50,
            max_length=(None, None, 900, 4096)[seed],
            sampling=sampling(TOKENIZER, seed),
            reencode=seed == 1 and layout != "interleaved",
        )

    told, batcher = run(make, TOKENIZER, device=device)
    assert batcher.flown > 0 and batcher.wasted == 0
    assert len(told) > 50


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [SequentialProtocol, SelfConsistencyProtocol])
def test_threads(kind, seed):
    def make():
        return kind(
            "?",
            TOKENIZER,
            prompt=TOKENIZER.encode("Go on."),
            max_forwards=90,
            budgets=(30, 90),
            early_finish=seed % 2 == 0,
            max_length=(None, 64)[seed % 2],
            sampling=sampling(TOKENIZER, 3 * seed),
        )

    _, batcher = run(make, TOKENIZER)
    assert batcher.flown > 5 and batcher.wasted == 0


def test_a_search_for_answers_of_ones_own_is_waited_for():
    def make():
        return SequentialProtocol(
            "?",
            TOKENIZER,
            prompt=TOKENIZER.encode("Go on."),
            max_forwards=40,
            find_answer=lambda text: text if len(text) > 20 else None,
            sampling=sampling(TOKENIZER, 3),
        )

    _, batcher = run(make, TOKENIZER)
    assert batcher.flown == 0


POLICIES = ["always-on", "probe", "entropy", "fixed-ratio", "think-first", "no-thinking", "in-stream"]


@on_cpu_and_cuda(("policy", "seed"), itertools.product(POLICIES, range(3)), [("always-on", 0), ("probe", 1)])
def test_asynchronous_reasoning(policy, seed, device):
    def make():
        return AsyncReasoningProtocol(
            "?",
            CONTROL,
            policy,
            prompts=ROLES,
            max_forwards=150,
            max_thoughts=(None, 60, 100)[seed],
            sampling=sampling(CONTROL, seed),
        )

    told, batcher = run(make, CONTROL, device=device)
    assert batcher.wasted == 0
    assert batcher.flown > 10 or len(told) < 60


def test_what_is_pushed_comes_as_early_as_without():
    def push(session):
        if session.forwards in (20, 60):
            session.protocol.push("abc", to="thinker")

    def make():
        return AsyncReasoningProtocol(
            "?", CONTROL, "always-on", prompts=ROLES, max_forwards=100, sampling=sampling(CONTROL, 3)
        )

    told, batcher = run(make, CONTROL, push)
    assert any(event.get("to") == "thinker" for event in told)
    assert batcher.flown > 10 and 1 <= batcher.wasted <= 2
