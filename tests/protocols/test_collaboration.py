"""The collaboration protocol, without a model: every rule, and what each worker sees at any moment."""

import pytest

from fakes import ListStore, ScriptedEngine, ToyTokenizer
from hogwild.engine.events import (
    AnswerEvent,
    BudgetEvent,
    FinishEvent,
    InterventionEvent,
    StartEvent,
    StepEvent,
    TokenEvent,
)
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import PoolExhausted, UnknownNameError
from hogwild.prompting import Headers
from hogwild.protocols import CollaborationProtocol, CollaborationResult

LAYOUTS = ["combined", "contiguous", "interleaved"]
PROMPT = "Solve it.\n\n### Past steps"


def make(tokenizer, workers=2, layout="combined", **options):
    options.setdefault("max_forwards", 10_000)
    options.setdefault("prompt", tokenizer.encode(PROMPT))
    options.setdefault("headers", Headers())
    return CollaborationProtocol("Solve it.", tokenizer, workers, layout, **options)


def say(tokenizer, **texts):
    """What each worker samples, as token ids."""
    return {worker: tokenizer.encode(text) for worker, text in texts.items()}


def run(protocol, tokenizer, **texts):
    scripts = say(tokenizer, **texts)
    engine = ScriptedEngine(protocol, scripts)
    engine.run(min(len(ids) for ids in scripts.values()))
    return engine


def view_text(engine, tokenizer, worker):
    return tokenizer.decode(engine.store.view(engine.protocol.layout.view(worker)))


# ------------------------------------------------------------------ the beginning


def test_blocks_and_first_feeds_of_the_combined_layout():
    tokenizer = ToyTokenizer()
    protocol = make(tokenizer)
    engine = ScriptedEngine(protocol, say(tokenizer, Alice="a", Bob="b"))
    assert engine.store.names() == list(protocol.layout.block_names)
    written = [
        (f.view.blocks, f.view.write_to, tokenizer.decode(f.tokens), f.sample) for f in protocol.feeds()
    ]
    assert written == [
        (("history",), "history", PROMPT, False),
        (("history", "header_others"), "header_others", "\n\n### Work in progress (others)", False),
        (
            ("history", "header_others", "header_own"),
            "header_own",
            " <...>\n\n### Work in progress (own)",
            False,
        ),
        (
            ("history", "header_others", "worker:Bob", "header_own", "worker:Alice"),
            "worker:Alice",
            "\n\n**Alice [1]:**",
            True,
        ),
        (
            ("history", "header_others", "worker:Alice", "header_own", "worker:Bob"),
            "worker:Bob",
            "\n\n**Bob [1]:**",
            True,
        ),
    ]


def test_start_event_says_what_is_run():
    tokenizer = ToyTokenizer()
    sampling = SamplingParams(temperature=0.5, forbidden_tokens=(3,))
    protocol = make(tokenizer, ["Ada", "Kurt"], "interleaved", max_forwards=7, sampling=sampling)
    start, *headers = ScriptedEngine(protocol, {}).events
    settings = {"max_forwards": 7, "budgets": [7], "early_finish": False, "family": "generic"}
    settings |= {"answer": "boxed", "question_every": 1024, "question_to": "next", "reencode": False}
    settings |= {"examples": True, "person": "second", "sampling": sampling.to_dict()}
    assert start == StartEvent(
        protocol="collaboration",
        problem="Solve it.",
        workers=["Ada", "Kurt"],
        layout="interleaved",
        prompt=PROMPT,
        settings=settings,
    )
    assert StartEvent.from_json(start.to_json()) == start
    assert {type(event) for event in headers} == {TokenEvent}
    assert {event.source for event in headers} == {"inserted"}
    for worker in ("Ada", "Kurt"):
        assert "".join(e.text for e in headers if e.worker == worker) == f"\n\n**{worker} [1]:**"
    assert protocol.sampling("Kurt") == sampling


# ------------------------------------------------------------------ steps


