"""Tasks: what they ask, from which rows, and what they refuse."""

from __future__ import annotations

import json
import sys
import time
import types
from decimal import Decimal

import pytest
from task_rows import write_rows

from hogwild.errors import UnknownNameError
from hogwild.evaluation.grading.lists import split_answers
from hogwild.evaluation.grading.prose import letter_in_prose, number_in_prose
from hogwild.evaluation.plan import Plan
from hogwild.evaluation.tasks import TASKS, TaskError, make_task
from hogwild.evaluation.tasks.lettered import find_letter
from hogwild.evaluation.tasks.source import Source

pytest.importorskip("math_verify")


def gsm8k_rows(count):
    return [
        {"question": f"What is {n} + 1?", "answer": f"It is one more.\n#### 1,{n:03}"} for n in range(count)
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_gsm8k_takes_the_number_behind_the_mark(tmp_path, suffix):
    task = make_task("gsm8k", write_rows(tmp_path / f"rows.{suffix}", gsm8k_rows(3)))
    problems = task.problems()
    assert [problem.id for problem in problems] == ["gsm8k-0", "gsm8k-1", "gsm8k-2"]
    assert problems[2].text == "What is 2 + 1?"
    assert task.score(problems[2], "1002") == task.score(problems[2], "1,002") == 1
    assert task.score(problems[2], "1003") == 0


@pytest.mark.parametrize(
    ("task", "row", "where"),
    [
        (
            "mine.jsonl",
            {"problem": "ok \ud800?", "answer": 1},
            r"row 2: field 'problem': .* got '\\ud800' at 3",
        ),
        (
            "mine.jsonl",
            {"problem": "ok", "answer": "\udfff"},
            "row 2: field 'answer': expected text in Unicode",
        ),
        ("mine.jsonl", {"problem": "ok", "answer": 1, "id": "\ud800"}, "row 2: id of the problem"),
        ("gsm8k", {"question": "ok \ud800", "answer": "#### 1"}, r"rows.jsonl, row 2: field 'question': exp"),
        ("gsm8k-x5", {"question": "ok \ud800", "answer": "#### 1"}, "rows.jsonl, row 2: field 'question'"),
        (
            "olympiadbench-maths",
            {"question": "ok", "context": "\ud800", "final_answer": ["1"], "is_multiple_answer": False},
            "rows.jsonl: row 2: text of the problem: expected text in Unicode",
        ),
    ],
)
def test_half_of_a_character_is_refused_at_once(tmp_path, task, row, where):
    """It can be neither encoded nor written down, so the evaluation would end at that problem, each time."""
    good = json.loads(json.dumps(row).replace("\\ud800", "x").replace("\\udfff", "1"))
    local = task.endswith(".jsonl")
    path = write_rows(tmp_path / ("mine.jsonl" if local else "rows.jsonl"), [{**good, "id": "g"}, row])
    with pytest.raises(TaskError, match=where):
        (make_task(str(path)) if local else make_task(task, path)).problems()


def test_gsm8k_without_the_mark_is_refused(tmp_path):
    task = make_task(
        "gsm8k", write_rows(tmp_path / "rows.jsonl", [{"question": "Why?", "answer": "Because."}])
    )
    with pytest.raises(TaskError, match="row 1: field 'answer': expected '#### '"):
        task.problems()


def test_five_questions_of_gsm8k_never_come_twice(tmp_path):
    task = make_task("gsm8k-x5", write_rows(tmp_path / "rows.jsonl", gsm8k_rows(700)))
    problems = task.problems()
    assert len(problems) == 128
    questions = [line for problem in problems for line in problem.text.splitlines() if "What is" in line]
    assert len(questions) == 640 and len({line.partition(". ")[2] for line in questions}) == 640
    answers = problems[0].expected
    for question, answer in zip(questions[:5], answers, strict=True):
        assert int(answer) == 1000 + int(question.partition("What is ")[2].split()[0])


@pytest.mark.parametrize(("given", "score"), [(5, 1.0), (4, 0.8), (0, 0.0)])
def test_score_of_five_is_the_part_that_is_right(given, score):
    task = make_task("arith-x5")
    problem = task.problems()[0]
    answers = [*problem.expected[:given], *["-1"] * (5 - given)]
    assert task.score(problem, ", ".join(answers)) == pytest.approx(score)


def test_who_repeats_the_questions_of_arithmetic_has_not_answered_them():
    task = make_task("arith-x5")
    problem = task.problems()[0]
    questions = problem.text.removeprefix("Calculate ").rstrip(".")
    assert task.score(problem, questions) == 0
    worked = [
        f"{q} = {a}"
        for q, a in zip(questions.replace(" and ", ", ").split(", "), problem.expected, strict=True)
    ]
    assert task.score(problem, ", ".join(worked)) == 1
    listed = (
        f"{', '.join(problem.expected[:4])} and {problem.expected[4]}"  # as the problem lists its questions
    )
    assert task.find(f"\\boxed{{{listed}}}") == listed and task.score(problem, listed) == 1


def test_one_of_five_answers_in_a_box_does_not_end_a_run():
    task = make_task("arith-x5")
    assert task.find("First, \\boxed{1}. Then \\boxed{2, 3, 4, 5} of them.") is None
    assert task.find("All: \\boxed{1, 2, (3, 4), 5, 6}") == "1, 2, (3, 4), 5, 6"
    sample = "\\boxed{1}"
    assert make_task(__file__.replace(".py", ".jsonl")).find(sample) == "1"  # of other tasks it does


@pytest.mark.parametrize(
    "form", ["{}", "[{}]", r"\{{{}\}}", r"\left[{}\right]", r"\text{{{}}}", r"\mathbf{{({})}}"]
)
@pytest.mark.parametrize("comma", [", ", r",\; ", r" \\ ", "; "])
def test_five_answers_in_any_brackets_end_a_run_and_count(form, comma):
    task = make_task("arith-x5")
    problem = task.problems()[0]
    answer = form.format(comma.join(problem.expected))
    assert task.find(f"So \\boxed{{{answer}}}") == answer and task.score(problem, answer) == 1
    wrong = form.format(comma.join([*problem.expected[:4], "-1"]))
    assert task.score(problem, wrong) == 0.8


def test_five_placeholders_do_not_end_a_run():
    task = make_task("arith-x5")
    for box in ("a, b, c, d, e", "answer1, answer2, answer3, answer4, answer5", "[a_1, a_2, a_3, a_4, a_5]"):
        assert task.find(f"I write \\boxed{{{box}}}") is None
    assert task.find("I write \\boxed{6 ") is None


def test_five_questions_say_how_answers_are_given(tmp_path):
    problem = make_task("gsm8k-x5", write_rows(tmp_path / "rows.jsonl", gsm8k_rows(5))).problems()[0]
    (first,) = [line for line in problem.text.splitlines() if "answers" in line]
    assert "one box" in first and "separated by commas" in first


@pytest.mark.parametrize("name", ["math500", "olympiadbench-maths", "olympiadbench-physics", "gsm8k-x5"])
def test_formulae_and_lists_have_room_in_an_early_answer(name):
    assert make_task(name).answer_tokens == 64


def test_arithmetic_comes_from_the_seed_and_is_right():
    one, same, other = (make_task("arith-x5", seed=seed).problems() for seed in (0, 0, 1))
    assert one == same and [p.text for p in one] != [p.text for p in other]
    for problem in one:
        questions = problem.text.removeprefix("Calculate ").rstrip(".").replace(" and ", ", ").split(", ")
        assert [str(eval(question)) for question in questions] == problem.expected


def test_olympiad_allows_any_order_and_the_given_tolerance(tmp_path):
    rows = [
        {
            "id": 7,
            "question": "Roots?",
            "final_answer": ["$1$", "$-\\frac{1}{2}$"],
            "is_multiple_answer": True,
        },
        {
            "id": 8,
            "question": "How far?",
            "context": "A car.",
            "final_answer": ["2.5"],
            "unit": "m",
            "error": "1e-1",
        },
    ]
    task = make_task("olympiadbench-physics", write_rows(tmp_path / "rows.jsonl", rows))
    roots, far = task.problems()
    assert (
        task.score(roots, "-0.5, 1") == 1 and task.score(roots, "1") == 0 and task.score(roots, "1, 1") == 0
    )
    assert task.score(roots, r"\{1, -\frac12\}") == 1 and task.score(roots, "(1, -0.5)") == 0
    assert "one box, separated by commas" in roots.text and "list" not in far.text
    assert far.text.startswith("A car.\n\nHow far?") and "in m, without the unit" in far.text
    assert task.score(far, "2.6") == 1 and task.score(far, "2.7") == 0


def olympiad_task(tmp_path, answers, error):
    row = {"id": 1, "question": "How far?", "final_answer": answers, "error": error}
    return make_task("olympiadbench-physics", write_rows(tmp_path / "rows.jsonl", [row]))


@pytest.mark.parametrize("error", ["1e-1,5e-1", "1e-1, 5e-1", [0.1, 0.5], ["1e-1", "5e-1"]])
def test_olympiad_tolerances_may_be_one_for_each_answer(tmp_path, error):
    for answers in (["1", "2"], ["$1$, $2$"]):
        task = olympiad_task(tmp_path, answers, error)
        (problem,) = task.problems()
        assert problem.expected["tolerance"] == [0.1, 0.5]
        assert task.score(problem, "2.4, 1.05") == 1 and task.score(problem, "2, 1.4") == 0


@pytest.mark.parametrize(
    ("error", "tolerance"), [(None, None), ("", None), ("0.1", 0.1), (0.1, 0.1), ([0.1], 0.1)]
)
def test_olympiad_tolerances_of_one_answer(tmp_path, error, tolerance):
    assert olympiad_task(tmp_path, ["1"], error).problems()[0].expected["tolerance"] == tolerance


@pytest.mark.parametrize("error", ["±0.1", "-0.1", "nan", "1e-1;2", "0.1,0.2,0.3", [[0.1]], {"a": 1}])
def test_a_tolerance_that_is_none_is_refused(tmp_path, error):
    with pytest.raises(TaskError, match=r"row 1: field 'error': expected .*, got "):
        olympiad_task(tmp_path, ["1", "2"], error).problems()


def test_options_have_letters(tmp_path):
    row = {"question_id": 7, "question": "Which is even?", "options": ["One", "Two", "Three"], "answer": "B"}
    task = make_task("mmlu-pro", write_rows(tmp_path / "rows.jsonl", [row]))
    (problem,) = task.problems()
    assert problem.id == "mmlu-pro-7" and problem.reference == "B. Two"
    assert problem.text.startswith("Which is even?\n\nA. One\nB. Two\nC. Three\n")
    for right in ("B", "(B)", "B.", " B. Two", r"\text{B}", r"$\mathrm{(B)}$", "B: Two"):
        assert task.score(problem, right) == 1, right
    for wrong in ("A", "C. Three", "Two", "Both", "B or C", "A B", "b", ""):
        assert task.score(problem, wrong) == 0, wrong


CHOICES = [
    r"\textbf{(B)}\ 5",
    r"B \text{ four}",
    "**B**",
    "[B]",
    r"\text{ B}",
    r"\textit{B}",
    r"\boldsymbol{B}",
    "B (Four)",
]
CHOICES += [
    "B - foo",
    "Option B",
    "Answer: B",
    "B,",
    "{B}",
    r"\rm B",
    r"\text{Option B}",
    r"\text{B: }5",
    "**B**: four",
]
CHOICES += ["The correct answer is (B)", "B. K", r"\text{B}\text{.}", "B\\", "(B) Four and five"]


@pytest.mark.parametrize("answer", CHOICES)
def test_a_letter_that_stands_as_a_choice(answer):
    assert find_letter(answer) == "B"
    assert find_letter(answer.replace("B", "D")) == "D"


NO_CHOICES = [
    "A cat sat",
    "I think",
    r"\text{A cat}",
    "B and C",
    "(B) or (C)",
    "B) or C)",
    r"B \text{ or } C",
    "B, C",
]
NO_CHOICES += ["(B) (C)", "B=5", "B_2", "B2", "AB", "Bob", "B/C", "-B", "answer", "(A, B)", "A 5"]


@pytest.mark.parametrize("answer", NO_CHOICES)
def test_a_letter_that_is_no_choice(answer):
    assert find_letter(answer) is None


@pytest.mark.parametrize(
    "text", ["*" * 20_000, "{" * 20_000, "\n" * 20_000, "answer " * 20_000, r"\text{" * 5_000]
)
def test_a_long_text_is_looked_through_quickly(text):
    start = time.process_time()
    assert find_letter(text) is None and letter_in_prose(text) is None and number_in_prose(text) is None
    assert len(split_answers(text)) >= 1
    assert time.process_time() - start < 2


def test_prose_without_a_box_is_read_as_the_reference_is(tmp_path):
    row = {"question": "Which?", "options": ["One", "Two", "Three"], "answer": "B"}
    lettered = make_task("mmlu-pro", write_rows(tmp_path / "rows.jsonl", [row]))
    (problem,) = lettered.problems()
    assert lettered.read(problem, "Not (A), so the answer is B.") == "B"
    assert lettered.read(problem, " A cat. ") == "A cat."
    rows = [{"problem": "2 + 2?", "answer": 4}, {"problem": "Square?", "answer": "x^2"}]
    task = make_task(str(write_rows(tmp_path / "mine.jsonl", rows)))
    number, formula = task.problems()
    assert task.read(number, "So 2 + 2 is 4.") == "4" and task.read(formula, " x^2 ") == "x^2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "D"}, "field 'answer'"),
        ({"answer": "AB"}, "field 'answer'"),
        ({"options": "A, B"}, "field 'options'"),
    ],
)
def test_a_letter_without_an_option_is_refused(tmp_path, changes, message):
    row = {"question": "?", "options": ["One", "Two", "Three"], "answer": "B", **changes}
    with pytest.raises(TaskError, match=f"row 1: {message}"):
        make_task("mmlu-pro", write_rows(tmp_path / "rows.jsonl", [row])).problems()


