"""Models that compute more logits than they are asked for, and models that have none."""

import pytest
from tiny import PROMPT, Writers, drive, make_engine, make_model
from transformers import AutoModel, AutoModelForSequenceClassification, LlamaForCausalLM

import hogwild
from hogwild.engine.graphs import GraphRunner
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import UnsupportedModelError
from hogwild.models import binding_of


class AllLogits(LlamaForCausalLM):
    """Ignores `logits_to_keep`, as models do whose forward hands on what it does not know (Qwen2.5-Omni)."""

    def forward(self, input_ids=None, position_ids=None, past_key_values=None, use_cache=None, **kwargs):
        kwargs.pop("logits_to_keep", None)
        return super().forward(
            input_ids=input_ids,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )


class NoKeyword(LlamaForCausalLM):
    """Does not even take it."""

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None
    ):
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )


@pytest.mark.parametrize("fixed_sizes", [False, True])
@pytest.mark.parametrize("sampling", [SamplingParams(), SamplingParams(temperature=1.0, top_k=9, seed=4)])
@pytest.mark.parametrize("kind", [AllLogits, NoKeyword])
def test_logits_of_all_tokens(kind, sampling, fixed_sizes):
    said = []
    for cls in (LlamaForCausalLM, kind):
        model = make_model()
        model.__class__ = cls
        hogwild.enable(model)
        assert binding_of(model).keeps_logits == (cls is LlamaForCausalLM)
        runner = GraphRunner(model) if fixed_sizes else None
        protocol = Writers(PROMPT, [(5, 6, 7), (11,)], count=6, sampling=sampling)
        drive(make_engine(model, runner=runner), protocol)
        said.append(protocol.said)
    assert said[0] == said[1]


@pytest.mark.parametrize("kind", [AutoModel, AutoModelForSequenceClassification])
def test_a_model_without_a_language_models_head(kind):
    model = kind.from_config(make_model().config).eval()
    with pytest.raises(TypeError, match=r"model: expected a causal language model, got Llama\w+"):
        make_engine(model)
    with pytest.raises(UnsupportedModelError, match="not enabled"):
        binding_of(model)
