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
    files: tuple[tuple[str, bytes], ...]
    """The names of the attached files, which need not differ, and their contents."""
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
        files=tuple((part.get_filename("file"), _content(part)) for part in message.iter_attachments()),
        ticket=int(number[1]) if number else None,
        is_automatic=str(message.get("Auto-Submitted", "no")).strip().lower() != "no",
    )


def _text(message):
    body = message.get_body(("plain", "html"))
    if body is None:
        return ""
    try:
        text = body.get_content()
    except LookupError:  # the message names a charset that does not exist
        text = body.get_payload(decode=True).decode("ascii", "replace")
    if body.get_content_subtype() == "html":
        text = re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())


def _content(part):
    if part.is_multipart():  # an attached message
        return b"".join(each.as_bytes() for each in part.get_payload())
    return part.get_payload(decode=True)
