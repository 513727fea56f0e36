"""The state machine of asynchronous reasoning: every transition, and what stands where after it."""

from dataclasses import dataclass

import pytest
from streams import CLOSE, END, ROLES, TOKENIZER, Run, make

from fakes import ListStore
from hogwild.engine.events import (
    AnswerEvent,
    InterventionEvent,
    RollbackEvent,
)
from hogwild.errors import HogwildError, SessionFinishedError, UnknownNameError
from hogwild.protocols.async_reasoning import POLICIES, AsyncReasoningProtocol, Safety, make_policy
from hogwild.protocols.async_reasoning.policies import Ask, Policy

ARRANGEMENTS = ["roles", "shared"]
OPEN_THOUGHTS = "<turn><think>\n\n"


# ------------------------------------------------------------------ the beginning


def test_prefill_of_roles_is_one_forward_with_stubs_that_are_dropped():
    run = Run(make("fixed-ratio"))
    run.forward()
    written = [(f.view.blocks, TOKENIZER.decode(f.tokens), f.sample) for f in run.feeds[0]]
    assert written == [
        (("writer_prompt",), "W:Q", False),
        (("thinker_prompt",), "T:Q", False),
        (("writer_prompt", "thoughts_stub"), "<turn><think>", False),
        (("thinker_prompt", "answer_stub"), "A:", False),
        (("writer_prompt", "thoughts_stub", "writer_split"), "(w)", False),
        (("thinker_prompt", "answer_stub", "thinker_split"), "(t)", False),
        (("writer_prompt", "thoughts_stub", "writer_split", "answer"), "A:", False),
        (("thinker_prompt", "answer_stub", "thinker_split", "thoughts"), "<turn><think>", False),
    ]
    assert not {"thoughts_stub", "answer_stub"} & set(run.store.names())
    assert run.view("writer") == "W:Q" + OPEN_THOUGHTS[:-2] + "(w)A:\n\n"
    assert run.view("thinker") == "T:QA:(t)" + OPEN_THOUGHTS


def test_views_of_both_arrangements_show_each_token_once():
    for arrangement, writer, thinker in (
        ("roles", "W:Q<turn><think>\n\nab(w)A:\n\nxyz", "T:QA:\n\nxy(t)<turn><think>\n\nabc"),
        ("shared", "P:Q<turn><think>\n\nab(w)A:\n\nxyz", "P:Q<turn><think>\n\nabc"),
    ):
        run = Run(make(arrangement=arrangement), "abc", "xyz")
        run.forwards(4)
        assert (run.view("writer"), run.view("thinker")) == (writer, thinker)
        assert len(run.feeds[-1]) == 2 and all(len(f.tokens) == 1 and f.sample for f in run.feeds[-1])


def test_start_event_says_what_is_run():
    protocol = make(make_policy("probe", every=7), max_forwards=9)
    start = Run(protocol).events[0]
    assert (start.protocol, start.problem, start.workers) == ("async_reasoning", "Q", ["thinker", "writer"])
    assert start.settings["policy"] == "probe" and start.settings["policy_settings"]["every"] == 7
    assert type(start).from_json(start.to_json()) == start


def test_control_tokens_are_never_sampled_and_the_problem_is_plain_text():
    protocol = make("in-stream")
    assert {TOKENIZER.id("<think>"), CLOSE} <= set(protocol.sampling("thinker").forbidden_tokens)
    protocol = make("probe")
    assert CLOSE not in protocol.sampling("thinker").forbidden_tokens
    assert CLOSE in protocol.sampling("writer").forbidden_tokens
    protocol = AsyncReasoningProtocol("a</think>b<turn>", TOKENIZER, prompts=ROLES)
    prompt = protocol._encoded.writer_prompt
    assert TOKENIZER.decode(prompt) == "W:a</think>b<turn>"
    assert not set(prompt) & set(TOKENIZER.all_special_ids)


