"""enable and disable: what is refused and why, what stays as it was, and what failures leave behind."""

from __future__ import annotations

import contextvars
import copy
import functools
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_models import random_ids, tiny_model

import hogwild
from hogwild.cache import Block, BlockSet, ForwardPlan, Pool, View
from hogwild.errors import BlockError, ContextLengthError, HogwildError, UnsupportedModelError
from hogwild.models import binding_of, packed_forward
from hogwild.shared_cache import CacheBlock, SharedCacheManager

IDS = torch.tensor([random_ids(12, torch.Generator().manual_seed(1))])


@pytest.fixture
def model():
    return hogwild.enable(tiny_model("llama"))


def logits(model, ids=IDS, **kwargs):
    with torch.inference_mode():
        return model(input_ids=ids, **kwargs).logits


def test_plain_calls_and_generate_stay_plain(model):
    plain = tiny_model("llama")
    assert torch.equal(logits(model), logits(plain))
    options = {"max_new_tokens": 8, "do_sample": False}
    assert torch.equal(model.generate(IDS, **options), plain.generate(IDS, **options))
    block = CacheBlock(config=model.config)
    torch.testing.assert_close(logits(model, past_key_values=block), logits(plain), rtol=1e-4, atol=1e-4)
    assert torch.equal(logits(model), logits(plain))


def test_disable_undoes_enable(model):
    assert hogwild.disable(model) is model
    hogwild.disable(model)
    assert not model._forward_hooks and not model._forward_pre_hooks
    with pytest.raises(UnsupportedModelError, match="not enabled"):
        binding_of(model)
    with pytest.raises(AttributeError, match=r"hogwild.enable\(model\)"):
        logits(model, past_key_values=CacheBlock(config=model.config))


def test_enabling_twice_is_enabling_once(model):
    assert hogwild.enable(model) is model
    block = CacheBlock(config=model.config)
    logits(model, past_key_values=block)
    assert len(block) == IDS.shape[1]
    assert len(model._forward_hooks) == 1


def test_a_deep_copy_is_not_enabled_and_works_by_itself(model):
    twin = copy.deepcopy(model)
    assert torch.equal(logits(twin), logits(model))
    with pytest.raises(UnsupportedModelError, match="not enabled"):
        binding_of(twin)
    hogwild.enable(twin)
    assert binding_of(twin) is not binding_of(model)
    for other in (twin, model, pickle.loads(pickle.dumps(model))):
        hogwild.enable(other)
        block = CacheBlock(config=other.config)
        got = torch.cat([logits(other, IDS[:, i : i + 6], past_key_values=block) for i in (0, 6)], 1)
        torch.testing.assert_close(got, logits(model), rtol=1e-4, atol=1e-4)
        assert len(block) == 12


def test_the_inner_model_cannot_be_enabled_beside_its_parent(model):
    with pytest.raises(
        UnsupportedModelError, match="shares modules with this LlamaModel and is enabled already"
    ):
        hogwild.enable(model.model)
    block = CacheBlock(config=model.config)
    logits(model, past_key_values=block)
    assert len(block) == 12


def test_the_inner_model_and_positional_arguments(model):
    block, twin = CacheBlock(config=model.config), CacheBlock(config=model.config)
    with torch.inference_mode():
        hidden = model.model(input_ids=IDS, past_key_values=block).last_hidden_state
        want = model.model(input_ids=IDS).last_hidden_state
        model(IDS, None, None, twin)
    torch.testing.assert_close(hidden, want, rtol=1e-4, atol=1e-4)
    assert block.tokens == twin.tokens == IDS[0].tolist()


