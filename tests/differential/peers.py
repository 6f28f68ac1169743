"""The servers for the dialogues: a Waypost process, aiosmtpd in a thread, and a private instance of Postfix.

The 250 reply of each server contains the id of the message, by which the test later reads the stored message.
"""

import datetime as dt
import itertools
import logging
import re
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.differential.dialogues import KNOWN
from tests.kit.free_ports import free_port
from tests.kit.mail_programs import exim, postfix
from tests.kit.patience import wait_until
from tests.kit.servers.running import System
from waypost import testing


@dataclass(frozen=True)
class Accepted:
    """A message as a server stored it."""

    sender: str
    recipients: frozenset[str]
    content: bytes


# Waypost


class Waypost:
    """A Waypost process on which the addresses `KNOWN` exist."""

    name = "Waypost"
    told_id = re.compile(rb"2\.0\.0 ([0-9a-f-]{36}) accepted")
    may_be_half_closed = True

    def __init__(self, system):
        self.system = system
        self.address = system.server.smtp

    def message(self, message_id) -> Accepted:
        details = self.system.json(f"messages/{message_id}")
        addresses = [delivery["address"] for delivery in details["deliveries"]]
        (content,) = {self._content(message_id, address) for address in addresses}
        return Accepted(details["from"], _keys(addresses), content)

    def _content(self, message_id, address):
        raw = self.system.raw(message_id, address)
        trace = re.match(rb"(?:[^\r\n]+: [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*){3}", raw)
        assert trace[0].startswith(b"Return-Path: <"), raw
        return raw[trace.end() :]

    def settle(self, told):
        """Return immediately, because no message is in transit after the reply."""

    def count(self) -> int:
        """Return the number of stored messages, including messages whose reply the client did not read."""
        return len({message_id for address in KNOWN for message_id in self._ids_at(address)})

    def _ids_at(self, address):
        found = []
        while page := self.system.ids_at(address, limit=500, **({"after": found[-1]} if found else {})):
            found += page
        return found


@contextmanager
def waypost():
    with testing.server("--hostname", "mail.example", "--tls-certificate", "self-signed") as server:
        system = System(server)
        for address in KNOWN:
            system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=address)
        yield Waypost(system)
        system.connect.close()
        log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]


# aiosmtpd


class _LongLines(SMTP):
    line_length_limit = 10_000_000


class _Memory:
    """A handler for aiosmtpd that keeps all messages in memory."""

    def __init__(self, knows):
        self.knows = knows
        self.kept = {}
        self._numbers = itertools.count(1)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if not self.knows(address):
            return "550 5.1.1 No such address here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        number = str(next(self._numbers))
        content = bytes(envelope.original_content)
        self.kept[number] = Accepted(envelope.mail_from.removeprefix("<>"), _keys(envelope.rcpt_tos), content)
        return f"250 2.0.0 <{number}> accepted"


class Aiosmtpd:
    """aiosmtpd with its default settings, with TLS, and with the addresses `KNOWN`."""

    name = "aiosmtpd"
    told_id = re.compile(rb"2\.0\.0 <([0-9]+)> accepted")
    may_be_half_closed = False

    def __init__(self, memory, address):
        self._memory = memory
        self.address = address

    def message(self, message_id) -> Accepted:
        return self._memory.kept[message_id]

    def count(self) -> int:
        return len(self._memory.kept)

    def settle(self, told):
        """Return immediately, because no message is in transit after the reply."""


@contextmanager
def aiosmtpd(*, knows=None, tls=True):
    with tempfile.TemporaryDirectory() as directory:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(Path(directory)))
        known = {_key(address) for address in KNOWN}
        memory = _Memory(knows or (lambda address: _key(address) in known))
        options = {"tls_context": context} if tls else {}
        with _running(memory, SMTP, **options) as address:
            yield Aiosmtpd(memory, address)


@contextmanager
def _running(memory, factory, **options):
    class OnAnyPort(Controller):
        def factory(self):
            return factory(memory, hostname="peer.example", enable_SMTPUTF8=True, **options)

    controller = OnAnyPort(memory, hostname="127.0.0.1", port=free_port())
    log = logging.getLogger("mail.log")
    log.disabled = True  # it logs every invalid command, and these dialogues have many
    controller.start()
    try:
        yield "127.0.0.1", controller.port
    finally:
        controller.stop()
        log.disabled = False