def test_options_of_gpqa_are_mixed_in_the_same_way_every_time(tmp_path):
    wrong = {f"Incorrect Answer {n}": f"wrong {n}" for n in (1, 2, 3)}
    rows = [{"Question": f"q{n}", "Correct Answer": "right", **wrong} for n in range(40)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    problems = make_task("gpqa", path).problems()
    assert problems == make_task("gpqa", path).problems()
    assert {problem.expected for problem in problems} == set("ABCD")
    for problem in problems:
        assert f"\n{problem.expected}. right\n" in problem.text
        assert all(f". wrong {n}\n" in problem.text for n in (1, 2, 3))


def test_any_file_of_problems_and_answers(tmp_path):
    rows = [{"problem": "2 + 2?", "answer": 4}, {"problem": "Half of one?", "answer": "1/2", "id": "half"}]
    task = make_task(str(write_rows(tmp_path / "mine.jsonl", rows)))
    first, second = task.problems()
    assert (first.id, second.id) == ("mine-0", "half")
    assert task.score(first, "4") == 1 and task.score(second, "\\frac{1}{2}") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"problem": "a", "answer": 1}\n{"problem": "b"}\n', "row 2: no field 'answer'; it has problem"),
        ("{broken\n", "line 1: not JSON"),
        ("[" * 100_000 + "\n", "line 1: not JSON"),
        ("[1]\n", "line 1: expected a JSON object"),
        ("\n", "there are no rows"),
        (
            '{"problem": "a", "answer": [1, 2]}\n',
            r"row 1: field 'answer': expected text or a number, got \[1, 2\]",
        ),
        ('{"problem": 5, "answer": 1}\n', "row 1: field 'problem': expected text, got 5"),
        ('{"problem": "a", "answer": 1}\n{"problem": "b", "answer"\n', "mine.jsonl, line 2: not JSON"),
    ],
)
def test_a_file_that_is_not_what_it_should_be(tmp_path, content, message):
    (tmp_path / "mine.jsonl").write_text(content)
    with pytest.raises(TaskError, match=message):
        make_task(str(tmp_path / "mine.jsonl")).problems()


