"""Compares the outcomes of a dialogue with two servers."""

from dataclasses import dataclass
from typing import Any

from tests.differential.dialogues import Dialogue
from tests.differential.player import GIVEN_UP, NOT_OFFERED, REST, Outcome

CLOSED = -1
"""The code that is used instead of a reply if the server has closed the connection."""


@dataclass(frozen=True)
class Difference:
    """A difference between the outcomes of Waypost (`ours`) and a peer (`theirs`)."""

    peer: str
    kind: str
    """The kind of difference: the reply to a command, to a message, or to the rest; or the sender, recipients or
    content of a message that both servers accepted."""
    said: bytes
    """The command line without its CRLF, or the message or the rest as the client sent it."""
    ours: Any
    theirs: Any
    dialogue: Dialogue
    step: int

    @property
    def verb(self) -> str:
        return self.said[:4].decode("latin-1").upper() if self.kind == "command" else ""

    @property
    def argument(self) -> bytes:
        return self.said.partition(b":")[2].strip(b" ")

    @property
    def we_accept(self) -> bool:
        return is_yes(self.ours)

    @property
    def they_accept(self) -> bool:
        return is_yes(self.theirs)

    @property
    def said_before(self) -> bytes:
        return b"".join(step.octets for step in self.dialogue.steps[: self.step])

    def __str__(self):
        return (
            f"{self.peer}: {self.kind} {self.said[:300]!r}\n"
            f"    Waypost:  {self.ours!r}\n    {self.peer + ':':9} {self.theirs!r}\n    in {self.dialogue!r}"
        )


def is_yes(code: int) -> bool:
    return 200 <= code < 400 and code != 221


def answer_class(code: int) -> str:
    """Return the class of a reply code, by which replies are compared."""
    if code == GIVEN_UP:
        return "silence"
    if code == NOT_OFFERED:
        return "not offered"
    if code in (CLOSED, 221, 421, 521):
        return "hung up"
    return "yes" if is_yes(code) else "no"


def answer_classes(codes: list[int]) -> list[str]:
    """Return the classes of all replies before the server closed the connection.

    If the client did not ask for the end, the last reply is the one that announced it.
    """
    return [answer_class(code) for code in codes[:-1]] + ["yes" if is_yes(code) else "hung up" for code in codes[-1:]]


def differences(dialogue: Dialogue, ours: Outcome, theirs: Outcome, peer: str) -> list[Difference]:
    """Return the first difference of each transaction. Its consequences are ignored until both servers start again."""
    found = []
    same = True
    for number, step in enumerate(dialogue.steps):
        if step.is_fresh:
            same = same or _both_accept(ours.codes[number], theirs.codes[number])
        if not same:
            continue
        for difference in _of_step(dialogue, number, ours, theirs, peer):
            found.append(difference)
            same = difference.kind not in ("command", "message")
            break
        if same:
            found += _of_messages(dialogue, number, ours, theirs, peer)
    if same:
        if answer_classes(ours.rest) != answer_classes(theirs.rest) or len(_messages(ours, REST)) != len(
            _messages(theirs, REST)
        ):
            found.append(Difference(peer, "rest", dialogue.rest, ours.rest, theirs.rest, dialogue, len(dialogue.steps)))
        else:
            found += _of_messages(dialogue, REST, ours, theirs, peer)
    return found


def _of_step(dialogue, number, ours, theirs, peer):
    step = dialogue.steps[number]
    kind = "message" if step.is_content else "command"
    parts = step.octets.split(b"\r\n")[:-1] if step.replies > 1 else [step.octets.removesuffix(b"\r\n")]
    if not ours.codes[number] and not theirs.codes[number]:
        return
    for at, part in enumerate(parts):
        a, b = (codes[at] if at < len(codes) else CLOSED for codes in (ours.codes[number], theirs.codes[number]))
        if answer_class(a) != answer_class(b):
            yield Difference(peer, kind, part, a, b, dialogue, number)


def _of_messages(dialogue, number, ours, theirs, peer):
    said = dialogue.rest if number == REST else dialogue.steps[number].octets
    for mine, other in zip(_messages(ours, number), _messages(theirs, number), strict=True):
        for kind in ("sender", "recipients", "content"):
            a, b = getattr(mine, kind), getattr(other, kind)
            if a != b:
                yield Difference(peer, kind, said, a, b, dialogue, number)


def _messages(outcome, number):
    return [message for at, message in outcome.messages if at == number]


def _both_accept(a, b):
    return bool(a) and bool(b) and is_yes(a[-1]) and is_yes(b[-1])


def all_differences(dialogues, ours: list[Outcome], theirs: list[Outcome], peer: str) -> list[Difference]:
    """Return the differences in a list of dialogues."""
    return [
        difference
        for dialogue, mine, other in zip(dialogues, ours, theirs, strict=True)
        for difference in differences(dialogue, mine, other, peer)
    ]