def test_inputs_embeds(model):
    block = CacheBlock(config=model.config)
    with torch.inference_mode():
        got = model(inputs_embeds=model.get_input_embeddings()(IDS), past_key_values=block).logits
        with pytest.raises(TypeError, match="inputs_embeds: expected embeddings, which are floating-point"):
            model(inputs_embeds=IDS[..., None].expand(-1, -1, 64), past_key_values=block)
    torch.testing.assert_close(got, logits(model), rtol=1e-4, atol=1e-4)
    assert block.tokens == [-1] * IDS.shape[1]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_failing_forward_leaves_blocks_as_they_were(model, error, layer):
    common, own = CacheBlock(config=model.config), CacheBlock(config=model.config)
    logits(model, past_key_values=common)
    manager = SharedCacheManager([[common, own]])
    used = common.pool.used_pages

    def fail(*_):
        raise error("in the middle")

    handle = model.model.layers[layer].mlp.register_forward_hook(fail)
    with pytest.raises(error, match="in the middle"):
        model(**manager.get_input_kwargs(IDS))
    handle.remove()
    assert torch.equal(logits(model), logits(tiny_model("llama")))  # plain calls are plain again
    assert (len(common), len(own), common.pool.used_pages) == (12, 0, used)
    with torch.inference_mode():
        got = model(**manager.get_input_kwargs(IDS[:, :3])).logits
        want = logits(model, torch.cat((IDS, IDS[:, :3]), 1))[:, 12:]
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.fixture
def interrupted(model):
    """A model, one of whose calls was left by a Ctrl-C in the middle."""
    block = CacheBlock(config=model.config)

    def fail(*_):
        raise KeyboardInterrupt

    handle = model.lm_head.register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        logits(model, past_key_values=block)
    handle.remove()
    return model


def test_the_first_call_after_an_interrupted_one(interrupted):
    assert torch.equal(logits(interrupted), logits(tiny_model("llama")))


def test_a_plain_call_of_the_inner_model_after_an_interrupted_one(interrupted):
    with torch.inference_mode():
        got = interrupted.model(input_ids=IDS).last_hidden_state
        assert torch.equal(got, tiny_model("llama").model(input_ids=IDS).last_hidden_state)


def test_a_call_from_another_thread_after_an_interrupted_one(interrupted):
    block = CacheBlock(config=interrupted.config)
    with ThreadPoolExecutor(1) as threads:
        got = threads.submit(logits, interrupted, past_key_values=block).result()
    torch.testing.assert_close(got, logits(interrupted), rtol=1e-4, atol=1e-4)
    assert len(block) == 12


@pytest.mark.parametrize("change", [hogwild.enable, hogwild.disable, copy.deepcopy])
def test_enable_disable_and_copy_after_an_interrupted_call(interrupted, change):
    model = change(interrupted)
    assert torch.equal(logits(interrupted), logits(tiny_model("llama")))
    hogwild.enable(model)
    block = CacheBlock(config=model.config)
    logits(model, past_key_values=block)
    assert len(block) == 12


def test_one_forward_at_a_time(model):
    block, other = CacheBlock(config=model.config), CacheBlock(config=model.config)

    def meanwhile(*_):
        with ThreadPoolExecutor(1) as threads:
            threads.submit(logits, model, past_key_values=other).result()

    handle = model.model.layers[1].mlp.register_forward_hook(meanwhile)
    with pytest.raises(HogwildError, match="another forward of this model is running"):
        logits(model, past_key_values=block)
    handle.remove()
    assert len(block) == len(other) == 0
    logits(model, past_key_values=block)
    assert len(block) == 12


