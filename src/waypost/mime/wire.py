"""What the reader asks its worker, in frames (`sandbox.frames`), and how results are sent back."""

from enum import IntEnum
from typing import Any

from msgspec import to_builtins

from waypost.mime.message import Link, MimeMessage, Part, PartContent, SafeHtml


class Kind(IntEnum):
    """The kinds of questions that the reader asks about a message.

    An answer contains the members of the result or, if there is none, a sentence for people as `refused`.
    """

    READY = 3
    """Is the worker ready? The question is about no message."""
    READ = 4
    PART = 5
    """The question has the part's `number`. The content follows the JSON of the answer."""
    HTML = 6
    """The question has the part's `number`, the `urls` of all parts, and `allow_remote`."""
    TEXT = 7


def message_to_json(message: MimeMessage) -> dict[str, Any]:
    """Return a message as JSON values."""
    members: dict[str, Any] = to_builtins(message)
    return members


def message_from_json(members: dict[str, Any]) -> MimeMessage:
    """Build a message from the JSON values that `message_to_json` returned."""
    return MimeMessage(
        tuple((name, value) for name, value in members["headers"]),
        tuple(Part(**part) for part in members["parts"]),
        members["text"],
        members["html_part"],
        tuple(members["problems"]),
    )


def content_from_json(members: dict[str, Any]) -> PartContent:
    """Build the content of a part from the members of an answer."""
    return PartContent(members.get("octets", b""), members["content_type"], members["charset"], members["filename"])


def html_to_json(html: SafeHtml) -> dict[str, Any]:
    """Return HTML as JSON values."""
    members: dict[str, Any] = to_builtins(html)
    return members


def html_from_json(members: dict[str, Any]) -> SafeHtml:
    """Build HTML from the JSON values that `html_to_json` returned."""
    return SafeHtml(
        members["html"],
        members["remote"],
        tuple(Link(**link) for link in members["links"]),
        tuple(members["problems"]),
    )
