"""What models are told before they collaborate, or work by themselves."""

import pytest

from fakes import ChatTokenizer, ToyTokenizer
from hogwild.errors import UnknownNameError
from hogwild.prompting import (
    ANSWER_FORMATS,
    Headers,
    collaboration_prompt,
    early_line,
    headers_for,
    load_family,
    solo_prompt,
    worker_names,
)

LAYOUTS = ["combined", "contiguous", "interleaved"]
GENERIC, CHAT = load_family("generic"), load_family("chat")


def text_of(tokenizer, workers=2, layout="combined", problem=" Add 1 and 2. ", family=None, **options):
    names = worker_names(workers)
    return tokenizer.decode(collaboration_prompt(problem, names, layout, tokenizer, family, **options))


@pytest.mark.parametrize("person, us", [("second", "instances of you"), ("first", "instances of one model")])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_chat_models_get_rules_and_begin_the_assistants_turn(layout, person, us):
    text = text_of(ChatTokenizer(), 3, layout, person=person, examples=False)
    rules, _, start = text.partition("</user>")
    assert "Alice, Bob and Carol" in rules and f"are 3 {us}" in rules
    assert rules.endswith("# The problem\n\nAdd 1 and 2.")
    assert "**Alice [1]:**" in rules and "\\boxed{answer}" in rules
    assert ("'### Past steps'" in rules) == (layout != "contiguous")
    for title in ("'### Work in progress (others)'", "'### Work in progress (own)'", "'<...>'"):
        assert (title in rules) == (layout == "combined")
    assert start == "<assistant>" + ("" if layout == "contiguous" else "### Past steps")
    assert "{" not in rules.replace("\\boxed{answer}", "")


def test_the_first_person_speaks_of_itself():
    first = text_of(ChatTokenizer(), 2, person="first", examples=False).partition("# The problem")[0]
    second = text_of(ChatTokenizer(), 2, examples=False).partition("# The problem")[0]
    assert " I " in first and "you" not in first.lower().split()
    assert " you" in second and " I " not in second


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chat_examples_are_shown_under_the_workers_headers_and_can_be_left_out(layout):
    (example,) = CHAT.examples
    text = text_of(ChatTokenizer(), 2, layout)
    assert "# An example of working together\n\nProblem: " + example.problem in text
    assert text.index(example.problem) < text.index("# The problem")
    assert "**Bob [1]:** Yes, I take the second product." in text and "\\boxed{432}" in text
    assert example.problem not in text_of(ChatTokenizer(), 2, layout, examples=False)
    assert example.problem not in text_of(ChatTokenizer(), 1, layout)


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
    assert len(problems) == len(GENERIC.examples) + 1
    end = "" if layout == "contiguous" else "\n\n### Past steps"
    assert problems[-1] == "Add 1 and 2." + end
    for example, problem in zip(GENERIC.examples, problems, strict=False):
        assert problem.startswith(example.problem + end)
        assert all(step in problem for step in example.texts(ANSWER_FORMATS["boxed"]))
        assert problem.rstrip().endswith(f"\\boxed{{{example.answer}}}.")  # the answer comes last
    assert all(f"**{name} [1]:**" in text for name in names)
    assert ("[2]:**" in text) == (layout != "contiguous" and workers < 3)


def test_base_models_without_examples():
    text = text_of(ToyTokenizer(), 2, examples=False)
    assert text.startswith("Alice and Bob solve problems together.")
    assert text.endswith("share the work.\n\n# Problem\n\nAdd 1 and 2.\n\n### Past steps")


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
    assert headers_for(ToyTokenizer()) == GENERIC.headers


def test_programs_are_asked_for_in_their_own_way():
    text = text_of(ChatTokenizer(), 2, answer="code", examples=False)
    assert "Final program:" in text and "boxed" not in text


@pytest.mark.parametrize("name, role", [("llama3", "system"), ("gemma3", "user")])
def test_rules_stand_in_the_familys_turn(name, role):
    text = text_of(ChatTokenizer(), 2, family=load_family(name))
    rules, problem = text.index("Working together"), text.index("# The problem")
    if role == "system":
        assert text.index("<system>") < rules < text.index("</system><user>") < problem
    else:
        assert "<system>" not in text and text.index("<user>") < rules < problem
    assert text.endswith("</user><assistant>### Past steps")


@pytest.mark.parametrize("name", ["qwen3", "qwq", "phi4", "deepseek-r1"])
@pytest.mark.parametrize("template_opens", [False, True])
def test_thoughts_are_open_before_the_history_exactly_once(name, template_opens):
    tokenizer = ChatTokenizer(start="<assistant><think>\n" if template_opens else "<assistant>")
    family = load_family(name)
    assert text_of(tokenizer, family=family).endswith("</user><assistant><think>\n### Past steps")
    solo = tokenizer.decode(solo_prompt("Add.", tokenizer, family))
    assert solo.endswith("</user><assistant><think>\n") and solo.count("<think>") == 1


def test_a_model_that_works_by_itself():
    chat = ChatTokenizer()
    assert chat.decode(solo_prompt(" Add 1. ", chat)) == (
        "<user>Add 1.\n\nThink step by step. When the problem is solved, state the final answer as "
        "\\boxed{answer}.</user><assistant>"
    )
    base = ToyTokenizer()
    text = base.decode(solo_prompt("Add 1.", base))
    assert text.endswith("49. The answer is \\boxed{49}.\n\n# Problem\n\nAdd 1.\n\n")
    assert "**" not in text and "###" not in text
    assert base.decode(solo_prompt("Add 1.", base, examples=False)) == "# Problem\n\nAdd 1.\n\n"


@pytest.mark.parametrize("family", [GENERIC, CHAT])
def test_the_early_stop_line_ends_where_the_answer_begins(family):
    assert early_line(family, ANSWER_FORMATS["boxed"]).endswith("the answer is \\boxed{")
    assert early_line(family, ANSWER_FORMATS["code"]).endswith("Final program:\n\n```python\n")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"problem": "  \n"}, "problem: expected some text"),
        ({"layout": "round"}, "unknown layout 'round'; expected one of: combined"),
        ({"person": "third"}, "unknown person 'third'; expected one of: second, first"),
        ({"answer": "essay"}, "unknown answer format 'essay'; expected one of: boxed, code"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        text_of(ToyTokenizer(), **options)
    if "layout" in options:
        with pytest.raises(UnknownNameError):
            text_of(ToyTokenizer(), **options)