@pytest.mark.parametrize("place", ["layers", "head"])
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("wrong", ["running", "positions", "plain"])
def test_a_call_that_is_refused_meanwhile_leaves_the_running_one_alone(model, place, elsewhere, wrong):
    block, other = CacheBlock(config=model.config), CacheBlock(config=model.config)
    want = logits(model)
    options = {"past_key_values": other} | ({"position_ids": IDS} if wrong == "positions" else {})
    refused = []

    def meanwhile(*_):
        handle.remove()
        call = functools.partial(logits, model, **({"position_ids": "no"} if wrong == "plain" else options))
        try:
            if elsewhere:
                with ThreadPoolExecutor(1) as threads:
                    threads.submit(call).result()
            else:
                call()
        except Exception as error:
            refused.append(error)

    handle = (model.model.layers[0] if place == "layers" else model.lm_head).register_forward_pre_hook(
        meanwhile
    )
    torch.testing.assert_close(logits(model, past_key_values=block), want, rtol=1e-4, atol=1e-4)
    assert refused and len(block) == 12 and len(other) == 0
    logits(model, past_key_values=other)
    assert len(other) == 12


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_plain_call_beside_a_forward_is_refused(model, elsewhere):
    """It would find no mask and, once the forward is over, attend to what comes later in the text."""
    model.set_attn_implementation("eager")
    plain, block = functools.partial(logits, model), CacheBlock(config=model.config)
    want = plain()

    def meanwhile(*_):
        with pytest.raises(HogwildError, match="another forward of this model is running"):
            if elsewhere:
                with ThreadPoolExecutor(1) as threads:
                    threads.submit(plain).result()
            else:
                contextvars.Context().run(plain)

    handle = model.model.layers[1].mlp.register_forward_hook(meanwhile)
    logits(model, past_key_values=block)
    handle.remove()
    assert len(block) == 12 and torch.equal(plain(), want)


def test_gradients_are_refused(model):
    """There are none of queries and keys, so what reached the embeddings would be a part of them."""
    block = CacheBlock(config=model.config)
    loss = model(input_ids=IDS, labels=IDS, past_key_values=block).loss
    with pytest.raises(HogwildError, match="a forward with a shared cache has no gradients"):
        loss.backward()
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert model.model.layers[0].self_attn.q_proj.weight.grad.norm() > 0


@pytest.mark.parametrize("kind", [list, tuple])
def test_several_blocks_are_no_cache(model, kind):
    block = CacheBlock(config=model.config)
    named = BlockSet(block.pool)
    for cache, what in ((kind([block]), kind.__name__), (named, "BlockSet")):
        with pytest.raises(
            TypeError, match=rf"past_key_values: expected a CacheBlock.* got a {what} of blocks"
        ):
            logits(model, past_key_values=cache)
    assert len(block) == 0


def test_tokens_that_the_model_does_not_have(model):
    block = Block(Pool())
    plan = ForwardPlan([(View([block]), [5, 101])])
    with pytest.raises(ValueError, match="plan: it has token 101; the model knows 0 to 100"):
        packed_forward(model, plan)
    plan.rollback()
    assert len(block) == 0 and block.pool.used_pages == 0


def test_wrappers_that_hand_everything_on():
    """Those of images and text may give attention the number of logits that are wanted."""
    model = hogwild.enable(tiny_model("llama"))
    attention = model.model.layers[0].self_attn
    forward = attention.forward
    attention.forward = lambda *args, **kwargs: forward(*args, logits_to_keep=torch.tensor([3]), **kwargs)
    block = CacheBlock(config=model.config)
    torch.testing.assert_close(logits(model, past_key_values=block), logits(model), rtol=1e-4, atol=1e-4)


def test_blocks_that_change_during_a_forward(model):
    common, own = CacheBlock(config=model.config), CacheBlock(config=model.config)
    logits(model, past_key_values=common)
    logits(model, past_key_values=own)
    handle = model.model.layers[1].mlp.register_forward_hook(lambda *_: own.crop(3))
    with pytest.raises(BlockError, match="was changed while a forward was writing to it"):
        logits(model, past_key_values=own)
    handle.remove()
    assert len(own) == 3 and common.pool.used_pages == len(common.pages) + len(own.pages)


def test_other_frequencies_do_not_mix_with_keys_that_are_there():
    parameters = rope(rope_type="longrope", short_factor=[1.0] * 4, long_factor=[3.0] * 4)
    settings = parameters | {"max_position_embeddings": 512, "original_max_position_embeddings": 64}
    model = hogwild.enable(tiny_model("phi3", **settings))
    block = CacheBlock(config=model.config)
    logits(model, past_key_values=block)
    hogwild.enable(model, max_length=400)
    with pytest.raises(BlockError, match="keys with another rotary embedding"):
        logits(model, past_key_values=block)
    assert len(block) == 12
    block.clear()
    logits(model, past_key_values=block)  # an empty pool can be used anew
    hogwild.enable(model, max_length=400)
    logits(model, past_key_values=block)
    assert len(block) == 24


