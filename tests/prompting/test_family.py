"""Families of models: what comes with the package, and files of one's own."""

import re

import pytest

from fakes import ChatTokenizer, ToyTokenizer
from hogwild.errors import UnknownNameError
from hogwild.prompting import FamilyError, family_for, family_names, load_family

NAMES = ["chat", "deepseek-r1", "gemma3", "generic", "llama3", "phi4", "qwen3", "qwq"]


def test_the_families_of_the_package():
    assert family_names() == NAMES
    assert [load_family(name).name for name in NAMES] == NAMES
    assert [name for name in NAMES if not load_family(name).chat] == ["generic"]
    thinking = [name for name in NAMES if load_family(name).think]
    assert thinking == ["deepseek-r1", "phi4", "qwen3", "qwq"]
    assert all("</think>" in load_family(name).forbidden for name in thinking)


@pytest.mark.parametrize(
    "model, name",
    [
        ("Qwen/Qwen3-8B", "qwen3"),
        ("Qwen/Qwen3-235B-A22B", "qwen3"),
        ("/models/qwen3-32b-awq", "qwen3"),
        ("Qwen/Qwen3-4B-Instruct-2507", "chat"),  # does not think
        ("Qwen/Qwen3.5-9B", "chat"),
        ("Qwen/Qwen3.5-9B-v1", "chat"),
        ("someone/Qwen3-32B-exl3-4.0bpw", "qwen3"),
        ("./Qwen3-8B-sft-v1.2", "qwen3"),
        ("/scratch/qwen3/mistral-7b-sft", "chat"),
        ("/scratch/gemma-3-it/qwen3-8b/", "qwen3"),
        ("/scratch/qwen3-8b-sft/checkpoint-500", "qwen3"),
        ("/hub/models--Qwen--Qwen3-8B/snapshots/0a1b2c3d4e5f", "qwen3"),
        ("Qwen/QwQ-32B-AWQ", "qwq"),
        ("microsoft/Phi-4-reasoning-plus", "phi4"),
        ("microsoft/phi-4", "chat"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama3"),
        ("unsloth/Llama-3.2-3B-Instruct", "llama3"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "deepseek-r1"),
        ("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "deepseek-r1"),
        ("google/gemma-3-27b-it", "gemma3"),
        ("somebody/something", "chat"),
    ],
)
def test_the_family_is_found_by_the_models_name(model, name):
    assert family_for(ChatTokenizer(), model).name == name
    named = ChatTokenizer()
    named.name_or_path = model
    assert family_for(named).name == name
    assert family_for(ToyTokenizer(), model).name == "generic"  # no chat template: a base model


def test_forbidden_tokens_are_those_that_are_one_token():
    tokenizer = ToyTokenizer(["\n\n", "</think>"])
    assert load_family("qwen3").forbidden_ids(tokenizer) == (tokenizer.id("</think>"),)
    assert load_family("qwen3").forbidden_ids(ToyTokenizer()) == ()


def test_openings():
    family = load_family("llama3")
    assert family.opening(0, "Ada").startswith("Hello, I am Ada. I suggest")
    assert family.opening(1, "Kurt") == family.opening(5, "Kurt") == "Hello, I am Kurt."
    assert load_family("chat").opening(0, "Ada") == ""


def test_a_file_of_ones_own_says_what_differs(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text('extends: qwen3\nquestion: "Busy twice?"\nheaders:\n  past: "== done =="\n')
    family, below = load_family(path), load_family("qwen3")
    assert (family.name, family.question, family.headers.past) == ("mine", "Busy twice?", "== done ==")
    assert family.headers.own == below.headers.own and family.rules == below.rules
    assert load_family(str(path)) == family


@pytest.mark.parametrize(
    "text, message",
    [
        ("extends: chat\nquestoin: x", "unknown entry questoin; expected some of chat, early"),
        ("question: x", "entry matches is missing (a file that begins with 'extends: chat'"),
        ("extends: qwen4", "extends: expected one of chat, deepseek-r1"),
        ("extends: chat\nforbidden: '</think>'", "forbidden: expected a list, got '</think>'"),
        ("extends: chat\nforbidden: [1]", "forbidden: expected a list of texts, got [1]"),
        ("extends: chat\nthink: 3", "think: expected text, got 3"),
        ("extends: chat\nchat: maybe", "chat: expected true or false, got 'maybe'"),
        ("extends: chat\nrules_in: tool", "rules_in: expected user or system, got 'tool'"),
        ("extends: chat\nheaders: {colour: red}", "unknown entry headers.colour"),
        ("extends: chat\nheaders: {past: 1}", "headers.past: expected text, got 1"),
        ("extends: chat\nheaders: {separator: ''}", "headers.separator: expected at least one character"),
        ("extends: chat\nsolo: Solve it.", "solo: expected placeholders of {final}, {problem}, got []"),
        ("extends: chat\nsolo: '{problem} {layout}'", "solo: expected placeholders of {final}, {problem}"),
        ("extends: chat\nsolo: '{problem} {'", "braces that are no placeholders are written twice"),
        ("extends: chat\nopenings: ['{name}']", "openings: expected placeholders of {worker}, got ['name']"),
        ("extends: chat\nopenings: ['{worker:d} here.']", "openings: Unknown format code 'd'"),
        ("extends: chat\nheaders: {worker: '{worker} {index!z}'}", "headers.worker: "),
        ("extends: chat\nmatches: ['(']", "matches: '(' is no regular expression"),
        ("extends: chat\nexamples: [{problem: x}]", "entry examples.steps is missing"),
        ("extends: chat\nexamples: [{problem: x, steps: [], answer: 1}]", "examples.steps: expected a list"),
        ("- a\n- b", "expected entries such as 'extends: chat', got list"),
        ("a: [", "cannot be read as a family"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(FamilyError, match=re.escape(message)) as error:
        load_family(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_unknown_families(tmp_path):
    with pytest.raises(
        UnknownNameError, match=r"unknown family 'qwen4'; expected one of: chat, .*or the path"
    ):
        load_family("qwen4")
    with pytest.raises(FamilyError, match=r"nothing\.yaml: cannot be read as a family"):
        load_family(tmp_path / "nothing.yaml")