def test_a_finished_step_moves_and_its_last_token_opens_the_next_one():
    tokenizer = ToyTokenizer()
    engine = run(make(tokenizer), tokenizer, Alice=" Two.\n\n", Bob=" I will")
    assert ("append_from", "history", "worker:Alice") in engine.store.log
    assert tokenizer.decode(engine.store.tokens("history")) == PROMPT + "\n\n**Alice [1]:** Two."
    assert engine.store.tokens("worker:Alice") == []
    alice, bob = engine.protocol.feeds()
    assert tokenizer.decode(alice.tokens) == "\n\n**Alice [2]:**" and alice.sample
    assert alice.tokens[0] == tokenizer.id("\n\n")
    assert tokenizer.decode(bob.tokens) == "l"
    (step,) = [event for event in engine.events if isinstance(event, StepEvent)]
    assert (step.worker, step.index, step.text) == ("Alice", 1, "Two.")
    # the events of the separator come before the step's end, those of the new header after it
    place = engine.events.index(step)
    assert engine.events[place - 1] == TokenEvent(worker="Alice", token=tokenizer.id("\n\n"), text="\n\n")
    header = [e for e in engine.events[place + 1 :] if e.worker == "Alice"]
    assert "".join(e.text for e in header) == "**Alice [2]:**"
    assert {e.source for e in header} == {"inserted"}


def test_steps_stand_in_the_order_in_which_they_were_finished():
    tokenizer = ToyTokenizer()
    engine = run(make(tokenizer), tokenizer, Alice=" One, two, three.\n\n", Bob=" B.\n\n C.\n\n" + " D" * 9)
    text = tokenizer.decode(engine.store.tokens("history"))
    order = ["**Bob [1]:** B.", "**Bob [2]:** C.", "**Alice [1]:** One, two, three."]
    assert text == "\n\n".join([PROMPT, *order])


def test_views_of_the_combined_layout_read_as_a_text():
    tokenizer = ToyTokenizer()
    engine = run(make(tokenizer, 3), tokenizer, Alice=" A.\n\n x", Bob=" Bobby ", Carol=" Caro ")
    assert view_text(engine, tokenizer, "Bob") == (
        PROMPT + "\n\n**Alice [1]:** A."
        "\n\n### Work in progress (others)"
        "\n\n**Alice [2]:** "
        "\n\n**Carol [1]:** Caro"
        " <...>\n\n### Work in progress (own)"
        "\n\n**Bob [1]:** Bobb"
    )


def test_views_of_the_interleaved_layout_hide_unfinished_steps():
    tokenizer = ToyTokenizer()
    engine = run(make(tokenizer, 2, "interleaved"), tokenizer, Alice=" A.\n\n x", Bob=" Bobby ")
    assert view_text(engine, tokenizer, "Bob") == PROMPT + "\n\n**Alice [1]:** A.\n\n**Bob [1]:** Bobb"
    assert view_text(engine, tokenizer, "Alice") == PROMPT + "\n\n**Alice [1]:** A.\n\n**Alice [2]:** "


def test_the_contiguous_layout_keeps_each_workers_text_together():
    tokenizer = ToyTokenizer()
    engine = run(make(tokenizer, 2, "contiguous"), tokenizer, Alice=" A.\n\nNext ", Bob=" Bobby and")
    alice, bob = "\n\n**Alice [1]:** A.\n\nNext", "\n\n**Bob [1]:** Bobby a"
    assert view_text(engine, tokenizer, "Bob") == PROMPT + alice + bob
    assert not any(isinstance(event, StepEvent) for event in engine.events)
    assert not any(name == "append_from" for name, *_ in engine.store.log)


def test_one_worker_alone():
    tokenizer = ToyTokenizer()
    engine = run(make(tokenizer, 1), tokenizer, Alice=" A.\n\n B")
    assert view_text(engine, tokenizer, "Alice") == (
        PROMPT + "\n\n**Alice [1]:** A.\n\n### Work in progress (own)\n\n**Alice [2]:** "
    )


# ------------------------------------------------------------------ the end


def finish(engine):
    return engine.protocol.finish_reason


def test_a_boxed_answer_ends_the_run_and_the_others_tokens_of_that_forward_are_told():
    tokenizer = ToyTokenizer()
    engine = run(make(tokenizer), tokenizer, Alice=" It is \\boxed{1{2}}.\n\n", Bob=" " + "b" * 30)
    answer = [event for event in engine.events if isinstance(event, AnswerEvent)]
    assert answer == [AnswerEvent(worker="Alice", text="1{2}")]
    assert finish(engine) == "answer"
    sampled = [e for e in engine.events if isinstance(e, TokenEvent) and e.source == "sampled"]
    assert [e.worker for e in sampled[-2:]] == ["Alice", "Bob"]
    assert len(sampled) == 2 * len(" It is \\boxed{1{2}}")


