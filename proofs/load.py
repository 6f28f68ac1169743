"""Clients that record the responses to their calls, and check afterwards that the acknowledged data exists."""

import hashlib
import smtplib
import threading
import time
import uuid
from collections import Counter

import boto3
import botocore.config
import botocore.exceptions

from tests.kit.servers.running import ACCEPTED, BUSY

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"


def digest(octets):
    """Return the size and the SHA-256 digest of a message."""
    return len(octets), hashlib.sha256(octets).hexdigest()


class Load:
    """Threads that make calls until they are stopped; `callers` are objects with a method `call` and a list `done`."""

    def __init__(self, callers):
        self.callers = callers
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(caller,)) for caller in callers]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count, *, seconds=20.0, of=None):
        """Wait until each of the callers has had `count` more successes."""
        callers = self.callers if of is None else of
        wanted = {caller: len(caller.done) + count for caller in callers}
        deadline = time.monotonic() + seconds
        while any(len(caller.done) < enough for caller, enough in wanted.items()):
            assert time.monotonic() < deadline, [(caller, len(caller.done)) for caller in callers]
            assert all(thread.is_alive() for thread in self._threads), "a caller has failed unexpectedly"
            time.sleep(0.002)

    def _run(self, caller):
        try:
            while not self._stopped.is_set():
                caller.call()
        finally:
            caller.end()


class Writer:
    """Creates, updates, links and unlinks its own email addresses, one call after the other.

    After an error the writer cannot know whether the call took effect, so it records all possible states. `retries`
    are the retries of its AWS SDK; by default there are none.
    """

    def __init__(self, system, *, retries=None):
        self._system = system
        retries = retries or {"total_max_attempts": 1}
        config = botocore.config.Config(proxies={}, retries=retries, read_timeout=60)
        self._client = boto3.client("connect", **system.server.client_arguments, config=config)
        self.done, self.errors = [], Counter()
        self.created = []
        self._primary, self._alias = (system.ids[system.new_address()] for _ in range(2))
        self._link_may_be, self._name_may_be = {False}, {None}
        self._turn = 0

    def call(self):
        self._turn += 1
        (self._create, self._update, self._associate, self._disassociate)[self._turn % 4]()

    def end(self):
        self._client.close()

    def check(self, system):
        """Check that all acknowledged changes exist, and that no refused change exists."""
        for address in self.created:
            assert system.json("explain", address=address)["accepted"], address
        members = {"InstanceId": system.instance_id, "EmailAddressId": self._primary}
        described = system.connect.describe_email_address(**members)
        assert described.get("DisplayName") in self._name_may_be
        assert bool(described["AliasConfigurations"]) in self._link_may_be

    def _create(self):
        address = f"w{uuid.uuid4().hex}@example.com"
        # The AWS SDK repeats this call after a lost response, but does not set a client token itself.
        if self._asked("create_email_address", EmailAddress=address, ClientToken=str(uuid.uuid4())) == "done":
            self.created.append(address)

    def _update(self):
        name = f"name {self._turn}"
        outcome = self._asked("update_email_address_metadata", EmailAddressId=self._primary, DisplayName=name)
        self._name_may_be = {name} if outcome == "done" else self._name_may_be | {name}

    def _associate(self):
        self._change_link("associate_email_address_alias", after=True, refusal="ResourceConflictException")

    def _disassociate(self):
        self._change_link("disassociate_email_address_alias", after=False, refusal="ResourceNotFoundException")

    def _change_link(self, operation, *, after, refusal):
        outcome = self._asked(
            operation, EmailAddressId=self._primary, AliasConfiguration={"EmailAddressId": self._alias}
        )
        if outcome == refusal:
            assert after in self._link_may_be, "refused, although the conflicting change was never made"
        if outcome in {"done", refusal}:
            self._link_may_be = {after}
        elif outcome != "busy":
            self._link_may_be = self._link_may_be | {after}

    def _asked(self, operation, **members):
        try:
            getattr(self._client, operation)(InstanceId=self._system.instance_id, **members)
        except botocore.exceptions.ClientError as error:
            status, code = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
            self.errors[f"{status} {code}"] += 1
            return "busy" if error.response["Error"]["Message"].startswith(BUSY) else code
        except (botocore.exceptions.HTTPClientError, botocore.exceptions.EndpointConnectionError) as error:
            self.errors[type(error).__name__] += 1
            time.sleep(0.005)  # its server is not running
            return "lost"
        self.done.append(time.monotonic())
        return "done"


class Sender:
    """Sends one message after the other to an alias, and reconnects when necessary."""

    def __init__(self, system, alias):
        self._system, self._alias = system, alias
        self.done, self.ids, self.errors = [], [], Counter()
        self._client = None

    def call(self):
        try:
            if self._client is None:
                self._client = smtplib.SMTP(*self._system.server.smtp, local_hostname="client.example", timeout=60)
                self._client.ehlo()
            code, text = self._sent()
        except (OSError, smtplib.SMTPException) as error:
            self.errors[type(error).__name__] += 1
            self.end()
            time.sleep(0.005)  # its server is not running
            return
        if code == 250:
            self.ids.append(ACCEPTED.fullmatch(text)["id"].decode())
            self.done.append(time.monotonic())
        else:
            self.errors[f"{code} {text[:5].decode()}"] += 1

    def end(self):
        if self._client is not None:
            self._client.close()
        self._client = None

    def _sent(self):
        self._client.rset()
        self._client.mail("a@client.example")
        code, text = self._client.rcpt(self._alias)
        return self._client.data(self.message()) if code == 250 else (code, text)

    def message(self):
        """Return the next message to send."""
        return HELLO


def check_mail(system, senders, alias, primary):
    """Check that both inboxes have the same messages, each once, and that every accepted message is among them."""
    accepted = Counter(message_id for sender in senders for message_id in sender.ids)
    found = {address: Counter(system.all_ids_at(address)) for address in (alias, primary)}
    assert found[alias] == found[primary]
    assert set(found[alias].values()) <= {1}
    assert set(accepted.values()) <= {1}
    assert not set(accepted) - set(found[alias])
    return len(accepted), len(found[alias])


def errors_of(callers):
    return dict(sum((caller.errors for caller in callers), Counter()))