def test_numbers_of_a_parquet_file(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"problem": ["a", "b"], "answer": pyarrow.array([Decimal("1.50"), Decimal("2.25")])}
    parquet.write_table(pyarrow.table(columns), tmp_path / "mine.parquet")
    task = make_task(str(tmp_path / "mine.parquet"))
    assert [problem.expected for problem in task.problems()] == ["1.50", "2.25"] and len(task.digest) == 16
    assert task.score(task.problems()[0], "3/2") == 1


def test_a_file_in_another_encoding(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes('{"problem": "Größe?", "answer": 1}\n'.encode("latin-1"))
    with pytest.raises(TaskError, match=r"mine\.jsonl: not text in UTF-8"):
        make_task(str(path)).problems()
    path.write_text('{"problem": "Größe?", "answer": 1}\n', encoding="utf-8-sig")
    assert make_task(str(path)).problems()[0].text == "Größe?"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TaskError, match="there is no such file"):
        make_task(str(tmp_path / "none.jsonl")).problems()
    with pytest.raises(TaskError, match=r"ends in \.jsonl"):
        (tmp_path / "rows.csv").touch()
        make_task("limo", tmp_path / "rows.csv").problems()


def test_unknown_task():
    with pytest.raises(UnknownNameError, match=f"unknown task 'gsm9k'; expected one of: {TASKS[0]}"):
        make_task("gsm9k")


