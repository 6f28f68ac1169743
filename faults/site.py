"""A deployment under test: a server, its peers, its email addresses, and what its clients have recorded.

One deployment is used for many faults, so that a fault takes seconds. After each fault, everything that was recorded
since the beginning is compared with everything that is there.
"""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

from faults import oracle
from faults.clients import Caller, Directory, Mailer, as_calls, digest
from faults.oracle import Copy, Digest, Group, Held, Violation, ViolationKind, Window
from faults.peers import Hook, PeerFailures
from faults.proxy import Proxy
from faults.servers import LEASE, Server, end
from faults.small_disk import SmallDisk
from faults.standby import Standby
from proofs.load import Load
from tests.kit.free_ports import at_free_ports
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.false_clock import FalseClock
from tests.kit.servers.running import System
from tests.kit.stores.postgresql import OwnServer, address_of
from tests.linearizability.checker import check
from waypost.client.http import Connection
from waypost.store.sqlite import backups
from waypost.store.sqlite import file as sqlite_file

WINDOW = 2.0
"""The time, in seconds, between the peer's reply and a fault, in which the outcome of an attempt may not be recorded.

A commit takes milliseconds, but writes wait for each other, and a busy machine has few processors.
"""

READERS = 6
"""The number of messages that are read at the same time after a fault."""

SETTLE = 60.0
"""The longest time, in seconds, in which all deliveries must have arrived after a fault. The third attempt to store the
planned deliveries of a message is made 36 s after a failure.
"""

NUMBER = re.compile(rb"^X-Number: (\S+)\r?$", re.MULTILINE)
SUBJECT = re.compile(rb"^Subject: fault ", re.MULTILINE)

SETTINGS = """
hostname = "mail.example"
[delivery]
retry_schedule = ["1s"]
"""