# ------------------------------------------------------------------ the end


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_the_writers_end_ends_the_run_and_is_not_written(arrangement):
    run = Run(make(arrangement=arrangement), "abcdef", "It is \\boxed{4}.|")
    run.finish()
    assert run.protocol.finish_reason == "eos"
    assert run.events[-1] == AnswerEvent(worker="writer", text="4")
    assert run.protocol.answer == "It is \\boxed{4}."
    assert END not in run.store.tokens("answer")
    assert run.protocol.waiting is False
    with pytest.raises(SessionFinishedError):
        run.protocol.push("more")
    run.protocol.cancel()  # no error: it has ended


def test_a_closing_tag_makes_it_writer_only():
    run = Run(make("fixed-ratio"), "ab</think>", "xyz|")
    run.forwards(4)
    assert run.modes == ["thinker_only", "writer_only"]
    run.finish()
    assert run.modes == ["thinker_only", "writer_only"]
    assert run.block("thoughts") == OPEN_THOUGHTS + "ab"  # everything but the tag
    assert run.protocol.answer == "xyz"


def test_an_end_token_of_the_thinker_does_too():
    run = Run(make("always-on"), "ab|", "xyzxyz|")
    run.finish()
    assert run.modes == ["thinker_and_writer", "writer_only"]


def test_limits_of_forwards_and_of_thoughts():
    run = Run(make("always-on", max_forwards=5), "a" * 9, "x" * 9)
    run.finish()
    assert run.protocol.finish_reason == "max_forwards" and run.protocol.answer == "xxxxx"
    run = Run(make("think-first", max_thoughts=3), "abcdef", "xy|")
    run.finish()
    assert run.modes == ["thinker_only", "writer_only"]
    assert run.block("thoughts") == OPEN_THOUGHTS + "abc"  # its pending token is written, too
    assert run.view("writer").endswith("abc(w)A:\n\nxy")


def test_stop_texts_end_a_stream_and_are_taken_back():
    from dataclasses import replace

    prompts = replace(ROLES, stop=("Request:",))
    run = Run(make("always-on", prompts=prompts), "abcRequest:", "Done. Request: and more")
    run.finish()
    assert run.protocol.answer == "Done. " and run.protocol.thoughts.startswith("abc")
    assert "Request" not in run.block("answer") + run.block("thoughts")
    back = [event for event in run.events if isinstance(event, RollbackEvent)]
    assert {event.text for event in back} == {"Request:"}


# ------------------------------------------------------------------ policies


def test_fixed_ratio_says_when_the_first_public_token_comes():
    run = Run(make(make_policy("fixed-ratio", think=4, write=3)), "abcdefghijklmno", "uvwxyz")
    run.forwards(1 + 4)
    assert run.protocol.answer == ""
    run.forwards(1)
    assert run.protocol.answer == "u"
    run.forwards(2 + 4 + 1)
    assert run.protocol.answer == "uvwx"
    assert run.modes == ["thinker_only", "thinker_and_writer"] * 2


