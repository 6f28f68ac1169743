"""The page with a form that sends a test message, by SMTP as any other sender."""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime

from starlette.responses import Response

from waypost.app.mail import explain
from waypost.console.parts import SendFailed, SmtpReply
from waypost.console.views import explaining
from waypost.console.visits import Visit
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.directory.addresses import Address

ACCEPTED = re.compile(r"2\.0\.0 ([0-9a-f-]{36}) accepted")
"""The reply to an accepted message, which contains its id."""


async def show(visit: Visit) -> Response:
    """Show the form. The query can contain the recipient, as `to`."""
    hostname = visit.parts.deployment.hostname
    form = {
        "from": f"test@{hostname}",
        "to": visit.query.get("to", ""),
        "subject": "A test message",
        "text": "Hello,\n\nthis is a test message.\n",
    }
    return _page(visit, form)


async def send(visit: Visit) -> Response:
    """Send the message, and show the reply. A refusal leaves the form as it is."""
    form = visit.form
    try:
        sender, recipient = _sender(form.get("from", "").strip()), addresses.parse_typed(form.get("to", "").strip())
        await _check_recipient(visit, recipient, sender)
        octets = message(form, sender, recipient, hostname=visit.parts.deployment.hostname, now=visit.parts.clock())
        reply = await visit.parts.send(sender.text if sender else "", recipient.text, octets)
    except errors.Invalid as error:
        return _page(visit, form, sentence=error.message, status=400)
    except SendFailed as error:
        return _page(visit, form, sentence=str(error), status=503)
    return _page(visit, form, reply=reply, status=200 if reply.code < 300 else 409)


def message(
    form: Mapping[str, str], sender: Address | None, recipient: Address, *, hostname: str, now: datetime
) -> bytes:
    """Return the bytes of the message that a form describes. `sender` is None for the null sender.

    Raises `errors.Invalid` if a field cannot be in a message.
    """
    is_ascii = recipient.text.isascii() and (sender is None or sender.text.isascii())
    made = EmailMessage(policy=SMTP if is_ascii else SMTPUTF8)
    try:
        made["From"] = sender.text if sender else f"postmaster@{hostname}"
        made["To"] = recipient.text
        made["Subject"] = form.get("subject", "")
        made["Date"] = format_datetime(now)
        made["Message-ID"] = f"<{secrets.token_hex(12)}@{hostname}>"
        made.set_content(form.get("text", "").replace("\r\n", "\n"))
        name, content = form.get("file_name", "").strip(), form.get("file", "")
        if name or content:
            made.add_attachment(content.replace("\r\n", "\n"), filename=name or "attachment.txt")
        return made.as_bytes()
    except (ValueError, IndexError, UnicodeError) as error:
        raise errors.Invalid(
            "The sender, the subject or the file name contains a line end, or is not valid text."
        ) from error


async def _check_recipient(visit: Visit, recipient: Address, sender: Address | None) -> None:
    """Raise `errors.Invalid` unless the recipient is an email address of the account."""
    found = await explaining.explanation(visit, explain.Asked(recipient, sender.text if sender else ""))
    if found.plan is None:
        raise errors.Invalid(
            f"{recipient} is not an email address of account {visit.account}. Test messages go only to those."
        )


def _page(
    visit: Visit, form: Mapping[str, str], *, sentence: str = "", reply: SmtpReply | None = None, status: int = 200
) -> Response:
    accepted = ACCEPTED.match(reply.text) if reply and reply.code < 300 else None
    return visit.page(
        "send.html",
        status=status,
        form=form,
        sentence=sentence,
        reply=reply,
        message_id=accepted[1] if accepted else "",
    )


def _sender(text: str) -> Address | None:
    """Return the sender from the form; None for the null sender. Raises `errors.Invalid`."""
    return None if text in {"", "<>"} else addresses.parse_typed(text)