def test_packed_forward_after_an_interrupted_call(model):
    block = CacheBlock(config=model.config)

    def fail(*_):
        raise KeyboardInterrupt

    handle = model.lm_head.register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        logits(model, past_key_values=block)
    handle.remove()
    own = Block(block.pool)
    plan = ForwardPlan([(View([own]), IDS[0].tolist())])
    got = packed_forward(model, plan)
    plan.commit()
    torch.testing.assert_close(got, logits(model)[:, -1], rtol=1e-4, atol=1e-4)
    assert len(block) == 0 and model.config._attn_implementation == "eager"


def test_blocks_of_another_model(model):
    other = hogwild.enable(tiny_model("llama"))
    block, foreign = CacheBlock(config=model.config), CacheBlock(config=other.config)
    logits(model, past_key_values=block)
    with pytest.raises(BlockError, match="two pools"):
        SharedCacheManager([[block, foreign]])
    with pytest.raises(BlockError, match="keys of another model"):
        logits(other, past_key_values=block)
    assert len(block) == 12
    del model


def test_wrong_dtype(model):
    block = CacheBlock(config=model.config)
    logits(model, past_key_values=block)
    model.to(torch.bfloat16)
    hogwild.enable(model)
    with pytest.raises(BlockError, match=r"key of layer 0: expected .*float32.*got .*bfloat16"):
        logits(model, past_key_values=block)
    assert len(block) == 12
    fresh = CacheBlock(pool=Pool())
    assert logits(model, past_key_values=fresh).isfinite().all()
    block.clear()
    assert logits(model, past_key_values=block).isfinite().all()


def test_frequencies_cast_after_enable(model):
    model.model.rotary_emb.inv_freq = model.model.rotary_emb.inv_freq.to(torch.bfloat16)
    block = CacheBlock(config=model.config)
    with pytest.raises(UnsupportedModelError, match="rotary frequencies changed after enable"):
        logits(model, past_key_values=block)
    hogwild.enable(model)
    got = torch.cat([logits(model, IDS[:, i : i + 6], past_key_values=block) for i in (0, 6)], 1)
    torch.testing.assert_close(got, logits(model), rtol=1e-4, atol=1e-4)


def test_frequencies_written_to_after_enable(model):
    block, rope = CacheBlock(config=model.config), model.model.rotary_emb
    logits(model, past_key_values=block)
    rope.inv_freq = rope.inv_freq.clone()  # as when a model is moved: the same numbers elsewhere
    logits(model, past_key_values=block)
    rope.inv_freq.mul_(0.5)
    with pytest.raises(UnsupportedModelError, match="rotary frequencies changed after enable"):
        logits(model, past_key_values=block)
    rope.inv_freq.mul_(2)  # as they were
    logits(model, past_key_values=block)
    assert len(block) == 3 * IDS.shape[1]


def test_a_pool_that_another_model_takes_over_forgets_its_layers():
    pool = Pool()
    deep, shallow = (hogwild.enable(tiny_model("llama", num_hidden_layers=n)) for n in (3, 2))
    block = CacheBlock(pool=pool)
    logits(deep, past_key_values=block)
    assert sorted(pool.layers) == [0, 1, 2]
    with pytest.raises(BlockError, match="hold keys of another model"):
        logits(shallow, past_key_values=block)
    assert sorted(pool.layers) == [0, 1, 2]
    block.clear()
    got = logits(shallow, past_key_values=block)
    assert sorted(pool.layers) == [0, 1]
    torch.testing.assert_close(got, logits(shallow), rtol=1e-4, atol=1e-4)