def test_in_stream_questions_stay_in_the_streams():
    run = Run(
        make("in-stream"), "One.\n\nTwo.\n\nThree", "Says.\n\nMore.\n\n", yes=[False, True, True, False]
    )
    run.forwards(30)
    assert run.modes == ["thinker_only", "thinker_and_writer", "thinker_only"]
    thoughts = "<turn><think>\n\nOne.\n\n[begin?] no\n\nTwo.\n\n[begin?] yes\n\nThree"
    assert run.view("thinker").rstrip("~").endswith(thoughts)
    assert run.block("answer").startswith("A:\n\nSays.\n\n[go on?] yes\n\nMore.\n\n[go on?] no")
    # the paragraph's last token is written before the question
    assert run.asked[0].endswith("One.\n\n[begin?]")
    questions = [e.text for e in run.events if isinstance(e, InterventionEvent)]
    assert questions == ["[begin?]", "[begin?]", "[go on?]", "[go on?]"]
    assert run.protocol.answer == "Says.\n\nMore.\n\n"  # questions are not public


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("ride", ["auto", "always", "never"])
def test_probes_leave_nothing_and_pause_the_writer_at_its_own_paragraph_end(ride, arrangement):
    policy = make_policy("probe", every=4, ride=ride, hysteresis=0.0)
    run = Run(
        make(policy, arrangement), "abcdefgh" * 20, "Hi there.\n\nAgain.\n\nx", yes=[False, True, False]
    )
    run.forwards(13)
    assert len(run.asked) >= 2 and run.modes[:2] == ["thinker_only", "thinker_and_writer"]
    assert all(view.endswith("[enough?]") for view in run.asked)
    run.forwards(12)
    # one answer of no while it writes: it pauses where its paragraph ends, not before
    assert run.modes[:3] == ["thinker_only", "thinker_and_writer", "thinker_only"]
    assert run.protocol.answer == "Hi there.\n\n"
    assert "[enough?]" not in run.view("thinker") + run.view("writer")
    alone = [feeds for feeds in run.feeds if len(feeds) == 1 and feeds[0].view.write_to == "side"]
    riding = [feeds for feeds in run.feeds if len(feeds) > 1 and feeds[-1].view.write_to == "side"]
    assert bool(alone) is (ride == "never") and bool(riding) is (ride != "never")


def test_a_question_follows_all_that_its_stream_has_said():
    for ride in ("auto", "never"):
        run = Run(make(make_policy("probe", every=3, ride=ride)), "abcdefgh")
        run.forwards(6)
        assert run.asked[0].endswith("abc[enough?]")


def test_what_the_user_says_comes_before_a_question_of_the_same_forward():
    run = Run(make(make_policy("probe", every=3)), "abcdefgh")
    run.forwards(1 + 3)
    run.protocol.push("!")  # the next forward is to ask
    run.forwards(1)
    assert run.asked[0].startswith("T:Q\n\n!") and run.asked[0].endswith("abc[new][enough?]")


def test_what_the_user_says_comes_before_the_forward_of_a_question():
    run = Run(make(make_policy("probe", every=3, ride="never")), "abcdefgh")
    run.forwards(1 + 3)
    assert run.asked == []
    run.protocol.push("!")  # the next forward was to ask
    run.forwards(1)
    assert run.asked == [] and run.block("input").endswith("!")
    run.forwards(1)
    assert len(run.asked) == 1 and run.asked[0].endswith("abc[new]d[enough?]")


@pytest.mark.parametrize("every", [1, 2])
def test_questions_never_keep_the_streams_from_going_on(every):
    for ride, said in (("auto", 12), ("always", 12), ("never", {1: 6, 2: 8}[every])):
        policy = make_policy("probe", every=every, ride=ride, longest_silence=None)
        run = Run(make(policy), "a" * 99)
        run.forwards(1 + 12)
        assert run.protocol.thoughts == "a" * said and run.asked


def test_a_question_is_a_guest_unless_it_is_to_ride_always():
    for ride, guest in (("auto", True), ("always", False), ("never", True)):
        run = Run(make(make_policy("probe", every=3, ride=ride)), "abcdefgh")
        run.forwards(6)
        asking = [feed for feeds in run.feeds for feed in feeds if feed.probe]
        assert asking and all(feed.guest is guest for feed in asking)
    for make_one in (lambda r: make_policy("probe", ride=r), lambda r: make_policy("entropy", ride=r)):
        for ride in (True, "often"):
            with pytest.raises(UnknownNameError, match="unknown ride"):
                make_one(ride)
    with pytest.raises(UnknownNameError, match="unknown ride"):
        Safety(ride=False)


def test_questions_that_there_are_not():
    for arguments, message in (
        (("perhaps", "thinker"), "unknown question 'perhaps'; expected one of: begin, go on, unsure"),
        (("begin", "user"), "unknown worker 'user'; expected one of: thinker, writer"),
        (("unsure", "writer", True), "in_stream: expected False for the question 'unsure'"),
    ):
        with pytest.raises(ValueError, match=message):
            Ask(*arguments)


