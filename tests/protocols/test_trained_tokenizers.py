"""Views of real runs on tokenizers as models have them: long pieces, blanks inside of them, bytes."""

from __future__ import annotations

import pytest
from transformers import LlamaConfig, LlamaForCausalLM
from view_texts import ViewTexts, run_and_compare

from hogwild.engine.sampling import SamplingParams
from hogwild.prompting import Headers
from hogwild.protocols import CollaborationProtocol, Engine
from trained import TEXT, TOKENIZERS

SAID = [".", "?", "\n", "\n\n", ".\n\n", "!\n\n", " so"]  # mostly sentences and their ends


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def engine(request):
    tokenizer = TOKENIZERS[request.param]()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Engine(LlamaForCausalLM(config).eval(), tokenizer)


@pytest.mark.parametrize("layout", ["combined", "contiguous", "interleaved"])
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 6])
def test_views_are_the_layouts_texts(engine, layout, workers):
    tokenizer = engine.tokenizer
    said = {ids[-1] for text in SAID if (ids := tokenizer.encode(f"x{text}", add_special_tokens=False))}
    forbidden = tuple(i for i in range(len(tokenizer)) if i not in said)
    prompt = tokenizer.encode(TEXT, add_special_tokens=False)
    protocol = CollaborationProtocol(
        "Solve it.",
        tokenizer,
        workers,
        layout,
        prompt=prompt,
        headers=Headers(),
        max_forwards=80,
        question_every=40,
        sampling=SamplingParams(temperature=3.0, seed=workers, forbidden_tokens=forbidden),
    )
    texts = ViewTexts(protocol, TEXT, [tokenizer.eos_token_id])
    run_and_compare(engine, protocol, tokenizer, texts)
    assert layout == "contiguous" or workers == 1 or texts.finished