def test_more_tokens_than_positions(model):
    block = CacheBlock(config=model.config)
    long = torch.full((1, 510), 5)
    logits(model, long, past_key_values=block, logits_to_keep=1)
    with pytest.raises(ContextLengthError, match="520 tokens, but the model has positions for 512") as caught:
        logits(model, IDS[:, :10], past_key_values=block)
    assert caught.value.limit == 512 and len(block) == 510
    logits(model, IDS[:, :2], past_key_values=block)


def test_max_length():
    model = tiny_model("llama")
    with pytest.raises(ValueError, match="max_length: expected 1 to 512"):
        hogwild.enable(model, max_length=513)
    for value in (True, 10.5, "10"):
        with pytest.raises(TypeError, match=f"max_length: expected an integer or None, got {value!r}"):
            hogwild.enable(model, max_length=value)
    for value in (None, 5, "demo"):
        for function in (hogwild.enable, hogwild.disable):
            with pytest.raises(TypeError, match="model: expected a transformers PreTrainedModel"):
                function(value)
    hogwild.enable(model, max_length=8)
    with pytest.raises(ContextLengthError, match="max_length, as the model was enabled, is 8"):
        logits(model, past_key_values=CacheBlock(config=model.config))


ROPE = {"rope_theta": 10000.0, "original_max_position_embeddings": 64}


def rope(**parameters):
    return {"rope_parameters": ROPE | parameters}