def test_data_for_a_task_that_needs_none(tmp_path):
    with pytest.raises(TaskError, match="reads no other file"):
        make_task("arith-x5", tmp_path / "rows.jsonl")


def test_a_data_set_that_cannot_be_loaded_says_what_to_do(monkeypatch):
    def load_dataset(path, config, split):
        raise ConnectionError("no route to the hub\nmore lines")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(
        TaskError, match=r"'GAIR/LIMO' cannot be loaded: no route to the hub; a local copy .*--data"
    ):
        make_task("limo").problems()


def test_a_data_set_is_asked_for_by_its_split_and_config(monkeypatch):
    asked = []

    def load_dataset(path, config, split):
        asked.append((path, config, split))
        return gsm8k_rows(1)

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    assert len(make_task("gsm8k").problems()) == 1
    assert asked == [("openai/gsm8k", "main", "test")]


def test_rows_of_a_real_data_set_object(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    monkeypatch.setattr(datasets, "load_dataset", lambda path, config, split: table)
    assert Source("some/set", "test", ("a",)).rows() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_a_smaller_draw_is_part_of_a_larger_one():
    task = make_task("arith-x5")
    few, many = (Plan(budgets=(8,), samples=count).problems(task) for count in (4, 9))
    assert len(few) == 4 and len(many) == 9
    assert {p.id for p in few} < {p.id for p in many}
    assert Plan(budgets=(8,)).problems(task) == task.problems()


@pytest.mark.parametrize("id, expected", [(None, ["rows-0", "rows-1"]), (7, "'7' of problem 1 again")])
def test_every_problem_has_an_id_of_its_own(tmp_path, id, expected):
    """Records are kept by it: of two problems with the same one would be lost."""
    path = tmp_path / "rows.jsonl"
    rows = [{"problem": f"What is {n}?", "answer": n, "id": id} for n in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = make_task(str(path))
    if id is None:
        assert [problem.id for problem in task.problems()] == expected
    else:
        with pytest.raises(TaskError, match=expected):
            task.problems()


def test_data_sets_of_rows_with_the_same_id_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"problem": f"What is {n}?", "answer": str(n), "id": "x"} for n in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TaskError, match="id 'aime25-x' of problem 1 again"):
        make_task("aime25", path).problems()


def test_a_problem_without_text_is_refused_before_anything_runs(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"problem": "What is 1?", "answer": 1}\n{"problem": " ", "answer": 2}\n')
    with pytest.raises(TaskError, match="row 2: nothing in field 'problem'"):
        make_task(str(path)).problems()


def test_fewer_than_five_rows_make_no_problem_of_five(tmp_path):
    path = tmp_path / "gsm8k.jsonl"
    path.write_text('{"question": "1 + 1?", "answer": "#### 2"}\n' * 4)
    with pytest.raises(TaskError, match="expected at least 5 rows, got 4"):
        make_task("gsm8k-x5", path).problems()
