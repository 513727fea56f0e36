"""What a thinker and a writer are told, for asynchronous reasoning and for its baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hogwild.prompting.chat_format import ChatFormat, chat_format

ARRANGEMENTS = ("roles", "shared")

THINKER_RULES = """\
You answer a request together with another instance of yourself. You are the thinker: you reason in private, \
and from your thoughts the other instance, the writer, writes the answer that the user reads, while you think.

- Work in short paragraphs, one small result after another, and check each before you build on it.
- The answer so far stands above your thoughts. Read it. Where it is wrong or lacks something, note what has \
to be corrected.
- Plan what the answer should say next. Never speak to the user yourself.
- The user may add to the request at any time. From then on, take it into account.
- Now and then you are asked whether the next small piece of the answer can be written. Say yes only if your \
thoughts hold what it needs.

The request:

{problem}"""

WRITER_RULES = """\
You answer a request together with another instance of yourself. You are the writer: the other instance, the \
thinker, reasons in private, and you turn its thoughts into the answer that the user reads.

- Above your text stand the thoughts so far. They go on while you write.
- Say in clear and finished sentences what the thoughts have established. Do not go beyond them, and do not \
solve anything yourself.
- Where the thoughts correct what you have written, correct it in the next sentence.
- Never mention the thoughts, or that there are two of you.
- Now and then you are asked whether the thoughts suffice to go on. Say no if you would have to guess.
- When the thoughts have come to the end, state the result, a definite one as \\boxed{answer}, and stop.

The request:

{problem}"""

SHARED_RULES = """\
You think about a request in private and answer it at the same time. Your thoughts come first and go on while \
your answer, which stands behind them, is written. Think in short paragraphs, each with one small result that \
you have checked. Write in the answer only what the thoughts have established, in clear and finished \
sentences, and never mention the thoughts. State a definite result as \\boxed{answer}.

The request:

"""

PLAIN_RULES = "{problem}\n\nState a definite result as \\boxed{answer}."

BASE_THINKER = """\
Somebody answers requests aloud and thinks in private at the same time.

Request: How much are 3 boxes of 4 pens and 5 single pens?
Answer: The boxes hold 3 * 4 = 12 pens.
Thoughts: 3 * 4 = 12 is right. With the single pens it is 12 + 5 = 17. So the answer must say 17 next.

Request: {problem}"""

BASE_WRITER = """\
Somebody thinks in private and answers requests aloud at the same time.

Request: How much are 3 boxes of 4 pens and 5 single pens?
Thoughts: 3 * 4 = 12. With the single pens it is 12 + 5 = 17. So the answer must say 17.
Answer: The boxes hold 3 * 4 = 12 pens. With the single pens there are 12 + 5 = \\boxed{17} pens.

Request: {problem}"""

BASE_SHARED = """\
Somebody thinks in private and answers requests aloud at the same time.

Request: How much are 3 boxes of 4 pens and 5 single pens?
Thoughts: 3 * 4 = 12. With the single pens it is 12 + 5 = 17. So the answer must say 17.
Answer: The boxes hold 3 * 4 = 12 pens. With the single pens there are 12 + 5 = \\boxed{17} pens.

