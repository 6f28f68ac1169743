"""Sends mail to the server of a test by SMTP."""

import copy
import mimetypes
import os
import re
import smtplib
from collections.abc import Iterable, Mapping
from email import message_from_bytes, policy, utils
from email.message import EmailMessage, Message
from pathlib import Path

from msgspec import Struct

SENDER = "ann@example.org"
"""The sender of mail for which a test names no sender."""

SECONDS = 60.0
"""The time limit, in seconds, for each reply of the server."""

Source = Message | bytes | str | os.PathLike[str]
"""A message: an object of Python's `email`, its bytes, or the path of a file with its bytes."""

Files = Mapping[str, bytes | str] | Iterable[str | os.PathLike[str]]
"""Attachments: the content of each by its file name, or the paths of files."""

_ID = re.compile(rb"2\.0\.0 ([0-9a-f-]{36}) ")
_BARE_LF = re.compile(rb"(?<!\r)\n")


class Sent(Struct, frozen=True):
    """A message that the server has accepted."""

    id: str
    """The id of the message, as in the server's reply."""
    refused: Mapping[str, tuple[int, bytes]]
    """The replies to recipients that the server refused, if it accepted at least one other recipient."""

    def __str__(self) -> str:
        return self.id


def composed(
    *,
    sender: str,
    to: Iterable[str],
    subject: str,
    text: str,
    html: str,
    attachments: Files,
    headers: Mapping[str, str],
) -> EmailMessage:
    """Return a message. It has a text, an HTML alternative, or both."""
    to = list(to)
    is_ascii = "".join([sender, *to]).isascii()
    message = EmailMessage(policy=policy.SMTP if is_ascii else policy.SMTPUTF8)
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Subject"] = subject
    message["Date"] = utils.format_datetime(utils.localtime())
    message["Message-ID"] = utils.make_msgid(domain="example.org")
    for name, value in headers.items():
        del message[name]
        message[name] = value
    if text or not html:
        message.set_content(text)
    if html and text:
        message.add_alternative(html, subtype="html")
    elif html:
        message.set_content(html, subtype="html")
    for name, content in _contents(attachments):
        octets = content.encode() if isinstance(content, str) else content
        main, _, sub = _media_type(name).partition("/")
        message.add_attachment(octets, maintype=main, subtype=sub, filename=name)
    return message


def _media_type(name: str) -> str:
    """Return the media type of a file.

    A message is sent as any bytes, because `email` encodes files in base64, which RFC 2046 (section 5.2.1) forbids for
    messages: programs would show the base64. The type of a compressed file would be that of its content.
    """
    kind, encoding = mimetypes.guess_type(name)
    if kind is None or encoding or kind.startswith(("message/", "multipart/")):
        return "application/octet-stream"
    return kind


def _contents(attachments: Files) -> Iterable[tuple[str, bytes | str]]:
    if isinstance(attachments, Mapping):
        return attachments.items()
    return [(Path(file).name, Path(file).read_bytes()) for file in attachments]


def send(smtp: tuple[str, int], source: Source, *, sender: str | None, to: Iterable[str]) -> Sent:
    """Send a message, and return what the server said.

    The sender and the recipients are those of the arguments or, if these are None and empty, those of the header. If
    the header names no sender, the sender is `SENDER`. LF line ends become CRLF, unless some lines of the message have
    CRLF line ends. Raises `TypeError` if there is no recipient, and the exceptions of `smtplib`, such as
    `SMTPRecipientsRefused` if the server accepts no recipient, and `SMTPDataError` if it refuses the message.
    """
    octets = source if isinstance(source, bytes) else _octets(source)
    octets = octets if b"\r\n" in octets else _BARE_LF.sub(b"\r\n", octets)
    header = octets.partition(b"\r\n\r\n")[0]
    fields = source if isinstance(source, Message) else message_from_bytes(header, policy=policy.default)
    recipients = list(to) or _addresses(fields, "To", "Cc", "Bcc")
    if not recipients:
        raise TypeError("Name a recipient, as `to` or in the header of the message.")
    if sender is None:
        sender = next(iter(_addresses(fields, "Sender", "From")), SENDER)
    # By default, `smtplib` looks up the name of this machine, which may take seconds.
    with smtplib.SMTP(*smtp, local_hostname="localhost", timeout=SECONDS) as client:
        client.ehlo_or_helo_if_needed()
        options = [] if octets.isascii() else ["BODY=8BITMIME"]
        if not header.isascii() or not "".join([sender, *recipients]).isascii():
            options.append("SMTPUTF8")
            client.command_encoding = "utf-8"
        return _sent(client, octets, sender, recipients, options)


def _sent(client: smtplib.SMTP, octets: bytes, sender: str, recipients: list[str], options: list[str]) -> Sent:
    code, reply = client.mail(sender, options)
    if code != _OK:
        raise smtplib.SMTPSenderRefused(code, reply, sender)
    replies = {recipient: client.rcpt(recipient) for recipient in recipients}
    refused = {recipient: reply for recipient, reply in replies.items() if reply[0] != _OK}
    if len(refused) == len(replies):
        raise smtplib.SMTPRecipientsRefused(refused)
    code, reply = client.data(octets)
    if code != _OK:
        raise smtplib.SMTPDataError(code, reply)
    found = _ID.match(reply)
    return Sent(found[1].decode() if found else "", refused)


_OK = 250


def _octets(source: Message | str | os.PathLike[str]) -> bytes:
    """Return the bytes of a message. An object is sent without its field Bcc."""
    if not isinstance(source, Message):
        return Path(source).read_bytes()
    without_bcc = copy.copy(source)
    del without_bcc["Bcc"]
    return without_bcc.as_bytes(policy=source.policy.clone(linesep="\r\n"))


def _addresses(header: Message, *names: str) -> list[str]:
    fields = [str(value) for name in names for value in header.get_all(name, [])]
    return list(dict.fromkeys(address for _, address in utils.getaddresses(fields) if address))
