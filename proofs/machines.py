"""Runs two servers on one PostgreSQL behind PgBouncer, under load, and kills and restarts each of these programs.

Every message is different, so that afterwards each one can be compared, byte for byte, with what its client sent.
"""

import itertools
import random
import re
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import psycopg

from proofs.load import Load, Sender, Writer, digest, errors_of
from tests.kit.free_ports import at_free_ports
from tests.kit.patience import PATIENCE
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import MASTER_KEY, System, end, logged
from tests.kit.stores.pooler import Pooler
from tests.kit.stores.postgresql import OwnServer
from waypost import testing
from waypost.client.http import Connection
from waypost.host.master_key import MASTER_KEY_VARIABLE

ASLEEP = {"synchronous_commit": "off", "wal_writer_delay": "10s"}
"""Settings with which PostgreSQL acknowledges commits that are not on disk, unless Waypost overrides them."""

WINDOW = 5.0
"""The time, in seconds, between the peer's reply and a kill, in which the outcome of an attempt may not be recorded.

A commit takes milliseconds on an idle machine. Under this load, commits wait for each other and for the processors.
"""

PAUSE = 0.05
"""The time, in seconds, between two messages of a client, so that the messages of ten minutes fit into memory."""

LEASE = 150.0
"""The time, in seconds, after which another server attempts what a killed server has claimed, with a margin."""

NUMBER = re.compile(rb"^X-Number: (\S+)\r$", re.MULTILINE)
OCTETS = bytes([9, *range(32, 127), *range(128, 256)])


class Correspondent(Sender):
    """Sends a different message each time to one recipient, and notes what it has sent."""

    def __init__(self, system, alias, name):
        super().__init__(system, alias)
        self._name, self._random = name, random.Random(name)
        self.sent, self.accepted = {}, {}
        """The digests of all messages that were begun, and the ids of those that got 250, by number."""

    def message(self):
        self._number = f"{self._name}.{len(self.sent)}"
        lines = [f"Subject: hello\r\nX-Number: {self._number}\r\n\r\n".encode()]
        size = self._random.choice([200] * 20 + [4_000] * 28 + [50_000, 400_000])
        while sum(map(len, lines)) < size:
            dots = b"." * self._random.choice([0, 0, 0, 1, 2])
            lines.append(dots + bytes(self._random.choices(OCTETS, k=self._random.randint(1, 900))) + b"\r\n")
        octets = b"".join(lines)
        self.sent[self._number] = digest(octets)
        return octets

    def call(self):
        before = len(self.ids)
        super().call()
        if len(self.ids) > before:
            self.accepted[self._number] = self.ids[-1]
        time.sleep(PAUSE)


@dataclass
class Machines:
    """The running programs. `disturbances` are those that could double mail: each with its beginning and its end."""

    database: OwnServer
    pooler: Pooler
    servers: dict
    disturbances: list = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)

    def kinds(self):
        """Return the ways to disturb the programs, each with a function."""
        stops = ((mode, partial(self.database.stop, mode)) for mode in ("fast", "immediate"))
        found = {
            f"PostgreSQL {how}": (stop, self.database.start) for how, stop in (*stops, ("kill -9", self.database.kill))
        }
        found["PgBouncer SIGTERM"] = self.pooler.stop, self.pooler.start
        found["PgBouncer kill -9"] = self.pooler.kill, self.pooler.start
        for name, server in self.servers.items():
            found[f"server {name} SIGTERM"] = partial(stop_cleanly, server), server.start
            found[f"server {name} kill -9"] = server.kill, server.start
        return found

    def disturb(self, kind):
        """Stop or kill a program, and start it again after a random time of up to two seconds."""
        stop, start = self.kinds()[kind]
        began = time.monotonic()
        stop()
        time.sleep(random.uniform(0, 2))
        start()
        if not (kind.startswith("server") and kind.endswith("SIGTERM")):  # this must not double any mail
            self.disturbances.append((kind, began - WINDOW, time.monotonic() + WINDOW))
        self.counts[kind] += 1