def test_dynamic_rope_is_right_below_its_limit_and_refused_past_it():
    settings = rope(rope_type="dynamic", factor=4.0) | {"max_position_embeddings": 64}
    model = hogwild.enable(tiny_model("llama", **settings))
    ids = torch.tensor([random_ids(60, torch.Generator().manual_seed(2))])
    block = CacheBlock(config=model.config)
    got = torch.cat([logits(model, ids[:, i : i + 20], past_key_values=block) for i in (0, 20, 40)], 1)
    torch.testing.assert_close(got, logits(model, ids), rtol=1e-4, atol=1e-4)
    with pytest.raises(UnsupportedModelError, match="dynamic RoPE changes its frequencies past 64"):
        logits(model, IDS, past_key_values=block)
    assert len(block) == 60
    # a plain call past the limit changes the model's frequencies, and must not change ours
    logits(model, torch.cat((ids, ids), 1))
    twin = CacheBlock(config=model.config)
    got = torch.cat([logits(model, ids[:, i : i + 30], past_key_values=twin) for i in (0, 30)], 1)
    torch.testing.assert_close(got, logits(model, ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("max_length", [None, 400])
def test_longrope_is_frozen_by_the_longest_view(max_length):
    parameters = rope(rope_type="longrope", short_factor=[1.0] * 4, long_factor=[3.0] * 4)
    settings = parameters | {"max_position_embeddings": 512, "original_max_position_embeddings": 64}
    model = hogwild.enable(tiny_model("phi3", **settings), max_length)
    generator = torch.Generator().manual_seed(3)
    ids = torch.tensor([random_ids(200 if max_length else 60, generator)])
    block, got = CacheBlock(config=model.config), []
    for at in range(0, ids.shape[1], 20):
        got.append(logits(model, ids[:, at : at + 20], past_key_values=block))
    torch.testing.assert_close(torch.cat(got, 1), logits(model, ids), rtol=1e-4, atol=1e-4)
    if max_length is None:
        with pytest.raises(ContextLengthError, match=r"max_length=\.\.\.\) chooses the long ones"):
            logits(model, IDS, past_key_values=block)


@pytest.mark.parametrize(
    ("model_type", "settings", "reason"),
    [
        (
            "qwen3_next",
            {
                "head_dim": 16,
                "num_experts": 4,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 24,
                "shared_expert_intermediate_size": 24,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 2,
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
                "layer_types": ["linear_attention", "full_attention"],
            },
            "layers of type linear_attention",
        ),
        ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512}, "only rotary embeddings"),
        # alibi, made of the mask
        (
            "mpt",
            {"d_model": 64, "n_heads": 4, "n_layers": 2},
            "failed in a forward of 4 tokens without a mask",
        ),
        # recurrent beside attention, and nothing attends behind it
        (
            "falcon_h1",
            {
                "num_hidden_layers": 1,
                "mamba_d_ssm": 64,
                "mamba_n_heads": 4,
                "mamba_d_head": 16,
                "mamba_d_state": 8,
            },
            "depends on the order of tokens by more than attention",
        ),
        ("bloom", {"n_layer": 2, "n_head": 4}, "mask of its own|did not call the attention interface"),
        (
            "ministral3",
            {
                "head_dim": 16,
                "rope_parameters": ROPE
                | {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "llama_4_scaling_beta": 0.1,
                    "beta_fast": 32.0,
                    "beta_slow": 1.0,
                },
            },
            "scales queries by their absolute position",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(model_type, settings, reason):
    model = tiny_model(model_type, **settings)
    before = logits(model)
    with pytest.raises(UnsupportedModelError, match=reason):
        hogwild.enable(model)
    assert torch.equal(logits(model), before)
    with pytest.raises(UnsupportedModelError, match="not enabled"):
        binding_of(model)


def test_scaling_by_absolute_position_is_found_by_the_probe_too(monkeypatch):
    monkeypatch.setattr("hogwild.models.binding._scales_by_position", lambda config: "")
    yarn = {
        "rope_type": "yarn",
        "factor": 4.0,
        "llama_4_scaling_beta": 0.1,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
    }
    with pytest.raises(UnsupportedModelError, match="layer 0 scales its queries by their absolute position"):
        hogwild.enable(tiny_model("ministral3", head_dim=16, rope_parameters=ROPE | yarn))


def test_an_attention_layer_that_ignores_the_interface_is_refused():
    model = tiny_model("llama")
    attention = model.model.layers[1].self_attn
    attention.config = copy.deepcopy(model.config)  # its own idea of the implementation to use
    with pytest.raises(
        UnsupportedModelError, match=r"layers \[1\] of 2 did not call the attention interface"
    ):
        hogwild.enable(model)


def test_other_things_that_are_refused():
    with pytest.raises(UnsupportedModelError, match=r"expected float32, bfloat16 or float16"):
        hogwild.enable(tiny_model("llama").to(torch.float64))
    with pytest.raises(TypeError, match="expected a transformers PreTrainedModel"):
        hogwild.enable(torch.nn.Linear(2, 2))
    zero = tiny_model("llama")
    with torch.no_grad():
        zero.model.embed_tokens.weight.zero_()
    with pytest.raises(UnsupportedModelError, match="are the weights loaded"):
        hogwild.enable(zero)


def test_attention_outside_of_a_shared_forward_says_so():
    model = tiny_model("llama")
    model.set_attn_implementation("hogwild")
    with pytest.raises(HogwildError, match="outside of a shared-cache forward"):
        logits(model)


@pytest.mark.parametrize(
    "setting, reason",
    [
        ({"model_type": "deepseek_v4"}, "rotated keys as values"),
        ({"layer_types": ["compressed_sparse_attention"] * 2}, "layers of type compressed_sparse_attention"),
        (
            {"layer_types": ["heavily_compressed_attention"] * 2},
            "layers of type heavily_compressed_attention",
        ),
    ],
)
def test_values_and_keys_that_blocks_cannot_hold(setting, reason):
    model = tiny_model("llama")
    for name, value in setting.items():
        setattr(model.config, name, value)
    with pytest.raises(UnsupportedModelError, match=reason):
        hogwild.enable(model)


@pytest.mark.parametrize("name", ["pixel_values", "image_grid_thw", "input_features"])
def test_images_and_sounds_are_refused(model, name):
    block = CacheBlock(config=model.config)
    with pytest.raises(ValueError, match=f"{name}: leave it out, blocks hold text"):
        logits(model, past_key_values=block, **{name: torch.zeros(1, 3)})
    assert len(block) == 0
