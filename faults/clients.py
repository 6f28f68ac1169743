"""Clients that send mail and make API calls to a server while faults happen, and record what they know of the results.

The recorded values are those of `oracle.py` for mail, and those of tests/linearizability/checker.py for API calls.
"""

import itertools
import random
import smtplib
import threading
import time
import uuid

import boto3
import botocore.config
import botocore.exceptions

from faults.oracle import Digest, Outcome, Sent
from proofs import load
from tests.kit.servers.running import ACCEPTED, BUSY
from tests.linearizability.checker import Operation

TIMEOUT = 60.0
"""The time, in seconds, that a client waits for a reply."""

SOME_OCTETS = bytes([9, *range(32, 127), *range(128, 256)])
"""The octets of random lines: all but control characters, of which a tab is allowed."""

MOST_LINES = 20
"""The number of lines of a message that are random. Further lines repeat them."""

FILLING = 0.2
"""The share of messages that fill pages or pieces exactly, because a defect may concern such sizes."""

PAGE, PIECE, FILLER = 4096, 256 * 1024, 100

AGAIN = 0.05
"""The time, in seconds, after which a client connects again to a server that does not run."""


def digest(octets: bytes) -> Digest:
    return Digest(*load.digest(octets))


class Mailer:
    """Sends one message after the other to the addresses of a group, and records each in `sent`.

    `sizes` are the sizes of its messages, from which it chooses at random. `has_doubt` is whether the server may have
    stored a message that it answers with 451 4.3.0, because its connection to the database broke during the COMMIT.
    """

    def __init__(self, name, groups, server, *, seed, sizes=(300, 300, 2_000, 4_000), pause=0.02, has_doubt=False):
        self._name, self._groups, self._server = name, groups, server
        self._random = random.Random(f"{name} {seed}")
        self._sizes, self._pause, self._has_doubt = sizes, pause, has_doubt
        self._client = None
        self.sent, self.done = [], []

    def call(self):
        self._turn = len(self.sent)
        self._number = f"{self._name}.{self._turn}"
        group = self._random.choice(self._groups)
        octets = self._message()
        began = time.monotonic()
        outcome, message_id, reply = self._attempt(group, octets)
        ended = time.monotonic()
        self.sent.append(
            Sent(
                *(self._number, self._name, self._turn, group.name, digest(octets), began, ended),
                outcome=outcome,
                id=message_id,
                reply=reply,
            )
        )
        if outcome is Outcome.ACCEPTED:
            self.done.append(ended)
        time.sleep(self._pause if outcome is Outcome.ACCEPTED else AGAIN)

    def end(self):
        if self._client is not None:
            self._client.close()
        self._client = None

    def _attempt(self, group, octets):
        is_offered = False
        try:
            if self._client is None:
                self._client = smtplib.SMTP(*self._server.smtp, local_hostname="client.example", timeout=TIMEOUT)
                self._client.ehlo()
            self._client.mail("a@client.example")
            for recipient in group.recipients:
                code, text = self._client.rcpt(recipient)
                if code != 250:
                    self._client.rset()
                    return Outcome.REFUSED, None, _said(code, text)
            is_offered = True
            code, text = self._client.data(octets)
        except smtplib.SMTPDataError as error:  # the reply to DATA was not 354
            self.end()
            return Outcome.REFUSED, None, _said(error.smtp_code, error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            self.end()
            return Outcome.UNKNOWN if is_offered else Outcome.REFUSED, None, type(error).__name__
        if code == 250:
            return Outcome.ACCEPTED, ACCEPTED.fullmatch(text)["id"].decode(), ""
        is_in_doubt = self._has_doubt and code == 451 and text.startswith(b"4.3.0")
        return Outcome.UNKNOWN if is_in_doubt else Outcome.REFUSED, None, _said(code, text)

    def _message(self):
        lines = [f"Subject: fault {self._number}\r\nX-Number: {self._number}\r\n\r\n".encode()]
        size, total = self._random.choice(self._sizes), len(lines[0])
        while total < size:
            if len(lines) < MOST_LINES:
                dots = b"." * self._random.choice([0, 0, 0, 1, 2])
                lines.append(dots + bytes(self._random.choices(SOME_OCTETS, k=self._random.randint(1, 900))) + b"\r\n")
            else:  # random bytes take long to make
                lines.append(b"%d " % len(lines) + lines[-MOST_LINES + 1])
            total += len(lines[-1])
        if self._random.random() < FILLING:
            unit = PIECE if size > PIECE // 8 else PAGE
            missing = -total % unit
            missing += unit if missing < FILLER else 0
            more, rest = divmod(missing, FILLER)  # not one long line, because SMTP limits the length of a line
            lines += [b"-" * (FILLER - 2) + b"\r\n"] * (more - 1) + [b"-" * (FILLER - 2 + rest) + b"\r\n"]
        return b"".join(lines)


def _said(code, text):
    return f"{code} {text.decode(errors='replace')}"


class Directory:
    """The email addresses that several callers change at the same time. Names stand for them in recorded calls."""

    def __init__(self, prefix):
        self._prefix, self._numbers = prefix, itertools.count(1)
        self.ids, self.arns = {}, {}
        self.names = []
        """The names of the addresses that may exist."""
        self._fresh, self._contested = None, set()

    def name_for_creation(self, chance):
        """Return a new name, or sometimes the one that another caller is creating now."""
        if self._fresh is None or chance < 0.7:
            self._fresh = f"{self._prefix}{next(self._numbers)}"
        else:
            self._contested.add(self._fresh)
        return self._fresh

    def may_delete(self, name):
        """Return whether nobody else may create this name later. A name always stands for the same id."""
        return name not in self._contested and name != self._fresh

    def add(self, name, made):
        self.ids[name], self.arns[name] = made["EmailAddressId"], made["EmailAddressArn"]
        if name == self._fresh:
            self._fresh = None
        if name not in self.names:
            self.names.append(name)

    def name_of(self, email_address_id):
        return next(name for name, each in self.ids.items() if each == email_address_id)


MOST_NAMES = 6
"""The number of email addresses from which on callers create no more, so that their calls conflict often."""

NAME = "name"
"""Stands for the display name among the tags of an email address in recorded calls."""

WITHOUT_TOKEN = {"delete", "tag", "untag", "look"}
"""The calls that have no client token, so that they are not repeated."""


def _part(seen, *, is_tag):
    """Return the aliases or the tags among what a look has shown."""
    return tuple(each for each in seen if ("=" in each) == is_tag) if isinstance(seen, tuple) else seen


def as_calls(state):
    """Return calls that lead to a state, to begin a history with: links, tags, and deletions of email addresses."""
    return [
        Operation(process="before", kind=kind, arguments=fact, outcome="ok", invoked_at=n / 1e6, returned_at=n / 1e6)
        for n, fact in enumerate(sorted(state, key=lambda fact: (len(fact) == 1, fact)))
        for kind in [{1: "delete", 2: "associate", 3: "tag"}[len(fact)]]
    ]


class Caller:
    """Makes API calls on shared email addresses, and records them as operations.

    A call without a result is repeated with the same client token, as the AWS SDK does, until it has one or the caller
    ends. Operations that have no client token are not repeated.
    """

    def __init__(self, name, directory, server, instance_id, *, seed, pause=0.03):
        self._name, self._directory, self._instance_id = name, directory, instance_id
        self._random = random.Random(f"{name} {seed}")
        self._pause = pause
        config = botocore.config.Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=TIMEOUT)
        self._client = boto3.client("connect", **server.client_arguments, config=config)
        self.history, self.done = [], []
        self.is_ending = threading.Event()
        self.retries = 0

    def call(self):
        kind, arguments = self._choose()
        self.ask(kind, arguments)
        time.sleep(self._pause)

    def end(self):
        """Do nothing, because the connections are used again after the fault."""

    def close(self):
        self._client.close()

    def ask(self, kind, arguments):
        """Make a call, record it, and return its outcome."""
        token = str(uuid.uuid4())
        invoked_at = time.monotonic()
        outcome = self._outcome(kind, arguments, token)
        while outcome is None and kind not in WITHOUT_TOKEN and not self.is_ending.is_set():
            time.sleep(AGAIN)
            self.retries += 1
            outcome = self._outcome(kind, arguments, token)
        returned_at = None if outcome is None else time.monotonic()
        if outcome is not None:
            self.done.append(returned_at)
        self._record(kind, arguments, outcome, (invoked_at, returned_at))
        return outcome

    def _record(self, kind, arguments, outcome, times):
        """Record a call. A look at an email address counts as two calls, because it shows the alias and the tags."""
        if kind == "look":
            if outcome != "busy":
                self._record("describe", arguments, _part(outcome, is_tag=False), times)
                self._record("tags", arguments, _part(outcome, is_tag=True), times)
            return
        invoked_at, returned_at = times
        self.history.append(
            Operation(
                process=self._name,
                kind=kind,
                arguments=(*arguments, *arguments) if kind == "create" else arguments,
                outcome=outcome,
                invoked_at=invoked_at,
                returned_at=returned_at,
            )
        )

    def _choose(self):
        names, chance = list(self._directory.names), self._random
        if len(names) < 3 or (len(names) < MOST_NAMES and chance.random() < 0.2):
            return "create", (self._directory.name_for_creation(chance.random()),)
        kind = chance.choices(
            ["associate", "disassociate", "look", "tag", "delete"], [6, 4, 4, 3, 1 if len(names) > 4 else 0]
        )[0]
        if kind in {"associate", "disassociate"}:
            return kind, tuple(chance.sample(names, 2))
        name = chance.choice(names)
        if kind == "delete" and not self._directory.may_delete(name):
            kind = "look"
        if kind == "tag":
            key, value = chance.choice([NAME, "a", "b"]), str(chance.randint(1, 99))
            return ("untag", (name, key)) if key != NAME and chance.random() < 0.2 else (kind, (name, key, value))
        return kind, (name,)

    def _outcome(self, kind, arguments, token):
        """Make a call once and return its outcome; None if its result is unknown."""
        try:
            return getattr(self, f"_{kind}")(*arguments, token)
        except botocore.exceptions.ClientError as error:
            answer = error.response
            if answer["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                return None
            if answer["Error"]["Message"].startswith(BUSY):
                return "busy"
            return OUTCOMES[answer["Error"]["Code"]]
        except (botocore.exceptions.HTTPClientError, botocore.exceptions.EndpointConnectionError):
            time.sleep(AGAIN)
            return None

    def _members(self, name):
        return {"InstanceId": self._instance_id, "EmailAddressId": self._directory.ids[name]}

    def _create(self, name, token):
        made = self._client.create_email_address(
            InstanceId=self._instance_id, EmailAddress=f"{name}@example.com", ClientToken=token
        )
        self._directory.add(name, made)
        return "ok"

    def _delete(self, name, _):
        self._client.delete_email_address(**self._members(name))
        if name in self._directory.names:
            self._directory.names.remove(name)
        return "ok"

    def _associate(self, primary, alias, token):
        link = {"AliasConfiguration": {"EmailAddressId": self._directory.ids[alias]}, "ClientToken": token}
        self._client.associate_email_address_alias(**self._members(primary), **link)
        return "ok"

    def _disassociate(self, primary, alias, token):
        link = {"AliasConfiguration": {"EmailAddressId": self._directory.ids[alias]}, "ClientToken": token}
        self._client.disassociate_email_address_alias(**self._members(primary), **link)
        return "ok"

    def _tag(self, name, key, value, _):
        if key == NAME:
            self._client.update_email_address_metadata(**self._members(name), DisplayName=value)
        else:
            self._client.tag_resource(resourceArn=self._directory.arns[name], tags={key: value})
        return "ok"

    def _untag(self, name, key, _):
        self._client.untag_resource(resourceArn=self._directory.arns[name], tagKeys=[key])
        return "ok"

    def _look(self, name, _):
        found = self._client.describe_email_address(**self._members(name))
        seen = [self._directory.name_of(each["EmailAddressId"]) for each in found["AliasConfigurations"]]
        seen += [f"{key}={value}" for key, value in found.get("Tags", {}).items()]
        if found.get("DisplayName"):
            seen.append(f"{NAME}={found['DisplayName']}")
        return tuple(sorted(seen))


OUTCOMES = {
    "ResourceConflictException": "conflict",
    "ResourceNotFoundException": "not found",
    "DuplicateResourceException": "duplicate",
    # The clock of the server is wrong, or was just set back. The call changed nothing.
    "InvalidSignatureException": "busy",
    "ThrottlingException": "busy",
}
"""The outcome of a recorded call for each refusal of the API."""