def stop_cleanly(server):
    assert server.stop() == 0, "the server did not stop with exit code 0"


@dataclass(kw_only=True)
class Report:
    """What a run has found."""

    took: float
    calls: int
    accepted: int
    others: int
    sent_on: int
    doubled: Counter
    """The number of messages that the sink got twice, by the disturbance at that time."""
    counts: Counter
    errors: tuple
    events: Counter

    def __str__(self):
        return (
            f"{self.took:.0f} s, {sum(self.counts.values())} disturbances: {dict(self.counts)}\n"
            f"  {self.calls} calls and {self.accepted} messages acknowledged, none lost, none twice, all bytes equal;\n"
            f"  {self.others} messages without a reply also exist, once\n"
            f"  {self.sent_on} messages sent on, all bytes equal; twice, within the window: {dict(self.doubled)}\n"
            f"  errors of calls {self.errors[0]}, of mail {self.errors[1]}; in the logs {dict(self.events)}"
        )


def run(directory, roles, *, monkeypatch, seconds=0, only=None):
    """Run servers with these roles (name → value of `--roles`) under load, and disturb them. Return a `Report`.

    The run takes at least `seconds`, and has at least one disturbance of each kind, or of each kind in `only`.
    """
    monkeypatch.setenv(MASTER_KEY_VARIABLE, MASTER_KEY)
    with ExitStack() as opened:
        database = opened.enter_context(OwnServer(**ASLEEP))
        url = database.new_database()
        pooler = opened.enter_context(Pooler(url, size=20))
        servers = {}
        for name, value in roles.items():
            server = servers[name] = testing.Server(
                *(directory / name, "--database", pooler.url, "--database-prepared-statements", "no"),
                *("--roles", value, *at_free_ports()),
            )
            server.start()
            opened.callback(end, server)
        machines = Machines(database, pooler, servers)
        systems = {name: System(server) for name, server in servers.items() if "api" in roles[name]}
        for system in systems.values():
            opened.callback(system.connect.close)
        ledger = Ledger.of(systems, url, opened.enter_context(Sink()))
        report = under_load(machines, ledger, list(systems.values()), seconds=seconds, only=only)
    for server in servers.values():
        assert not logged(server, "failed")
    return report


def under_load(machines, ledger, systems, *, seconds, only):
    writers = [Writer(system) for system in systems for _ in range(2)]
    callers, began = [*writers, *ledger.senders], time.monotonic()
    kinds = list(only or machines.kinds())

    def is_enough():
        return time.monotonic() - began > seconds and len(machines.counts) == len(kinds)

    with Load(callers) as load:
        while not is_enough():
            random.shuffle(kinds)
            for kind in itertools.takewhile(lambda _: not is_enough(), kinds):
                load.wait_for_more(random.randint(2, 15), seconds=PATIENCE)
                machines.disturb(kind)
        load.wait_for_more(3, seconds=PATIENCE)
    took = time.monotonic() - began
    wait_until_sent(systems[0])
    for writer in writers:
        writer.check(systems[0])
    stored = ledger.stored()
    doubled = ledger.check(systems[0], stored, machines.disturbances)
    accepted = sum(len(sender.accepted) for sender in ledger.senders)
    logs = [line["event"] for each in machines.servers.values() for line in logged(each, "store_failed", "lease_lost")]
    return Report(
        took=took,
        counts=machines.counts,
        calls=sum(len(writer.done) for writer in writers),
        accepted=accepted,
        others=len(stored) - accepted,
        sent_on=len(ledger.sent_on_of(stored)),
        doubled=doubled,
        errors=(errors_of(writers), errors_of(ledger.senders)),
        events=Counter(logs),
    )


def wait_until_sent(system):
    """Wait until the queue is empty. What a killed server has claimed is attempted when its lease has ended."""
    deadline = time.monotonic() + LEASE + PATIENCE
    while system.json("queue")["deliveries"]:
        assert time.monotonic() < deadline, system.json("queue")
        time.sleep(0.5)


