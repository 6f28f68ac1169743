"""Describes the mail of a failed test, for the report of the test."""

from waypost.client import timeline
from waypost.client.http import NoServer, ServerRefused, path_of
from waypost.testing.kit import Waypost
from waypost.testing.waiting import SHOWN

LOG_LINES = 20
"""The number of lines of the log that are shown if the server has ended."""


def text(kit: Waypost) -> str:
    """Return the traces of the newest messages on a server, and what it has refused."""
    try:
        return "\n".join([*_messages(kit), *_refusals(kit)])
    except (NoServer, ServerRefused, RuntimeError) as error:
        return "\n".join([str(error), *_log(kit)])


def _messages(kit: Waypost) -> list[str]:
    ids = list(dict.fromkeys(mail.id for mail in kit.mail()))
    if not ids:
        return ["No mail has arrived."]
    lines = [f"{len(ids) - SHOWN} earlier messages are not shown."] if len(ids) > SHOWN else []
    for message_id in ids[-SHOWN:]:
        lines += timeline.message(kit.connection.get(f"messages/{path_of(message_id)}"))
    return lines


def _refusals(kit: Waypost) -> list[str]:
    return [line for refusal in reversed(kit.refusals()[:SHOWN]) for line in timeline.refusal(refusal)]


def _log(kit: Waypost) -> list[str]:
    try:
        return kit.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    except (OSError, RuntimeError):
        return []