def test_an_empty_box_is_no_answer_and_answers_can_be_ignored():
    tokenizer = ToyTokenizer()
    engine = run(make(tokenizer, 1), tokenizer, Alice=" \\boxed{} or \\boxed{ }.")
    assert finish(engine) is None
    engine = run(make(tokenizer, 1, find_answer=None), tokenizer, Alice=" \\boxed{1}.")
    assert finish(engine) is None


def test_a_box_of_an_earlier_step_is_not_taken_for_an_answer_again():
    tokenizer = ToyTokenizer()
    found = []
    engine = ScriptedEngine(
        make(tokenizer, 1, find_answer=found.append), say(tokenizer, Alice=" One.\n\n Two")
    )
    engine.run(len(" One.\n\n Two") - 1)
    assert found[-1] == " Two" and " One." in found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_worker_whose_text_ends_stops_and_the_others_go_on(layout):
    tokenizer = ToyTokenizer()
    scripts = say(tokenizer, Alice=" So.", Bob=" And more.")
    scripts["Alice"].append(0)
    scripts["Bob"].append(0)
    engine = ScriptedEngine(make(tokenizer, 2, layout), scripts)
    engine.run(5)
    assert finish(engine) is None and {feed.worker for feed in engine.protocol.feeds()} == {"Bob"}
    steps = [(e.worker, e.index, e.text) for e in engine.events if isinstance(e, StepEvent)]
    assert steps == ([] if layout == "contiguous" else [("Alice", 1, "So.")])
    assert "**Alice [1]:** So." in view_text(engine, tokenizer, "Bob")
    engine.run()
    assert finish(engine) == "eos"
    assert all(0 not in engine.store.tokens(name) for name in engine.store.names())
    assert [e for e in engine.events if isinstance(e, TokenEvent) and e.token == 0] == [
        TokenEvent(worker="Alice", token=0, text=""),
        TokenEvent(worker="Bob", token=0, text=""),
    ]


def test_a_worker_that_ends_behind_its_header_leaves_nothing():
    tokenizer = ToyTokenizer()
    engine = ScriptedEngine(make(tokenizer), {"Alice": [0], "Bob": tokenizer.encode(" Bob.")})
    engine.run(2)
    assert engine.store.tokens("worker:Alice") == []
    assert "Alice" not in view_text(engine, tokenizer, "Bob")
    assert not any(isinstance(event, StepEvent) for event in engine.events)


def test_further_end_tokens():
    tokenizer = ToyTokenizer()
    engine = ScriptedEngine(make(tokenizer, 1, end_tokens=[50]), {"Alice": [9, 9, 50]})
    engine.run()
    assert finish(engine) == "eos" and len(engine.feeds) == 3


def test_max_forwards_counts_what_each_worker_samples():
    tokenizer = ToyTokenizer()
    engine = ScriptedEngine(make(tokenizer, max_forwards=5), lambda feed, view: 9)
    engine.run()
    assert finish(engine) == "max_forwards"
    sampled = [e for e in engine.events if isinstance(e, TokenEvent) and e.source == "sampled"]
    assert len(sampled) == 10