@dataclass
class Insisting(Policy):
    """Asks again whatever it is told."""

    name = "insisting"

    def decide(self, moment):
        return Ask("begin", "thinker", ride="never")

    def answered(self, ask, answer, moment):
        return self.decide(moment)


def test_a_policy_that_asks_without_end_silences_nobody():
    run = Run(make(Insisting(longest_silence=8)), "a" * 99, "x" * 99)
    run.forwards(1 + 24)
    assert len(run.protocol.thoughts) > 8 and len(run.protocol.answer) > 2


@pytest.mark.parametrize("hold", [1, 2, 7])
@pytest.mark.parametrize("ride", ["auto", "always", "never"])
def test_the_safety_check_holds_the_writer_for_so_many_forwards(hold, ride):
    run = Run(make(safety=Safety(hold=hold, ride=ride)), "a" * 99, "x" * 9, yes=[True])
    run.forwards(1 + hold)
    assert run.protocol.answer == "" and len(run.asked) == 1
    run.forwards(1)
    assert run.protocol.answer == "x"


def test_margin_and_hysteresis():
    policy = make_policy("probe", every=1, margin=1.0, hysteresis=1.5)
    run = Run(make(policy), "a" * 99, "x.\n\n" * 20, yes=[0.9, 1.1])
    run.forwards(1 + 2)
    assert run.modes == ["thinker_only"]  # 0.9 is within the margin
    run.forwards(1)
    assert run.modes[-1] == "thinker_and_writer"
    run.answers[:] = [-0.4] * 12
    run.forwards(12)
    assert run.protocol.answer.startswith("x.\n\n" * 3)
    assert run.modes[-1] == "thinker_and_writer"  # -0.4 is above 1.0 - 1.5
    run.answers[:] = [-0.6] * 4
    run.forwards(4)
    assert run.modes[-1] == "thinker_only" and run.protocol.answer.endswith("\n\n")
    run.answers[:] = [0.9] * 4
    run.forwards(4)
    assert run.modes[-1] == "thinker_only"  # to begin again takes the whole margin


def test_probes_at_paragraph_ends():
    run = Run(make(make_policy("probe", at="paragraph")), "One.\n\nTwo.\n\nThree.", yes=[False, True])
    run.forwards(16)
    assert [view[-20:] for view in run.asked] == [
        (OPEN_THOUGHTS + "One.\n\n[enough?]")[-20:],
        (OPEN_THOUGHTS + "One.\n\nTwo.\n\n[enough?]")[-20:],
    ]
    assert run.modes[-1] == "thinker_and_writer"


@pytest.mark.parametrize("ride", ["auto", "always", "never"])
def test_the_entropy_policy_takes_an_unsure_token_back(ride):
    doubt = {1: 0.1, 2: 0.1, 3: 9.0, 4: 5.0, 5: 1.0}  # to begin: sure; one token; unsure; still; sure again
    policy = make_policy("entropy", threshold=2.0, hysteresis=0.5, every=3, ride=ride)
    run = Run(make(policy), "abcdefghijklmnopq", "x?yz", entropies=lambda count: doubt.get(count, 0.0))
    run.forwards(20)
    assert run.modes == ["thinker_only", "thinker_and_writer", "thinker_only", "thinker_and_writer"]
    assert run.protocol.answer.startswith("xyz")  # the token that it was unsure of was never said
    probes = [(e.question, e.verdict, e.entropy) for e in run.events if e.type == "probe"]
    assert probes == [("unsure", "yes", 0.1), ("unsure", "no", 5.0), ("unsure", "yes", 1.0)]