# Postfix

_POSTFIX_SETTINGS = """\
mynetworks =
local_header_rewrite_clients =
smtpd_relay_restrictions = reject_unauth_destination
virtual_mailbox_domains = example.com, xn--bcher-kva.example
virtual_mailbox_maps = inline:{{ {known} }}
virtual_transport = smtp:[127.0.0.1]:{sink}
default_transport = discard:
relay_transport = discard:
local_transport = discard:
smtp_line_length_limit = 0
smtp_send_xforward_command = no
smtp_tls_security_level = none
destination_concurrency_limit = 4
smtpd_tls_security_level = may
smtpd_tls_chain_files = {directory}/key.pem, {directory}/certificate.pem
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_junk_command_limit = 1000
smtpd_error_sleep_time = 0
"""


class Postfix:
    """A private instance of Postfix, which forwards all accepted mail to a server that keeps it."""

    name = "Postfix"
    told_id = re.compile(rb"queued as ([0-9A-Za-z]+)")
    may_be_half_closed = True

    def __init__(self, instance, memory):
        self._instance = instance
        self._memory = memory
        self.address = ("127.0.0.1", instance.port)

    def message(self, message_id) -> Accepted:
        """Return a message that Postfix forwarded, or, if Postfix delivered it elsewhere, its envelope from the log."""
        return self._handed_over().get(message_id) or self._from_log(message_id)

    def count(self) -> int:
        return len(self._queued() - set(re.findall(r"notification: ([0-9A-Za-z]+)", self._instance.log)))

    def settle(self, told):
        """Wait until Postfix has removed these messages, and all other messages, from its queue."""
        wait_until(
            lambda: set(told) | self._queued() <= self._removed(), lambda: self._instance.log[-3000:], pause=0.05
        )

    def _removed(self):
        return set(re.findall(r"\]: ([0-9A-Za-z]+): removed", self._instance.log))

    def _queued(self):
        return set(re.findall(r"qmgr\[\d+\]: ([0-9A-Za-z]+): from=", self._instance.log))

    def _handed_over(self):
        found = {}
        for message in list(self._memory.kept.values()):
            trace = re.match(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", message.content)
            message_id = re.search(rb"\sid ([0-9A-Za-z]+)", trace[0])[1].decode()
            before = found.get(message_id)
            recipients = message.recipients | (before.recipients if before else frozenset())
            found[message_id] = Accepted(message.sender, recipients, message.content[trace.end() :])
        return found

    def _from_log(self, message_id):
        recipients = re.findall(rf" {message_id}: to=<([^>]*)>", self._instance.log)
        sender = re.search(rf" {message_id}: from=<([^>]*)>", self._instance.log)
        return Accepted(sender[1] if sender else "", _keys(recipients), b"")


@contextmanager
def postfix_server():
    memory = _Memory(lambda address: True)
    with _open_directory() as directory, _running(memory, _LongLines) as (_, sink):
        certificate(directory)
        settings = _POSTFIX_SETTINGS.format(
            known=", ".join(f"{{{address} = here}}" for address in KNOWN), sink=sink, directory=directory
        )
        with postfix.running(directory / "postfix", free_port(), settings) as instance:
            yield Postfix(instance, memory)


# Exim


@contextmanager
def exim_server():
    """Run Exim, which accepts everything. Messages are relayed to it, but no dialogues are played to it."""
    with _open_directory() as directory, exim.running(directory / "exim", free_port()) as peer:
        yield peer


# Shared code


@contextmanager
def _open_directory():
    """A directory that servers can enter even if they do not run as root."""
    with tempfile.TemporaryDirectory(prefix="wp-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def certificate(directory: Path):
    """Write a self-signed certificate and its key to files, and return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def _key(address):
    return address.strip("<>").replace('"', "").lower()


def _keys(addresses):
    return frozenset(_key(address) for address in addresses)
