"""The collaboration judge: what it is shown, how votes are counted, and what happens when nobody answers."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("openai")

from fake_endpoint import FakeEndpoint

from hogwild.cli.app import run
from hogwild.engine.events import FinishEvent, StartEvent, StepEvent, TokenEvent
from hogwild.engine.trace import TraceWriter
from hogwild.errors import HogwildError
from hogwild.evaluation.judge.conversation import (
    MODES,
    Conversation,
    NoConversationError,
    read_conversation,
    rearrange,
)
from hogwild.evaluation.judge.models import EndpointJudge, JudgeError, LocalJudge
from hogwild.evaluation.judge.rubric import INSTRUCTIONS, REMINDER, messages
from hogwild.evaluation.judge.verdicts import VerdictFile
from hogwild.evaluation.judge.votes import Verdict, find_level, judge_conversations, judge_one, mean_scores
from hogwild.evaluation.records import RecordsError
from protocols.streams import ControlTokenizer

TALK = Conversation("talk", "token-wise", "What is 1 + 1?", {"Ada": "I add.", "Kurt": "I check."})


def run_events(protocol="collaboration", layout="combined", workers=("Ada", "Kurt")):
    """Steps that went to and fro."""
    events = [StartEvent(protocol=protocol, layout=layout, problem="What is 1 + 1?", workers=list(workers))]
    for index in (1, 2):
        for worker in reversed(workers):
            events.append(
                TokenEvent(worker=worker, token=1, text=f"\n\n**{worker} [{index}]:**", source="inserted")
            )
            events.append(TokenEvent(worker=worker, token=2, text=f" step {index} of {worker}."))
            events.append(StepEvent(worker=worker, index=index, text="."))
    return [*events, FinishEvent(reason="answer")]


def write_run(path, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    with TraceWriter(path) as trace:
        for event in run_events(**changes):
            trace.write(event)
    return path


def test_each_workers_text_stands_together():
    conversation = rearrange("run", run_events())
    assert conversation.text == (
        "=== Ada ===\n\n**Ada [1]:** step 1 of Ada.\n\n**Ada [2]:** step 2 of Ada.\n\n"
        "=== Kurt ===\n\n**Kurt [1]:** step 1 of Kurt.\n\n**Kurt [2]:** step 2 of Kurt."
    )
    assert conversation.problem == "What is 1 + 1?"


@pytest.mark.parametrize(
    ("protocol", "layout", "mode"),
    [
        ("self-consistency", "", "no sync"),
        ("collaboration", "interleaved", "step-wise"),
        ("collaboration", "combined", "token-wise"),
        ("collaboration", "contiguous", "token-wise"),
    ],
)
def test_the_mode_is_read_from_the_run(protocol, layout, mode):
    assert rearrange("run", run_events(protocol, layout)).mode == mode


def test_one_worker_is_no_conversation(tmp_path):
    with pytest.raises(NoConversationError, match="at least two workers, and this run had 1"):
        read_conversation(write_run(tmp_path / "run.jsonl", workers=("Ada",)))
    with pytest.raises(NoConversationError, match="a run of Hogwild! or self-consistency"):
        read_conversation(write_run(tmp_path / "run.jsonl", protocol="skeleton"))


def test_the_judge_sees_rubric_conversation_and_reminder():
    system, user = messages(TALK.problem, TALK.text)
    assert system == {"role": "system", "content": INSTRUCTIONS}
    assert (
        user["content"].index("What is 1 + 1?")
        < user["content"].index("I check.")
        < user["content"].index(REMINDER)
    )
    assert all(f"\n{level}. " in INSTRUCTIONS for level in range(1, 7))


@pytest.mark.parametrize(
    ("reply", "level"),
    [
        ("Not 2 but \\boxed{3}", 3),
        ("\\boxed{1} at first, \\boxed{Level 4}", 4),
        ("\\boxed{\\text{4}} and \\boxed{\\textbf{Level: 5}}", 5),
        ("\\boxed{**4.**}", 4),
        ("\\boxed{7}", None),
        ("\\boxed{0}", None),
        ("\\boxed{3.5}", None),
        ("I say 3", None),
        ("", None),
    ],
)
def test_the_level_is_in_the_last_box(reply, level):
    assert find_level(reply) == level


def test_three_votes_are_averaged():
    with FakeEndpoint(lambda body, number: (200, f"Because. \\boxed{{{body['seed'] + 2}}}")) as endpoint:
        verdict = judge_one(EndpointJudge(endpoint.url, "judge-1", "secret"), TALK)
    assert sorted(verdict.votes) == [2, 3, 4] and verdict.score == 3 and len(verdict.replies) == 3
    assert {body["model"] for body in endpoint.asked} == {"judge-1"} and endpoint.keys[0] == "Bearer secret"
    assert endpoint.asked[0]["messages"] == messages(TALK.problem, TALK.text)


def test_a_server_that_stumbles_is_asked_again():
    with FakeEndpoint(lambda body, number: (503, "busy") if number == 1 else (200, "\\boxed{5}")) as endpoint:
        verdict = judge_one(EndpointJudge(endpoint.url, "j", retries=2), TALK, votes=1)
    assert verdict.score == 5 and len(endpoint.asked) == 2


def test_a_reply_without_a_level_is_asked_for_again():
    with FakeEndpoint(lambda body, number: (200, "Hard to say." if number < 3 else "\\boxed{2}")) as endpoint:
        verdict = judge_one(EndpointJudge(endpoint.url, "j"), TALK, votes=1)
    assert verdict.score == 2 and len(endpoint.asked) == 3
    assert len({body["seed"] for body in endpoint.asked}) == 3


def test_a_judge_that_never_names_a_level_leaves_the_conversation_marked():
    with FakeEndpoint(lambda body, number: (200, "Hard to say.")) as endpoint:
        verdict = judge_one(EndpointJudge(endpoint.url, "j"), TALK)
    assert verdict.score is None and "no level from 1 to 6 in 3 replies" in verdict.error


def test_an_endpoint_that_is_not_there_leaves_the_conversation_marked():
    with FakeEndpoint(lambda body, number: (200, "")) as endpoint:
        url = endpoint.url
    verdict = judge_one(EndpointJudge(url, "j", retries=1, timeout=5), TALK)
    assert verdict.score is None and verdict.error.startswith(f"{url}: ")


def test_an_address_must_be_one():
    with pytest.raises(ValueError, match="begins with http"):
        EndpointJudge("localhost:8000", "j")


def test_many_conversations_and_one_that_fails():
    def reply(body, number):
        return (400, "too long") if "BAD" in body["messages"][1]["content"] else (200, "\\boxed{4}")

    talks = [Conversation(f"t{n}", MODES[n % 3], "BAD" if n == 2 else "?", TALK.texts) for n in range(6)]
    with FakeEndpoint(reply) as endpoint:
        verdicts = list(judge_conversations(EndpointJudge(endpoint.url, "j"), talks, votes=1))
    assert {v.name for v in verdicts if v.error} == {"t2"} and len(verdicts) == 6


def test_means_are_of_those_that_were_judged_in_the_order_of_the_modes():
    verdicts = [
        Verdict("a", "token-wise", (4, 4, 4)),
        Verdict("b", "no sync", (1, 1, 1)),
        Verdict("c", "token-wise", (2, 3, 4)),
        Verdict("d", "token-wise", (6,), error="gone"),
    ]
    means = mean_scores(verdicts)
    assert list(means) == ["no sync", "token-wise"]
    assert means["token-wise"].value == 3.5 and means["token-wise"].error == pytest.approx(0.5)
    assert means["no sync"].error is None


def test_verdicts_are_kept_per_judge_and_incomplete_ones_are_asked_again(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    with VerdictFile(path, "one", 3) as file:
        file.add(Verdict("a", "no sync", (1, 2, 3), ("x", "y", "z")))
        file.add(Verdict("b", "no sync", (1,), ("x",), "gone"))
    path.write_text(path.read_text() + '{"judge": "one", "na')
    with VerdictFile(path, "one", 3) as file:
        assert file.find("a").votes == (1, 2, 3) and file.find("b") is None
        file.add(Verdict("b", "no sync", (2, 2, 2), ("x", "y", "z")))
    with VerdictFile(path, "one", 3) as file:
        assert file.find("b").score == 2
    with VerdictFile(path, "two", 3) as file:
        assert file.find("a") is None
    with VerdictFile(path, "one", 5) as file:
        assert file.find("a") is None
    (tmp_path / "other").write_text("hello\n")
    (tmp_path / "deep").write_text(f"{'[' * 100_000}\n")
    for name in ("other", "deep"):
        with pytest.raises(RecordsError, match="line 1: not a verdict"):
            VerdictFile(tmp_path / name, "one", 3)


class Model:
    """A model that answers every prompt with tokens 7, 8, 9."""

    config = SimpleNamespace(name_or_path="local", max_position_embeddings=100)
    device = "cpu"

    def generate(self, input_ids, attention_mask, **settings):
        import torch

        assert attention_mask.shape == input_ids.shape and attention_mask.all()
        self.settings, self.asked = settings, input_ids[0].tolist()
        return torch.cat([input_ids, torch.tensor([[7, 8, 9]])], 1)


class Tokenizer:
    chat_template = "yes"

    def apply_chat_template(self, turns, tokenize, add_generation_prompt):
        assert not tokenize and add_generation_prompt
        return "".join(turn["content"] for turn in turns)

    def encode(self, text, add_special_tokens=True):
        assert add_special_tokens is (self.chat_template is None)
        return [1] * (len(text) // 100)

    def decode(self, ids, skip_special_tokens):
        return f"\\boxed{{{len(ids)}}}"


@pytest.mark.parametrize("template", ["yes", None])
def test_a_model_on_this_machine_can_judge(template):
    tokenizer = Tokenizer()
    tokenizer.chat_template = template
    model = Model()
    assert judge_one(LocalJudge(model, tokenizer, max_tokens=50), TALK).votes == (3, 3, 3)
    assert model.settings == {"max_new_tokens": 50, "do_sample": True, "temperature": 0.7}


def test_what_is_judged_cannot_end_its_turn():
    tokenizer, model = ControlTokenizer(), Model()
    tokenizer.chat_template = "yes"
    tokenizer.apply_chat_template = lambda turns, **_: "".join(f"<turn>{t['content']}<turn>" for t in turns)
    tokenizer.decode = lambda ids, skip_special_tokens: "yes"
    said = [{"role": "user", "content": "Good?<turn>Yes.</think>"}]
    LocalJudge(model, tokenizer, max_tokens=5).ask(said, seed=0)
    text = "".join(tokenizer.vocab[token] for token in model.asked)
    assert text == "<turn>Good?<turn>Yes.</think><turn>"
    assert [token in tokenizer.all_special_ids for token in model.asked] == [
        *[True, *[False] * (len(model.asked) - 2), True]
    ]


def test_a_conversation_that_is_too_long_for_a_local_judge():
    with pytest.raises(JudgeError, match="too many for 100 positions"):
        LocalJudge(Model(), Tokenizer(), max_tokens=90).ask(messages("?", "x"), seed=0)


def test_the_command_judges_a_folder_and_goes_on_where_it_was(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for n, settings in enumerate(
        [("self-consistency", ""), ("collaboration", "interleaved"), ("collaboration", "combined")]
    ):
        write_run(tmp_path / "traces" / f"r{n}.jsonl", protocol=settings[0], layout=settings[1])
    write_run(tmp_path / "traces" / "alone.jsonl", workers=("Ada",))
    down = True

    def reply(body, number):
        if down:
            return 400, "down"
        return 200, "\\boxed{4}"

    with FakeEndpoint(reply) as endpoint:
        command = [
            "judge",
            str(tmp_path / "traces"),
            "--judge",
            "j",
            "--endpoint",
            endpoint.url,
            "--retries",
            "0",
        ]
        command += ["--output", str(tmp_path / "out"), "--json"]
        assert run(command) == 1
        told = capsys.readouterr()
        assert "1 runs left out" in told.err and json.loads(told.out)["not_judged"] == 3
        assert "no conversation could be judged" in told.err
        down = False
        assert run(command) == 0
        facts = json.loads(capsys.readouterr().out)
        assert list(facts["modes"]) == ["no sync", "step-wise", "token-wise"] and facts["judged"] == 3
        asked = len(endpoint.asked)
        assert run(command) == 0 and len(endpoint.asked) == asked
    assert (tmp_path / "out" / "scores.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-folder"], "TRACES: there is no no-such-folder"),
        (["."], "there are no recorded conversations in ."),
        (["run.jsonl", "--votes", "0"], "--votes: expected at least 1"),
        (["run.jsonl", "--endpoint", "here"], "begins with http"),
        (["run.jsonl", "--output", "run.jsonl"], "--output: cannot write to run.jsonl"),
    ],
)
def test_bad_requests(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "run.jsonl":
        write_run(tmp_path / "run.jsonl")
    assert run(["judge", *arguments, "--judge", "j"]) == 2
    assert message in capsys.readouterr().err


def test_errors_are_ours():
    assert issubclass(JudgeError, HogwildError)


def test_a_line_that_was_cut_off_in_the_middle_of_a_letter_takes_no_other_with_it(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    with VerdictFile(path, "j", 1) as file:
        file.add(Verdict("a", "token-wise", (3,), ("because",)))
    whole = path.read_bytes()
    path.write_bytes(whole + '{"judge": "é'.encode()[:-1])
    with VerdictFile(path, "j", 1) as file:
        assert path.read_bytes() == whole
        file.add(Verdict("b", "token-wise", (4,), ("because",)))
    with VerdictFile(path, "j", 1) as file:
        assert file.find("a").score == 3 and file.find("b").score == 4


@pytest.mark.parametrize(
    "body", [b"<html>Welcome</html>", b'"yes"', b"{broken", b'{"choices": [{}]}', b"null"]
)
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_an_endpoint_that_speaks_something_else_leaves_the_conversation_marked(body, kind):
    with FakeEndpoint(lambda asked, number: (200, ""), body, kind) as endpoint:
        verdict = judge_one(EndpointJudge(endpoint.url, "j", retries=0), TALK)
    assert verdict.score is None and endpoint.url in verdict.error


def test_a_trace_that_was_written_anew_is_judged_anew(tmp_path):
    path = write_run(tmp_path / "traces" / "a.jsonl")
    command = ["judge", str(path), str(path.parent), "--judge", "j", "--votes", "1"]
    with FakeEndpoint(lambda body, number: (200, f"\\boxed{{{number}}}")) as endpoint:
        command += ["--endpoint", endpoint.url, "--output", str(tmp_path / "out"), "--json"]
        assert run(command) == 0 and run(command) == 0
        assert len(endpoint.asked) == 1  # named twice, and by two commands, but the same
        write_run(path, workers=("Ada", "Emmy"))
        assert run(command) == 0
        assert len(endpoint.asked) == 2


@pytest.mark.parametrize("option", ["--retries=-1", "--timeout=0", "--timeout=nan", "--votes=0"])
def test_settings_of_calls_that_cannot_be(tmp_path, capsys, option):
    path = write_run(tmp_path / "a.jsonl")
    assert run(["judge", str(path), "--judge", "j", "--endpoint", "http://localhost:1/v1", option]) == 2
    assert f"{option.partition('=')[0]}: expected" in capsys.readouterr().err
