"""Reads what a ticket needs from a message."""

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.utils import parseaddr

NUMBER = re.compile(r"\[T-([0-9]{1,9})\]")
"""The mark of a ticket in the subject of a reply."""


@dataclass(frozen=True)
class Received:
    """A message of a customer."""

    customer: str
    """The address of the author."""
    subject: str
    text: str
    files: dict[str, bytes]
    """The attached files by their names."""
    ticket: int | None
    """The ticket that the message answers, by the number in its subject."""
    is_automatic: bool
    """Whether a program has sent the message, such as an out-of-office reply (RFC 3834)."""


def read(raw):
    """Return what a message says. `raw` are its bytes."""
    message = message_from_bytes(raw, policy=policy.default)
    subject = str(message.get("Subject", "")).strip()
    number = NUMBER.search(subject)
    return Received(
        customer=parseaddr(str(message.get("From", "")))[1].lower(),
        subject=NUMBER.sub("", subject).strip() or "(no subject)",
        text=_text(message),
        files={part.get_filename("file"): _content(part) for part in message.iter_attachments()},
        ticket=int(number[1]) if number else None,
        is_automatic=str(message.get("Auto-Submitted", "no")).strip().lower() != "no",
    )


def _text(message):
    body = message.get_body(("plain", "html"))
    if body is None:
        return ""
    text = body.get_content()
    if body.get_content_subtype() == "html":
        text = re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())


def _content(part):
    return part.get_payload(decode=True) or b""
