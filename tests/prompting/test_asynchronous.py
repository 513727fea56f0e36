"""What a thinker and a writer are told, and text by other people as tokens."""

import sys
from pathlib import Path

import pytest
from tokenizers import AddedToken

sys.path.append(str(Path(__file__).resolve().parents[1] / "models"))
from letters import letters_tokenizer

from fakes import ToyTokenizer
from hogwild.prompting import (
    async_prompts,
    chat_format,
    control_tokens,
    encode_inside,
    encode_plain,
    encode_template,
    ends_sentence,
    sequential_prompts,
)

TEMPLATE = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_tokenizer(template=TEMPLATE, tags=True):
    """Single letters, the control tokens of a common chat format, and tags around thoughts that are not special."""
    tokenizer = letters_tokenizer()
    tokenizer.add_tokens([AddedToken(text, special=True) for text in ("<|im_start|>", "<|im_end|>")])
    if tags:
        tokenizer.add_tokens([AddedToken(text, special=False) for text in ("<think>", "</think>")])
    tokenizer.chat_template = template
    return tokenizer


def test_the_chat_format_is_read_off_the_template():
    chat = chat_format(chat_tokenizer())
    assert chat.user == "<|im_start|>user\n"
    assert chat.reply == "<|im_end|>\n<|im_start|>assistant\n"
    assert chat.next_user == "<|im_end|>\n<|im_start|>user\n"
    assert (chat.think, chat.end_think) == ("<think>", "</think>")
    opens_itself = TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    assert chat_format(chat_tokenizer(opens_itself)).reply == chat.reply
    assert chat_format(chat_tokenizer(tags=False)).think == ""
    assert chat_format(ToyTokenizer()).reply == "\n\n"
    with pytest.raises(ValueError, match="chat template"):
        chat_format(chat_tokenizer("{{ messages[0].content }}"))


@pytest.mark.parametrize("arrangement", ["roles", "shared"])
def test_both_views_of_a_chat_model_are_well_formed_turns(arrangement):
    tokenizer = chat_tokenizer()
    prompts = async_prompts(tokenizer, arrangement)
    common = prompts.input.replace("{problem}", "Q?")
    thoughts, answer = "".join(prompts.thoughts_opening), "".join(prompts.answer_opening)
    writer_prompt = (prompts.writer_prompt or prompts.thinker_prompt).replace("{problem}", "Q?")
    writer = writer_prompt + common + thoughts + "T" + prompts.writer_split + answer + "A"
    thinker = prompts.thinker_prompt.replace("{problem}", "Q?") + common
    thinker += "" if arrangement == "shared" else answer + "A" + prompts.thinker_split
    thinker += thoughts + "T"
    for view in (writer, thinker):
        assert view.count("<|im_start|>user\n") == 1 and view.count("<|im_start|>assistant\n<think>\n") == 1
        assert view.count("<|im_end|>") == 1 and view.count("Q?") == 1
        assert view.index("Q?") < view.index("<|im_end|>") < view.index("<think>")
    assert writer.count("</think>") == 1 and writer.index("</think>") < writer.rindex("A")
    assert "</think>" not in thinker
    with pytest.raises(ValueError, match="arrangement: expected one of roles, shared"):
        async_prompts(tokenizer, "heap")


def test_the_baselines_have_the_models_own_format():
    tokenizer = chat_tokenizer()
    own = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Q?\n\nState a definite result as \\boxed{answer}."}],
        tokenize=False,
        add_generation_prompt=True,
    )
    for think in (True, False):
        prompts = sequential_prompts(tokenizer, think=think)
        begins = prompts.thinker_prompt + prompts.input.replace("{problem}", "Q?")
        begins += "".join(prompts.thoughts_opening)
        assert begins == own + ("<think>\n" if think else "")
        rest = prompts.writer_split + "".join(prompts.answer_opening)
        assert rest == ("\n</think>\n\n" if think else "<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    "text", ["a</think>b", "<|im_end|>", "<think><think>", "x<|im_start|>user\n", "no tags < >"]
)
def test_control_tokens_of_others_are_spelled_out(text):
    tokenizer = chat_tokenizer()
    control = control_tokens(tokenizer)
    ids = encode_plain(tokenizer, text)
    assert not control.keys() & set(ids)
    assert "".join(tokenizer.decode([token]) for token in ids) == text
    whole = encode_template(tokenizer, "<think>{problem}</think>", text)
    assert [token in control for token in whole] == [True, *[False] * len(ids), True]
    assert encode_inside(tokenizer, "</think>") == [next(i for i, t in control.items() if t == "</think>")]
    assert encode_inside(tokenizer, "") == []


def test_a_control_token_of_one_character_cannot_be_spelled_out():
    tokenizer = letters_tokenizer()
    tokenizer.add_tokens([AddedToken("§", special=True)])
    with pytest.raises(ValueError, match="as a control token only"):
        encode_plain(tokenizer, "a § b")


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("It is.", True),
        ("Is it?", True),
        ('He said "no."', True),
        ("It is 3.", False),
        ("It is 3. ", True),
        ("Title\n", True),
        ("It is", False),
        ("It is, ", False),
        ("这样。", True),
        ("", False),
    ],
)
def test_where_a_sentence_ends(text, ends):
    assert ends_sentence(text) is ends
