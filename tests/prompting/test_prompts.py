"""What models are told before they collaborate."""

import pytest

from fakes import ToyTokenizer
from hogwild.prompting import Headers, collaboration_prompt, headers_for, worker_names
from hogwild.prompting.examples import BASE_HEADERS, EXAMPLES

LAYOUTS = ["combined", "contiguous", "interleaved"]


class ChatTokenizer(ToyTokenizer):
    """A tokenizer with a chat template, as simple as they come."""

    chat_template = "yes"

    def apply_chat_template(self, turns, tokenize=True, add_generation_prompt=False):
        assert not tokenize and add_generation_prompt
        assert [turn["role"] for turn in turns] == ["user"]
        return f"<user>{turns[0]['content']}</user><assistant>"


def text_of(tokenizer, workers=2, layout="combined", problem=" Add 1 and 2. ", headers=None):
    return tokenizer.decode(collaboration_prompt(problem, worker_names(workers), layout, tokenizer, headers))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chat_models_get_rules_and_begin_the_assistants_turn(layout):
    text = text_of(ChatTokenizer(), 3, layout)
    rules, _, start = text.partition("</user>")
    assert "Alice, Bob and Carol are 3 instances of you" in rules
    assert rules.endswith("# The problem\n\nAdd 1 and 2.")
    assert "**Alice [1]:**" in rules and "\\boxed{answer}" in rules
    assert ("'### Past steps'" in rules) == (layout != "contiguous")
    for title in ("'### Work in progress (others)'", "'### Work in progress (own)'", "'<...>'"):
        assert (title in rules) == (layout == "combined")
    assert start == "<assistant>" + ("" if layout == "contiguous" else "### Past steps")
    assert "{" not in rules.replace("\\boxed{answer}", "")


def test_one_chat_worker_is_not_told_of_others():
    text = text_of(ChatTokenizer(), 1)
    assert "others" not in text and "instances" not in text
    assert text.endswith("### Past steps")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_base_models_get_worked_examples(layout, workers):
    text = text_of(ToyTokenizer(), workers, layout)
    names = worker_names(workers)
    problems = text.split("# Problem\n\n")[1:]
    assert len(problems) == len(EXAMPLES) + 1
    end = "" if layout == "contiguous" else "\n\n### Past steps"
    assert problems[-1] == "Add 1 and 2." + end
    for (question, *steps), problem in zip(EXAMPLES, problems, strict=False):
        assert problem.startswith(question + end)
        assert all(step in problem for step in steps)
        assert problem.rstrip().endswith("}.")  # the answer comes last
    assert all(f"**{name} [1]:**" in text for name in names)
    assert ("[2]:**" in text) == (layout != "contiguous" and workers < 3)


def test_steps_of_a_worker_are_numbered_in_the_examples():
    text = text_of(ToyTokenizer(), 1)
    assert "**Alice [1]:** I will name a bird." in text
    assert "**Alice [2]:** Then I will name a fish." in text
    assert "**Alice [3]:** Now we have both" in text


def test_runs_of_the_contiguous_layout_have_one_header_each():
    first = text_of(ToyTokenizer(), 2, "contiguous").split("# Problem\n\n")[1]
    assert first.count("**Alice [1]:**") == first.count("**Bob [1]:**") == 1
    assert first.index("**Bob") < first.index("**Alice")  # who wrote the answer comes last


def test_headers_follow_the_kind_of_model():
    assert headers_for(ChatTokenizer()) == Headers()
    assert headers_for(ToyTokenizer()) == BASE_HEADERS


def test_own_headers():
    headers = Headers(worker="[{worker} #{index}]", past="== done ==")
    text = text_of(ToyTokenizer(), headers=headers)
    assert "[Alice #1] I will name a bird." in text and text.endswith("== done ==")


@pytest.mark.parametrize(
    "problem, layout, message",
    [("  \n", "combined", "problem: expected some text"), ("x", "round", "layout: expected one of combined")],
)
def test_wrong_arguments(problem, layout, message):
    with pytest.raises(ValueError, match=message):
        collaboration_prompt(problem, ["Alice"], layout, ToyTokenizer())