@dataclass(frozen=True)
class Ledger:
    """What the senders have sent, and where it must be: both inboxes of a pair, or an inbox and the sink."""

    url: str
    sink: Sink
    kept: tuple
    """An alias and its primary, which has an inbox."""
    sent_on: tuple
    """An alias and its primary, whose mail goes to the sink."""
    primary_id: str
    senders: list

    @classmethod
    def of(cls, systems, url, sink):
        """Create two pairs and the route, and two senders for each pair and server."""
        first = next(iter(systems.values()))
        kept, sent_on = first.linked_pair(), first.linked_pair()
        key = first.server.profile.key
        inspection = Connection(first.server.run.http, key_id=key.id, secret=key.secret)
        inspection.post("routes", {"match": sent_on[1], "to": sink.to, "keep": False})
        senders = [
            Correspondent(system, alias, f"{name}.{to}.{n}")
            for name, system in systems.items()
            for to, (alias, _) in (("kept", kept), ("sent_on", sent_on))
            for n in range(2)
        ]
        return cls(url, sink, kept, sent_on, first.ids[sent_on[1]], senders)

    def stored(self):
        """Return the number and the digest of each stored message, by id."""
        query = (
            "SELECT message_id, string_agg(octets, ''::bytea ORDER BY start) FROM message_bodies GROUP BY message_id"
        )
        found = {}
        with psycopg.connect(self.url) as admin, admin.cursor(name="bodies") as cursor:
            cursor.itersize = 100
            for message_id, octets in cursor.execute(query):
                found[message_id] = NUMBER.search(octets)[1].decode(), digest(octets)
        return found

    @staticmethod
    def sent_on_of(stored):
        """Return the ids of the stored messages that belong at the sink."""
        return {message_id for message_id, (number, _) in stored.items() if ".sent_on." in number}

    def check(self, system, stored, disturbances):
        """Check that each acknowledged message is stored, that each stored message is stored once and unchanged, and
        that each is where it belongs. Return how many the sink got twice, by the disturbance at that time.
        """
        sent = {number: octets for sender in self.senders for number, octets in sender.sent.items()}
        accepted = {number: each for sender in self.senders for number, each in sender.accepted.items()}
        assert {number for number, each in accepted.items() if stored.get(each, ("",))[0] != number} == set()
        assert set(Counter(number for number, _ in stored.values()).values()) == {1}
        assert [each for each, (number, octets) in stored.items() if sent[number] != octets] == []
        of_sink = self.sent_on_of(stored)
        of_pair = set(stored) - of_sink
        for address, expected in ((self.kept[0], of_pair), (self.kept[1], of_pair), (self.sent_on[0], of_sink)):
            found = Counter(system.all_ids_at(address))
            assert set(found) == expected
            assert set(found.values()) == {1}
        assert system.all_ids_at(self.sent_on[1]) == []
        for message_id in random.sample(sorted(of_pair), min(100, len(of_pair))):
            number, (size, _) = stored[message_id]
            for address in self.kept:
                assert digest(system.raw(message_id, address)[-size:]) == sent[number]
        return self._check_sink(stored, sent, disturbances)

    def _check_sink(self, stored, sent, disturbances):
        times = {}
        for taken in self.sink.taken:
            times.setdefault(taken.delivery_id, []).append(taken.at)
            number, (size, _) = stored[taken.delivery_id.partition(".")[0]]
            assert digest(taken.octets[-size:]) == sent[number]
        assert set(times) == {f"{message_id}.{self.primary_id}" for message_id in self.sent_on_of(stored)}
        doubled = Counter()
        for delivery_id, at in times.items():
            for earlier in sorted(at)[:-1]:
                kinds = [kind for kind, first, last in disturbances if first <= earlier <= last]
                assert kinds, f"{delivery_id}: twice, why?"
                doubled[kinds[-1]] += 1
        return doubled
