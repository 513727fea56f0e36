"""The two published loops, on `shared_cache` as a notebook would write them, against packed forwards and plain ones."""

from __future__ import annotations

import pytest
import torch
from letters import letters_tokenizer
from tiny_models import tiny_model

import hogwild
from hogwild import shared_cache
from hogwild.cache import BlockSet, ForwardPlan, Pool, ViewSpec, make_layout
from hogwild.models import packed_forward

ENCODE = {"return_tensors": "pt", "padding": True, "padding_side": "left", "add_special_tokens": False}
HEADERS = {"header_others": "\n### others\n", "header_own": "\n### own\n"}
PROMPT = "Two of you add 12 and 30.\n### past"


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def model(request):
    return hogwild.enable(tiny_model(request.param))


@pytest.fixture(scope="module")
def tokenizer():
    return letters_tokenizer()


def ends_step(tokens: list[int]) -> bool:
    """A stand-in for paragraphs, which random models do not write: steps of nine to thirteen tokens."""
    return len(tokens) > 8 + tokens[-1] % 5


def step_prefix(worker: int, index: int) -> str:
    return f"{'AB'[worker]}[{index}]:"


def combined_loop(model, tokenizer, forwards: int) -> list[list[int]]:
    """Two workers in the combined layout: prefill three blocks, decode together, move finished steps."""
    common, header, separator, w1, w2 = (shared_cache.CacheBlock(config=model.config) for _ in range(5))
    cm = shared_cache.SharedCacheManager(
        cache_structure=[[common, header, w2, separator, w1], [common, header, w1, separator, w2]]
    )
    with torch.inference_mode():
        model(**tokenizer([PROMPT], **ENCODE), use_cache=True, past_key_values=common)
        for block, text, before in (
            (header, HEADERS["header_others"], [common]),
            (separator, HEADERS["header_own"], [common, header]),
        ):
            prefill = shared_cache.SharedCacheManager([[*before, block]])
            model(**prefill.get_input_kwargs(**tokenizer([text], **ENCODE)))
    prefixes = [step_prefix(0, 1) + "hello", step_prefix(1, 1)]
    current = [tokenizer.encode(p, add_special_tokens=False) for p in prefixes]
    written, index = [[], []], [1, 1]
    inputs = tokenizer(prefixes, **ENCODE)
    for _ in range(forwards):
        with torch.inference_mode():
            logits = model(**cm.get_input_kwargs(**inputs)).logits[..., -1, :]
        new = logits.argmax(-1)
        following = new.unsqueeze(-1).tolist()
        for worker, token in enumerate(new.tolist()):
            current[worker].append(token)
            written[worker].append(token)
            if ends_step(current[worker]):
                index[worker] += 1
                current[worker] = tokenizer.encode(
                    step_prefix(worker, index[worker]), add_special_tokens=False
                )
                common.append_from(cm.cache_structure[worker][-1])
                cm.cache_structure[worker][-1].clear()
                following[worker] = [token, *current[worker]]
        inputs = tokenizer.pad({"input_ids": following}, padding_side="left", return_tensors="pt")
    assert min(index) > 2, "the loop must have moved steps"
    return written


def combined_packed(model, tokenizer, forwards: int) -> list[list[int]]:
    """The same by named blocks and packed forwards."""
    layout = make_layout("combined", ["A", "B"])
    blocks = BlockSet(Pool(page_size=16))
    for name in layout.block_names:
        blocks.create(name)

    def forward(feeds):
        plan = ForwardPlan([(blocks.view(spec), tokens) for spec, tokens in feeds])
        logits = packed_forward(model, plan)
        plan.commit()
        return logits.argmax(-1).tolist()

    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False)

    forward([(ViewSpec(("history",), "history"), encode(PROMPT))])
    for section in layout.sections:
        forward([(section, encode(HEADERS[section.write_to]))])
    feeds = [encode(step_prefix(0, 1) + "hello"), encode(step_prefix(1, 1))]
    current, written, index = [list(f) for f in feeds], [[], []], [1, 1]
    for _ in range(forwards):
        new = forward([(layout.view(w), feeds[i]) for i, w in enumerate("AB")])
        for worker, token in enumerate(new):
            current[worker].append(token)
            written[worker].append(token)
            feeds[worker] = [token]
            if ends_step(current[worker]):
                index[worker] += 1
                current[worker] = encode(step_prefix(worker, index[worker]))
                blocks.append_from("history", layout.step_block("AB"[worker]))
                feeds[worker] = [token, *current[worker]]
    return written


def test_combined_loop_equals_packed_forwards(model, tokenizer):
    assert combined_loop(model, tokenizer, 60) == combined_packed(model, tokenizer, 60)