Request: """


_BASE_STOP = ("\nRequest:", "\nThoughts:", "\nAnswer:")


@dataclass(frozen=True)
class AsyncPrompts:
    """All fixed texts of a run. `{problem}` stands for the request, which is never read as control tokens.

    Attributes:
        thinker_prompt, writer_prompt: what each view begins with; in the arrangement "shared" the first is
            the common prompt and the second empty.
        input: what the block of the user's input holds at first.
        thinker_split: stands between the answer and the thoughts, in the thinker's view ("roles" only).
        writer_split: stands between the thoughts and the answer, in the writer's view.
        thoughts_opening, answer_opening: what the streams begin with; the last piece is the first that is
            fed in order to sample, so it may not be empty.
        thinker_question, writer_question: asked in the streams: whether to begin writing, and to go on.
        probe_question: asked in a side block: whether there is enough for the next piece of the answer.
        yes, no: how the answers to questions are written into a stream; `answered` follows them.
        yes_words, no_words: what counts as yes and as no where an answer is read.
        input_lead: stands before a piece of input.
        input_note: tells the thinker that there is new input.
        interrupted: closes an answer that the user broke off.
        interrupt_note: tells the thinker of that.
        next_turn: closes an answer, and opens the user's next turn.
        thoughts_tag: what `thoughts_opening` has before any words, for summaries of thoughts.
        plain_reply: closes the user's turn and opens an answer without thoughts.
        summary_question: asks the thinker to sum its thoughts up.
        safety_question: asks in a side block whether the request may be answered.
        writing_question: asks there whether the answer so far may stand.
        refusal_note: tells the thinker that the request is to be declined.
        end_think: the control token that ends the thoughts; empty where the model has none.
        forbidden: control texts that neither stream may sample; tokens by themselves, or they are left out.
        stop: texts that end a stream which would otherwise go on to a next request; they are taken back.
    """

    thinker_prompt: str
    writer_prompt: str
    writer_split: str
    thinker_split: str = ""
    input: str = ""
    thoughts_opening: tuple[str, ...] = ("\n\n",)
    answer_opening: tuple[str, ...] = ("\n\n",)
    thinker_question: str = (
        "\n\nCHECK: Do my thoughts hold enough for the next small step of the answer? (yes/no):"
    )
    writer_question: str = (
        "\n\nCHECK: Do the thoughts above hold enough to go on with the next step of the answer? (yes/no):"
    )
    probe_question: str = (
        "\n\nCHECK: Is the next small step of the answer worked out, so that it can be written now? (yes/no):"
    )
    yes: str = " yes"
    no: str = " no"
    answered: str = "\n\n"
    yes_words: tuple[str, ...] = (" yes", "yes", " Yes", "Yes", " YES", "YES")
    no_words: tuple[str, ...] = (" no", "no", " No", "No", " NO", "NO")
    input_lead: str = "\n\n"
    input_note: str = (
        "\n\nThe user has just added to the request; it stands at its end. I take it into account.\n\n"
    )
    interrupted: str = " ...\n\n"
    interrupt_note: str = (
        "\n\nThe user has just broken off the answer. It stands above as far as it was heard.\n\n"
    )
    next_turn: str = "\n\n"
    thoughts_tag: str = ""
    plain_reply: str = "\n\n"
    summary_question: str = "\n\nWhat of this matters for what comes later, in two sentences:"
    safety_question: str = (
        "\n\nCHECK: Is the request harmless, so that it may be answered without danger to anybody? (yes/no):"
    )
    writing_question: str = (
        "\n\nCHECK: Is the answer, as far as it is written, harmless to everybody? (yes/no):"
    )
    refusal_note: str = (
        "\n\nAnswering this request could do harm. The answer has to decline it, politely and briefly, and to "
        "give nothing of what was asked for.\n\n"
    )
    end_think: str = ""
    forbidden: tuple[str, ...] = ("CHECK",)
    stop: tuple[str, ...] = ()


def async_prompts(tokenizer: Any, arrangement: str = "roles") -> AsyncPrompts:
    """The prompts for a thinker and a writer at the same time, in the chat format of this tokenizer's model.

    Args:
        tokenizer: a Hugging Face tokenizer; without a chat template, a base model is shown examples.
        arrangement: "roles", where each voice has a prompt of its own, or "shared", one for both.

    Raises:
        ValueError: an unknown arrangement, or a chat template that cannot hold a conversation.
    """
    if arrangement not in ARRANGEMENTS:
        raise ValueError(f"arrangement: expected one of {', '.join(ARRANGEMENTS)}, got {arrangement!r}")
    chat = chat_format(tokenizer)
    if not getattr(tokenizer, "chat_template", None):
        return _base_prompts(chat, arrangement)
    thoughts = (
        chat.reply + _line(chat.think) + "These are my private thoughts. I work the request out in short "
        "paragraphs, check what the answer says already, and plan what it should say next."
    )
    common = {**_common(chat), "thoughts_opening": (thoughts, "\n\n")}
    split = f"\n\n(my thoughts go on here)\n{chat.end_think or '(end of the thoughts, the answer follows)'}\n"
    if arrangement == "shared":
        return AsyncPrompts(
            thinker_prompt=chat.user + SHARED_RULES,
            writer_prompt="",
            input="{problem}",
            writer_split=split,
            **common,
        )
    answer = (
        "\nThis is my answer to the user. I write while my thoughts go on, and say only what they have "
        "established."
    )
    return AsyncPrompts(
        thinker_prompt=chat.user + THINKER_RULES,
        writer_prompt=chat.user + WRITER_RULES,
        thinker_split=" (the answer goes on here)",
        writer_split=split,
        answer_opening=(answer, "\n\n"),
        **common,
    )


def sequential_prompts(tokenizer: Any, think: bool = True) -> AsyncPrompts:
    """The prompts of the baselines: thoughts, then the answer (or the answer at once), in one stream.

    Args:
        tokenizer: a Hugging Face tokenizer.
        think: whether there are thoughts before the answer.
    """
    chat = chat_format(tokenizer)
    common = _common(chat)
    if not getattr(tokenizer, "chat_template", None):
        lead = "\nThoughts:" if think else "\nAnswer:"
        shown = BASE_SHARED if think else _without_thoughts(BASE_SHARED)
        return AsyncPrompts(
            thinker_prompt=chat.user + shown,
            writer_prompt="",
            input="{problem}",
            writer_split="\nAnswer" if think else " ",
            thoughts_opening=(lead,),
            answer_opening=(":",) if think else (" ",),
            stop=_BASE_STOP,
            **common,
        )
    empty = f"{_line(chat.think)}\n{chat.end_think}" if chat.think else ""
    return AsyncPrompts(
        thinker_prompt=chat.user,
        writer_prompt="",
        input=PLAIN_RULES,
        writer_split=(f"\n{chat.end_think}" if chat.end_think else "\n\nAnswer:") if think else empty or "\n",
        thoughts_opening=(chat.reply + _line(chat.think) if think else chat.reply,),
        **common,
    )


def _common(chat: ChatFormat) -> dict[str, Any]:
    return {
        "next_turn": chat.next_user,
        "thoughts_tag": chat.reply + _line(chat.think),
        "plain_reply": chat.reply,
        "end_think": chat.end_think,
        "forbidden": ("CHECK", *((chat.think,) if chat.think else ())),
    }


def _base_prompts(chat: ChatFormat, arrangement: str) -> AsyncPrompts:
    common = {**_common(chat), "next_turn": "\n\nRequest: ", "thoughts_tag": "\nThoughts:"}
    common.update(plain_reply="\nAnswer:", stop=_BASE_STOP)
    if arrangement == "shared":
        return AsyncPrompts(
            thinker_prompt=chat.user + BASE_SHARED,
            writer_prompt="",
            input="{problem}",
            writer_split="\nAnswer",
            thoughts_opening=("\nThoughts:",),
            answer_opening=(":",),
            **common,
        )
    return AsyncPrompts(
        thinker_prompt=chat.user + BASE_THINKER,
        writer_prompt=chat.user + BASE_WRITER,
        thinker_split="",
        writer_split="",
        thoughts_opening=("\nThoughts", ":"),
        answer_opening=("\nAnswer", ":"),
        **common,
    )


def _line(tag: str) -> str:
    return f"{tag}\n" if tag else ""


def _without_thoughts(examples: str) -> str:
    """The examples of a base model, their thoughts left out."""
    return "\n".join(line for line in examples.split("\n") if not line.startswith("Thoughts:")).replace(
        "thinks in private and answers requests aloud at the same time", "answers requests"
    )