def test_the_longest_silence_ends_with_a_whole_paragraph():
    policy = make_policy("entropy", threshold=0.0, hysteresis=0.0, every=3, longest_silence=7)
    run = Run(make(policy), "a" * 99, "Hi.\n\nx", entropies=lambda count: 5.0)
    run.forwards(1 + 7)
    assert run.modes == ["thinker_only", "thinker_and_writer"]
    run.forwards(5)
    assert run.protocol.answer == "Hi.\n\n"
    run.forwards(1)
    assert run.modes[-1] == "thinker_only"
    with pytest.raises(ValueError, match="longest_silence"):
        make_policy("probe", longest_silence=0)


@pytest.mark.parametrize("ride", ["auto", "always", "never"])
def test_a_writer_that_never_dares_its_first_word_is_silent(ride):
    """It begins again and again, and takes the token back each time: modes change, but nothing is said."""
    policy = make_policy("entropy", every=2, threshold=1.0, longest_silence=20, ride=ride)
    run = Run(make(policy), "a" * 99, "x" * 99, entropies=lambda count: 3.0 * (count % 2 == 0))
    run.forwards(1 + 20)
    assert len(run.modes) > 4 and run.protocol.answer == ""
    run.forwards(5)
    assert run.protocol.answer == "xxxxx"


@pytest.mark.parametrize("name", [name for name in POLICIES if name not in ("think-first", "no-thinking")])
def test_no_policy_starves_the_writer(name):
    run = Run(
        make(make_policy(name, longest_silence=30)), "Hm.\n\n" * 99, "No.\n\n" * 9, entropies=lambda n: 9.0
    )
    run.forwards(60)
    assert run.protocol.answer


def test_baselines_think_first_or_not_at_all():
    run = Run(make("think-first", "shared"), "abc</think>", "xy|")
    run.finish()
    assert run.modes == ["thinker_only", "writer_only"] and run.protocol.answer == "xy"
    run = Run(make("no-thinking", "shared"), "abc", "xy|")
    run.finish()
    assert run.modes == ["writer_only"] and run.protocol.thoughts == ""
    assert run.view("writer") == "P:Q<turn><think>\n\n(w)A:\n\nxy"


def test_unknown_policies_settings_and_arguments():
    with pytest.raises(UnknownNameError, match="unknown policy 'loud'; expected one of: in-stream, probe"):
        make_policy("loud")
    with pytest.raises(TypeError, match=r"no settings \['loudness'\]"):
        make_policy("probe", loudness=3)
    for name, kind in (("safety", "Safety"), ("prompts", "AsyncPrompts"), ("rule", "StepRule"),
                       ("sampling", "SamplingParams"), ("writer_sampling", "SamplingParams")):  # fmt: skip
        with pytest.raises(TypeError, match=rf"^{name}: expected {kind} or None, got True"):
            make(**{name: True})
    for name, value, expected in (("turns", "no", "True or False"), ("clock", 3, "a function that gives seconds"),
                                  ("end_tokens", 3, "token ids")):  # fmt: skip
        with pytest.raises(TypeError, match=rf"^{name}: expected {expected}, got {value!r}"):
            make(**{name: value})
    with pytest.raises(ValueError, match=r"problem: expected text in Unicode, got '.udcff' at 1"):
        AsyncReasoningProtocol("a\udcff", TOKENIZER)
    with pytest.raises(UnknownNameError, match="unknown arrangement"):
        AsyncReasoningProtocol("Q", TOKENIZER, arrangement="both", prompts=ROLES)
    with pytest.raises(ValueError, match="problem: expected some text"):
        AsyncReasoningProtocol(" ", TOKENIZER)
    with pytest.raises(UnknownNameError, match="earlier thoughts"):
        make(earlier_thoughts="sold")
    with pytest.raises(ValueError, match="hysteresis: expected at most the threshold"):
        make_policy("entropy", threshold=1.0, hysteresis=2.0)
    protocol = make()
    protocol.begin(ListStore())
    with pytest.raises(HogwildError, match="runs once"):
        protocol.begin(ListStore())
