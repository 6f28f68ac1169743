"""Sends a message to this server's own SMTP port, as any mail client does."""

import asyncio
import smtplib
import ssl

from waypost.console.parts import SendFailed, SmtpReply
from waypost.host.data_directory import DataDirectory
from waypost.host.directory_files import DataDirectoryError

SECONDS = 30.0
"""The maximum number of seconds that the server may take for each reply."""


async def send(directory: DataDirectory, sender: str, recipient: str, octets: bytes) -> SmtpReply:
    """Send a message, and return the last reply. An empty sender is the null sender. Raises `SendFailed`.

    The client runs in a thread, because the SMTP server that it talks to is on this event loop.
    """
    return await asyncio.to_thread(_send, directory, sender, recipient, octets)


async def send_to(
    address: str, sender: str, recipient: str, octets: bytes, *, name: str, seconds: float = SECONDS
) -> SmtpReply:
    """Send a message like `send`, to the server's port at an address such as `[::1]:25`. `name` is the client's name
    for EHLO, and `seconds` the time limit for each reply. Raises `SendFailed`.
    """
    return await asyncio.to_thread(_send_to, address, sender, recipient, octets, name=name, seconds=seconds)


def _send(directory: DataDirectory, sender: str, recipient: str, octets: bytes) -> SmtpReply:
    try:
        run = directory.running()
    except DataDirectoryError as error:
        raise SendFailed("The server is still starting. Please try again.") from error
    if not run.smtp:
        raise SendFailed("This server does not receive mail by SMTP.")
    return _send_to(run.smtp, sender, recipient, octets)


def _send_to(
    address: str, sender: str, recipient: str, octets: bytes, *, name: str | None = None, seconds: float = SECONDS
) -> SmtpReply:
    try:
        with connected(address, name=name, seconds=seconds) as client:
            options = [] if sender.isascii() and recipient.isascii() else ["SMTPUTF8"]
            options += [] if octets.isascii() else ["BODY=8BITMIME"]
            for code, text in (client.mail(sender, options), client.rcpt(recipient)):
                if code >= 300:
                    return _reply(code, text)
            return _reply(*client.data(octets))
    except smtplib.SMTPResponseException as error:
        return _reply(error.smtp_code, error.smtp_error)
    except (OSError, smtplib.SMTPException) as error:
        raise SendFailed(f"The SMTP port of this server ({address}) did not answer. Please try again.") from error


def connected(address: str, *, name: str | None = None, seconds: float = SECONDS) -> smtplib.SMTP:
    """Return a client that has greeted the server at an address such as `[::1]:25`, with TLS if the server offers it.

    `name` is the client's name, by default the name of this machine. Raises `OSError` and `smtplib.SMTPException`.
    """
    host, _, port = address.rpartition(":")
    client = smtplib.SMTP(host.removeprefix("[").removesuffix("]"), int(port), name, timeout=seconds)
    client.ehlo()
    if client.has_extn("starttls"):
        # The certificate is not verified: the server is on this machine, and the message contains no secret.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client.starttls(context=context)
        client.ehlo()
    return client


def _reply(code: int, text: bytes | str) -> SmtpReply:
    return SmtpReply(code, text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
