"""Sends a message to this server's own SMTP port, as any mail client does."""

import asyncio
import smtplib
import ssl

from waypost.console.parts import SendFailed, SmtpReply
from waypost.host.data_directory import DataDirectory, DataDirectoryError

SECONDS = 30.0
"""The maximum number of seconds that the server may take for each reply."""


async def send(directory: DataDirectory, sender: str, recipient: str, octets: bytes) -> SmtpReply:
    """Send a message, and return the last reply. An empty sender is the null sender. Raises `SendFailed`.

    The client runs in a thread, because the SMTP server that it talks to is on this event loop.
    """
    return await asyncio.to_thread(_send, directory, sender, recipient, octets)


def _send(directory: DataDirectory, sender: str, recipient: str, octets: bytes) -> SmtpReply:
    try:
        run = directory.running()
    except DataDirectoryError as error:
        raise SendFailed("The server is still starting. Please try again.") from error
    if not run.smtp:
        raise SendFailed("This server does not receive mail by SMTP.")
    try:
        with connected(run.smtp) as client:
            options = [] if sender.isascii() and recipient.isascii() else ["SMTPUTF8"]
            options += [] if octets.isascii() else ["BODY=8BITMIME"]
            for code, text in (client.mail(sender, options), client.rcpt(recipient)):
                if code >= 300:
                    return _reply(code, text)
            return _reply(*client.data(octets))
    except smtplib.SMTPResponseException as error:
        return _reply(error.smtp_code, error.smtp_error)
    except (OSError, smtplib.SMTPException) as error:
        raise SendFailed(f"The SMTP port of this server ({run.smtp}) did not answer. Please try again.") from error


def connected(address: str) -> smtplib.SMTP:
    """Return a client that has greeted the server at an address such as `[::1]:25`, with TLS if the server offers it.

    Raises `OSError` and `smtplib.SMTPException`.
    """
    host, _, port = address.rpartition(":")
    client = smtplib.SMTP(host.removeprefix("[").removesuffix("]"), int(port), timeout=SECONDS)
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