class ThinkerAndWriter:
    """Blocks and the three managers of the thinker-and-writer notebook, prefilled in context."""

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer
        names = ("writer_prompt", "writer_split", "writer", "thinker_prompt", "thinker_split", "thinker")
        for name in names:
            setattr(self, name, shared_cache.CacheBlock(config=model.config, name=name))
        thinker_stub, writer_stub = (shared_cache.CacheBlock(config=model.config) for _ in range(2))
        self.prefill("You write: 12+30", [self.writer_prompt])
        self.prefill("You think: 12+30", [self.thinker_prompt])
        self.prefill("thoughts:", [self.writer_prompt, thinker_stub])
        self.prefill("answer:", [self.thinker_prompt, writer_stub])
        self.prefill(" <more>\n", [self.writer_prompt, thinker_stub, self.writer_split])
        self.prefill(" <more>", [self.thinker_prompt, writer_stub, self.thinker_split])
        self.prefill("answer:", [self.writer_prompt, thinker_stub, self.writer_split, self.writer])
        self.prefill("thoughts:", [self.thinker_prompt, writer_stub, self.thinker_split, self.thinker])
        writer_view = [self.writer_prompt, self.thinker, self.writer_split, self.writer]
        thinker_view = [self.thinker_prompt, self.writer, self.thinker_split, self.thinker]
        manager = shared_cache.SharedCacheManager
        self.thinker_only = manager(cache_structure=[thinker_view], write_to=[self.thinker])
        self.both = manager(cache_structure=[writer_view, thinker_view], write_to=[self.writer, self.thinker])
        self.writer_only = manager(cache_structure=[writer_view], write_to=[self.writer])

    def prefill(self, text, blocks):
        manager = shared_cache.SharedCacheManager(cache_structure=[blocks], write_to=[blocks[-1]])
        self.run(manager, self.tokenizer(text, **ENCODE)["input_ids"])

    def run(self, manager, input_ids, **kwargs):
        with torch.inference_mode():
            return self.model(**manager.get_input_kwargs(input_ids, **kwargs)).logits[..., -1, :]


def test_thinker_and_writer_loop(model, tokenizer):
    """Mode switches, with questions and answers in the streams: no token is lost, doubled or out of order."""
    cache = ThinkerAndWriter(model, tokenizer)
    question = tokenizer("\nenough? (yes/no): ", **ENCODE)["input_ids"]
    answers = [tokenizer(text, **ENCODE)["input_ids"] for text in ("yes", "no")]
    newline = tokenizer.encode("\n", add_special_tokens=False)[0]
    thinker, writer = [newline], [newline]
    expected = {name: list(getattr(cache, name).tokens) for name in ("thinker", "writer")}
    state, switches = "thinker_only", 0
    for count in range(60):
        if state == "thinker_only":
            logits = cache.run(cache.thinker_only, torch.tensor([thinker[-1:]]))
            expected["thinker"].append(thinker[-1])
            thinker.append(int(logits.argmax(-1)))
            if count % 7 == 6:
                cache.run(cache.thinker_only, question)
                cache.run(cache.thinker_only, answers[0])
                expected["thinker"] += question[0].tolist() + answers[0][0].tolist()
                thinker.append(newline)
                state, switches = "both", switches + 1
        else:
            logits = cache.run(cache.both, torch.tensor([writer[-1:], thinker[-1:]]))
            expected["writer"].append(writer[-1])
            expected["thinker"].append(thinker[-1])
            writer_token, thinker_token = logits.argmax(-1).tolist()
            writer.append(writer_token)
            thinker.append(thinker_token)
            if count % 5 == 4:
                cache.run(cache.writer_only, question)
                cache.run(cache.writer_only, answers[1])
                expected["writer"] += question[0].tolist() + answers[1][0].tolist()
                writer.append(newline)
                state = "thinker_only"
    assert switches > 3
    assert cache.thinker.tokens == expected["thinker"]
    assert cache.writer.tokens == expected["writer"]
    assert len(cache.writer_prompt) == len("You write: 12+30")
    # token by token or at once, a thinker whose writer is silent says the same
    alone = ThinkerAndWriter(model, tokenizer)
    for token in thinker[:12]:
        got = alone.run(alone.thinker_only, torch.tensor([[token]]))
    plain = ThinkerAndWriter(model, tokenizer)
    want = plain.run(plain.thinker_only, torch.tensor([thinker[:12]]))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


def test_active_workers_and_targets_of_one_call(model, tokenizer):
    cache = ThinkerAndWriter(model, tokenizer)
    a, b = ThinkerAndWriter(model, tokenizer), len(cache.thinker)
    ids = torch.tensor([[7]])
    got = cache.run(cache.both, ids, active_worker_indices=[1])
    want = a.run(a.thinker_only, ids)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
    assert (len(cache.thinker), len(cache.writer)) == (b + 1, len(a.writer))
    split = len(cache.writer_split)
    cache.run(cache.both, ids, active_worker_indices=[0], write_to=[cache.writer_split])
    assert len(cache.writer_split) == split + 1