class Site:
    """The deployment. `store` is "sqlite" or "postgresql", and `lease` the duration of a lease in seconds; None is that
    of production. With `has_clocks`, each server has a clock of its own that a fault can set. `layer(site)` returns the
    environment variables of a library that the servers preload.
    """

    def __init__(
        self,
        directory,
        *,
        store,
        workers,
        seed,
        servers=1,
        lease=LEASE,
        has_clocks=False,
        has_small_disk=False,
        has_standby=False,
        layer=None,
    ):
        self.directory, self.store, self.workers, self.seed = directory, store, workers, seed
        self._count, self._lease, self._layer = servers, lease, layer
        self._has_clocks, self._has_small_disk, self._has_standby = has_clocks, has_small_disk, has_standby
        self.sent, self.windows = [], []
        self._read, self._lost_leases = set(), set()
        self._copies = {}
        self.found = []
        """Violations that an injector has found itself."""
        self.doubled = 0
        self._opened = ExitStack()

    def __enter__(self):
        with ExitStack() as opened:
            self.directory.mkdir(parents=True)
            self.peer_failures = PeerFailures(self.seed)
            self.sinks = {
                "smtp": opened.enter_context(
                    Sink(at_rcpt=self.peer_failures.at_rcpt, at_end=self.peer_failures.at_end)
                ),
                "lmtp": opened.enter_context(
                    Sink(at_rcpt=self.peer_failures.at_rcpt, at_end=self.peer_failures.at_end, is_lmtp=True)
                ),
            }
            self.hook = opened.enter_context(Hook(self.peer_failures))
            self._start(opened)
            self.system = System(self.server)
            opened.callback(self.system.connect.close)
            self._make_addresses()
            self._readers = opened.enter_context(ThreadPoolExecutor(READERS))
            self.callers = [
                Caller(f"caller {n}", self.names, server, self.system.instance_id, seed=self.seed)
                for n, server in ((n, self.servers[n % len(self.servers)]) for n in range(3))
            ]
            for caller in self.callers:
                opened.callback(caller.close)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_):
        self._opened.close()

    def _start(self, opened):
        settings = self.directory / "waypost.toml"
        settings.write_text(SETTINGS)
        options = ["--config", str(settings)]
        if self.store == "postgresql":
            self._start_database(opened)
            options += ["--database", self.proxy.url(self.url)]
        if self.workers > 1:
            options += ["--workers", str(self.workers)]
        self.data = self.directory / "data"
        self.data.mkdir()
        self.servers, self.clocks = [], []
        for n in range(1, self._count + 1):
            server = Server(self.data / f"{n}", *options, *at_free_ports(), lease=self._lease)
            # A power cut must not undo what the campaign itself reads.
            server.log, server.control = self.directory / f"{n}.log", self.directory / f"{n}.failpoint"
            if self._layer:
                server.more, server.is_forked = self._layer(self), False
            if self._has_clocks:
                (self.directory / f"clock{n}").mkdir()
                self.clocks.append(FalseClock(self.directory / f"clock{n}"))
                server.more, server.is_forked = self.clocks[-1].environment(is_read_each_second=True), False
            self.servers.append(server)
            opened.callback(end, server)
            server.start()
        self.server = self.servers[0]

    def _start_database(self, opened):
        self.database = opened.enter_context(OwnServer(tcp=True, log_min_messages="fatal", max_connections="60"))
        if self._has_small_disk:
            self.small_disk = opened.enter_context(SmallDisk(self.database))
        if self._has_standby:
            self.standby = opened.enter_context(Standby(self.database))
        self.url = self.database.new_database()
        self.proxy = opened.enter_context(Proxy(address_of(self.url)))

    def _make_addresses(self):
        key = self.server.profile.key
        self.inspection = Connection(self.server.run.http, key_id=key.id, secret=key.secret)
        self.maildir = self.data / "maildir"
        routes = {
            "smtp": {"to": self.sinks["smtp"].to},
            "lmtp": {"to": self.sinks["lmtp"].to},
            "webhook": {"to": self.hook.url, "allow_private": True, "secret": "a secret of the webhook"},
            "maildir": {"to": f"maildir:{self.maildir}"},
        }
        self.groups, self.peers = {}, {}
        alias, primary = self.system.linked_pair()
        self._add(Group("inbox", (alias,), (alias, primary)))
        self._add(Group("both", (alias, primary), (alias, primary)))
        for name, route in routes.items():
            alias, primary = self.system.linked_pair()
            self.inspection.post("routes", {"match": primary, "keep": False} | route)
            self._add(Group(name, (alias,), (alias,), (primary,)))
            self.peers[name] = primary
        pairs = [self.system.linked_pair() for _ in range(11)]
        self._add(Group("many", tuple(a for a, _ in pairs), tuple(x for pair in pairs for x in pair), in_parts=True))
        self.names = Directory(f"d{self.seed}-")
        self.state = frozenset()

    def _add(self, group):
        self.groups[group.name] = group

    def mailers(self, turn, *, has_doubt=False):
        """Return new clients that send mail; their names contain `turn`, so that they are unique."""
        common = [self.groups[name] for name in ("inbox", "both", "smtp", "lmtp", "webhook", "maildir")]
        on = [self.servers[n % len(self.servers)] for n in range(5)]
        same = {"seed": self.seed, "has_doubt": has_doubt or self.store == "postgresql"}
        return [
            *(Mailer(f"m{turn}.{n}", common, on[n], **same) for n in range(3)),
            Mailer(f"m{turn}.3", [self.groups["many"]], on[3], pause=0.2, **same),
            Mailer(f"m{turn}.4", common[:3], on[4], sizes=(60_000, 300_000, 1_500_000), pause=0.2, **same),
        ]

    @contextmanager
    def load(self, turn, *, has_doubt=False):
        """Let all clients work during the `with` block, and then keep what they have recorded."""
        mailers = self.mailers(turn, has_doubt=has_doubt)
        for caller in self.callers:
            caller.history.clear()
            caller.is_ending.clear()
        load = Load([*mailers, *self.callers])
        load.mailers, load.calling = mailers, self.callers
        self._mailers = mailers
        try:
            with load:
                try:
                    yield load
                except BaseException:
                    for caller in self.callers:
                        caller.is_ending.set()
                    raise
        finally:
            self.sent += [each for mailer in mailers for each in mailer.sent]

    def accepted(self):
        """Return the messages that were accepted until now."""
        sent = [*self.sent, *(each for mailer in self._mailers for each in list(mailer.sent))]
        return {each.number: each for each in sent if each.outcome is oracle.Outcome.ACCEPTED}

    def window(self, kind, began, ended=None):
        """Note a time in which outcomes of attempts may not have been recorded."""
        self.windows.append(Window(kind, began - WINDOW, ended or time.monotonic() + WINDOW))

    # What is there

    def inboxes(self):
        """Return the messages in all inboxes. The bytes of messages that were not read before are read now, but for a
        message with many recipients only in two of its inboxes.
        """
        listed, unread = {}, []
        for group in self.groups.values():
            for n, address in enumerate(group.inboxes):
                if address not in listed:
                    listed[address] = self._listed(address)
                    unread += [(one["id"], address) for one in listed[address] if n < 2]
        unread = [each for each in unread if each not in self._read]
        # Each reading waits for a server that may be busy, so several are done at the same time.
        digests = dict(zip(unread, self._readers.map(self._bytes, unread), strict=True))
        return {
            address: [
                Held(one["subject"].removeprefix("fault "), one["id"], digests.get((one["id"], address)))
                for one in page
            ]
            for address, page in listed.items()
        }

    def _listed(self, address):
        """Return what the server says of all messages in an inbox, the oldest first."""
        listed, page, after = [], None, {}
        while page is None or len(page) == 500:
            page = self.system.inbox(address, limit=500, **after)
            listed += page
            if page:
                after = {"after": page[-1]["id"]}
        return listed[::-1]

    def _bytes(self, copy):
        """Return the digest of a message in an inbox; that of no bytes if the server says that it has none. `copy` is
        the id of the message, and the address of the inbox.
        """
        message_id, address = copy
        answer = self.system.get(f"messages/{message_id}/raw", address=address)
        if answer.status >= 500:
            raise AssertionError(f"the bytes of {message_id} cannot be read: {answer.status} {answer.body[:200]}")
        return _received(answer.body) if answer.status == 200 else digest(b"")

    def copies(self):
        """Return what the peers have got."""
        found = {}
        for name, sink in self.sinks.items():
            taken = self._copies.setdefault(name, [])
            for one in list(sink.taken)[len(taken) :]:
                taken.append(_copy(one.octets, one.delivery_id, one.at, was_told=one.was_told))
        taken = self._copies.setdefault("webhook", [])
        for octets, delivery, at, told in list(self.hook.taken)[len(taken) :]:
            taken.append(_copy(octets, delivery, at, was_told=told))
        for name, taken in self._copies.items():
            found[self.peers[name]] = taken
        found[self.peers["maildir"]] = [
            _copy(file.read_bytes().replace(b"\n", b"\r\n"), file.name, 0.0)
            for file in (self.maildir / "new").glob("*")
        ]
        return found

    def check(self, *, is_ordered=True, expects_failures=False, may_lose_leases=True):
        """Compare everything that was recorded with everything that is there. Return the violations."""
        deadline, logged = time.monotonic() + SETTLE, []
        while True:
            logged += [line for server in self.servers for line in server.new_lines()]
            if may_lose_leases:
                self._lost_leases |= {line["id"] for line in logged if line["event"] == "lease_lost"}
            is_last = time.monotonic() > deadline  # a look may take long
            found, inboxes = self._look(is_ordered=is_ordered, waits=not is_last)
            if {each.kind for each in found} - oracle.EVENTUALLY or not found or is_last:
                break
            time.sleep(0.1)
        self._read |= {(one.id, address) for address, held in inboxes.items() for one in held}
        found += self._check_calls() + self._check_data() + self.found
        return found if expects_failures else found + oracle.check_log(logged)

    def _look(self, *, is_ordered, waits):
        queue = self.system.json("queue", limit=100)["deliveries"]
        letters = self.system.json("dead-letters")["dead_letters"]
        found = oracle.check_queue(queue, letters)
        if waits and queue:
            return found, {}
        inboxes = self.inboxes()
        found += oracle.check_inboxes(self.sent, self.groups, inboxes, is_ordered=is_ordered)
        if found and {each.kind for each in found} <= oracle.EVENTUALLY:
            return found, inboxes
        stored = oracle.present(inboxes)
        at_peers, doubled = oracle.check_peers(
            *(self.sent, self.groups, self.copies(), stored, self.windows),
            names_are_unique=[self.peers["maildir"]],
            lost_leases=self._lost_leases,
        )
        self.doubled = sum(doubled.values())
        return found + at_peers, inboxes

    def _check_data(self):
        """Check what `waypost verify` checks, and that all bytes have checksums."""
        if self.store != "sqlite":
            return []
        found = [
            Violation(ViolationKind.BROKEN, f"{one.what} {one.id}")
            for server in self.servers
            for one in backups.verify(server.data / "waypost.sqlite3", None, is_in_use=True)
        ]
        with closing(sqlite_file.connect(self.server.data / "waypost.sqlite3", "ro")) as connection:
            unchecked = connection.execute("SELECT DISTINCT message_id FROM message_bodies WHERE checksum IS NULL")
            return found + [Violation(ViolationKind.BROKEN, f"no checksum: {one}") for (one,) in unchecked.fetchall()]

    def _check_calls(self):
        """Check the history of API calls since the last fault, followed by a look at each email address."""
        history = [each for caller in self.callers for each in caller.history]
        reader = self.callers[0]
        touched = {name for each in history for name in each.arguments[:2]} | set(self.names.names)
        before = len(reader.history)
        seen = {name: _look_at(reader, name) for name in self.names.ids if name in touched}
        looks = reader.history[before:]
        named = {name for each in (*history, *looks) for name in each.arguments[:2]}
        start = [fact for fact in self.state if len(fact) > 1 or fact[0] in named]
        found = []
        if violation := check([*as_calls(start), *history, *looks]):
            found.append(Violation(ViolationKind.HISTORY, str(violation)))
        there = {name: facts for name, facts in seen.items() if isinstance(facts, tuple)}
        aliases = {name: [fact for fact in facts if "=" not in fact] for name, facts in there.items()}
        found += oracle.check_links(aliases)
        self.state = frozenset(
            [(name,) for name in self.names.ids if name not in there]
            + [(name, alias) for name, its in aliases.items() for alias in its]
            + [(name, *fact.split("=", 1)) for name, facts in there.items() for fact in facts if "=" in fact]
        )
        self.names.names[:] = [name for name in self.names.names if name in there]
        return found


def _look_at(reader, name):
    """Return what a look shows. A call that was not carried out, as after the clock was set, is repeated."""
    deadline = time.monotonic() + SETTLE
    while (seen := reader.ask("look", (name,))) in {None, "busy"}:
        assert time.monotonic() < deadline, f"the email address {name} cannot be read"
        time.sleep(0.05)
    return seen


def _received(raw: bytes) -> Digest:
    """Return the digest of a message without the fields that the server adds before it."""
    begins = SUBJECT.search(raw)
    return digest(raw[begins.start() :] if begins else b"")


def _copy(octets, delivery, at, *, was_told=True):
    begins, number = SUBJECT.search(octets), NUMBER.search(octets)
    name = number[1].decode() if number else f"a message without a number ({delivery})"
    return Copy(name, delivery, digest(octets[begins.start() :] if begins else b""), at, was_told=was_told)