# ------------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"workers": 0}, ValueError, "workers"),
        ({"layout": "circular"}, UnknownNameError, "unknown layout 'circular'.*combined"),
        ({"max_forwards": 0}, ValueError, "max_forwards: expected an integer >= 1, got 0"),
        ({"max_forwards": 2.5}, TypeError, "max_forwards: expected an integer >= 1, got 2.5"),
        ({"max_forwards": "2"}, TypeError, "max_forwards: expected an integer >= 1, got '2'"),
        ({"prompt": []}, ValueError, "prompt: expected at least one token"),
        ({"prompt": [5, -1]}, ValueError, "prompt: expected an integer >= 0, got -1"),
        ({"prompt": "abc"}, TypeError, "prompt: expected token ids, got 'abc'"),
        ({"headers": 3}, TypeError, "headers: expected Headers or None, got 3"),
        ({"rule": "\n\n"}, TypeError, "rule: expected StepRule or None"),
        ({"numbered": "yes"}, TypeError, "numbered: expected True or False, got 'yes'"),
        ({"reencode": 1}, TypeError, "reencode: expected True or False, got 1"),
        ({"examples": None}, TypeError, "examples: expected True or False, got None"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        make(ToyTokenizer(), **options)


def test_an_empty_problem_is_refused():
    with pytest.raises(ValueError, match="problem"):
        CollaborationProtocol("  ", ToyTokenizer())


def test_own_headers_are_those_of_the_prompt_too():
    headers = Headers(worker="[{worker} #{index}]", past="== done ==", own="== mine ==")
    tokenizer = ToyTokenizer()
    protocol = make(tokenizer, prompt=None, headers=headers)
    engine = ScriptedEngine(protocol, say(tokenizer, Alice="a", Bob="b"))
    engine.forward()
    text = view_text(engine, tokenizer, "Bob")
    assert "[Bob #1] I will name" in text or "[Alice #1] I will name" in text
    assert text.count("== done ==") == 5 and text.endswith("== mine ==\n\n[Bob #1]")


# ------------------------------------------------------------------ a full pool


class FullAtTimes(ListStore):
    """A store whose pool is too full for every second block that is to be moved."""

    tries = 0

    def append_from(self, dst, src, keep_source=False):
        self.tries += 1
        if self.tries % 2:
            raise PoolExhausted(2, 1, 16)
        super().append_from(dst, src, keep_source)


class PatientEngine(ScriptedEngine):
    """Hands the same results over until the protocol has taken them."""

    def __init__(self, protocol, next_token):
        super().__init__(protocol, next_token, store=FullAtTimes())

    def receive(self, results):
        while True:
            try:
                return self.protocol.receive(results)
            except PoolExhausted:
                continue


@pytest.mark.parametrize("pieces", [["\n\n"], ["\n\n", ".\n\n"]])
def test_where_the_pool_is_full_the_call_goes_on_from_where_it_was(pieces):
    tokenizer = ToyTokenizer(pieces)
    scripts = say(tokenizer, Alice=" One.\n\n Two.\n\n Three", Bob=" Big.\n\n Bob.\n\n Bobby")
    engines = [
        kind(make(tokenizer, budgets=[6, 9], max_forwards=14, early_finish=True), script_of(scripts))
        for kind in (ScriptedEngine, PatientEngine)
    ]
    for engine in engines:
        engine.run()
    plain, patient = engines
    assert patient.store.tries == 8 and patient.events == plain.events
    assert patient.store.blocks == plain.store.blocks and patient.feeds == plain.feeds


def script_of(scripts):
    """The workers' scripts; branches that are made to answer say dots."""
    running = {worker: iter(ids) for worker, ids in scripts.items()}
    return lambda feed, view: next(running[feed.worker]) if feed.worker in running else 50


# ------------------------------------------------------------------ the result


def test_result_is_read_from_the_events():
    tokenizer = ToyTokenizer()
    engine = run(make(tokenizer), tokenizer, Alice=" A.\n\n B \\boxed{7}!", Bob=" C.\n\n" + " D" * 20)
    end = FinishEvent(reason="answer", forwards=3, tokens=40, seconds=1.5)
    result = CollaborationResult.from_events([*engine.events, end])
    assert result.problem == "Solve it."
    assert result.history == "**Alice [1]:** A.\n\n**Bob [1]:** C."
    assert result.unfinished["Alice"] == "**Alice [2]:** B \\boxed{7}"
    assert result.texts["Alice"] == "\n\n**Alice [1]:** A.\n\n**Alice [2]:** B \\boxed{7}"
    assert result.text.startswith(result.history) and result.text.endswith(" D D D")
    assert (result.answer, result.finish_reason) == ("7", "answer")
    assert (result.forwards, result.tokens, result.seconds) == (3, 40, 1.5)
    assert (result.budgets, result.interventions) == ({10_000: "7"}, 0)


def test_result_of_a_run_that_was_made_to_answer():
    asked = [BudgetEvent(budget=4, answer="1"), BudgetEvent(budget=8, answer="2")]
    question = InterventionEvent(worker="Alice", text="?")
    result = CollaborationResult.from_events([question, *asked, question])
    assert (result.answer, result.budgets, result.interventions) == ("2", {4: "1", 8: "2"}, 2)
