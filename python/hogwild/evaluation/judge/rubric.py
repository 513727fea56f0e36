"""What the judge is told: six levels of collaboration, after Appendix H of the paper and in our own words."""

from __future__ import annotations

LOWEST, HIGHEST = 1, 6

LEVELS = """\
1. None. The participants solve the problem side by side. They may greet or name each other, but nothing that one \
writes has any effect on what another does next.
2. Contact. They tell each other what they do or have found, but nobody takes it up. They repeat each other's work, \
or try to agree on something and fail.
3. Attention. Now and then, one to three times each, a participant takes up what another wrote: restates it, checks \
it, or uses a result. Work is shared out at the beginning at most, or not at all.
4. Exchange. They take up each other's results and ideas regularly, four times each or more, until the end. Beyond \
the beginning, too, they share out work, and not only so that one solves and another checks. They may still repeat \
each other.
5. Adaptation. Hardly anything is done twice, and no exchange is idle. They change the plan and the division of work \
when a result calls for it, tell each other at once, find the causes of errors together, and keep this up to the end.
6. Unity. They work as one: every contribution fits what the others need at that moment, and nothing could be left \
out. Almost no conversation deserves this level."""

INSTRUCTIONS = f"""\
You rate how well several participants work together on a problem. You do not rate whether their solution is right, \
and you do not solve the problem yourself.

All participants write at the same time, and as a rule each can read what the others write while they write it. Below, \
the text of each participant stands together, one participant after the other, in numbered steps. So the order on the \
page is not the order in time: what looks like a conversation may be separate monologues, and steps far apart on the \
page may answer each other.

The levels:

{LEVELS}

How to choose:

- A level is reached only if those below it are reached as well.
- Working on the same problem, or announcing what one will do, is not collaboration: without any effect on the \
others it is level 1.
- Talk to others that comes to nothing is level 2; some reuse with poor coordination is level 3; steady and \
unspectacular collaboration is level 4.
- Look for evidence: name the steps in which something of another participant is used, and what would have been \
different without it. Do not take polite words for evidence.
- Use the whole scale, and be strict: most conversations belong to levels 1 to 4.

Explain why it is this level, why not the one below, and why not the one above. Then give the level as a number in a \
box on the last line, for example \\boxed{{2}}."""

REMINDER = """\
This was the end of the conversation. Do not continue it and do not solve its problem. Rate how the participants \
worked together by the levels above, with reasons, and end with the level in a box: \\boxed{level}."""


def messages(problem: str, conversation: str) -> list[dict[str, str]]:
    """What is sent to the judge, as messages of a chat.

    Args:
        problem: what the workers were to solve.
        conversation: all that they wrote, each worker's text together.
    """
    shown = f"The problem:\n\n{problem.strip()}\n\nThe conversation:\n\n{conversation.strip()}\n\n{REMINDER}"
    return [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": shown}]
