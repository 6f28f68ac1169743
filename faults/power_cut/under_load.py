"""Cuts the power of real servers under load, and checks after each restart that nothing acknowledged is lost.

It prints what each cut has lost of what was not synced, and then what is there. The server has SQLite, mail for an
alias and its primary, mail for a Maildir, and API calls. With `--disk`, some system calls fail before each cut, and
some servers are only killed, so that the next one finds in memory what is not on the disk. An AssertionError is a
violation, and the files of the server are kept.
"""

import argparse
import errno
import random
import re
import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import boto3
import botocore.config

from faults import preload
from faults.disk import DiskFaults
from faults.power_cut import Lost, PowerCut
from proofs.load import Load, Sender, Writer, all_ids_at, digest
from tests.kit.patience import wait_until
from tests.kit.servers.running import System
from waypost import testing

SENDERS, WRITERS = 3, 2

SETTINGS = """
[[route]]
match = "box@example.com"
to = "maildir:{maildir}"
line_ends = "as-received"

[delivery]
retry_schedule = ["1s"]
"""

_NUMBER = re.compile(rb"^X-Number: (\S+)\r$", re.MULTILINE)


class Correspondent(Sender):
    """Sends a different message each time, and notes the digest of each, and the id of those that got 250."""

    def __init__(self, system, recipient, name):
        super().__init__(system, recipient)
        self.recipient, self._name, self._random = recipient, name, random.Random(name)
        self.sent, self.accepted, self.refused = {}, {}, set()
        self._number = ""

    def _sent(self):
        self._number = ""
        code, text = super()._sent()
        if code != 250 and self._number:
            self.refused.add(self._number)
        return code, text

    def message(self):
        self._number = f"{self._name}.{len(self.sent)}"
        size = self._random.choice([200] * 10 + [4_000] * 8 + [60_000, 900_000])
        body = self._random.randbytes(size // 2).hex()
        lines = "\r\n".join(body[start : start + 70] for start in range(0, len(body), 70))
        octets = f"Subject: hello\r\nX-Number: {self._number}\r\n\r\n{lines}\r\n".encode()
        self.sent[self._number] = digest(octets)
        return octets

    def call(self):
        before = len(self.ids)
        super().call()
        if len(self.ids) > before:
            self.accepted[self.ids[-1]] = self._number


class Caller(Writer):
    """Makes API calls, also after the server was started again with another port."""

    def reconnect(self, system):
        self._system = system
        config = botocore.config.Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=60)
        self._client = boto3.client("connect", **system.server.client_arguments, config=config)


class Rounds:
    """One server whose power is cut again and again. Its files are in `base`."""

    def __init__(self, base: Path, *options: str) -> None:
        files = base / "files"
        files.mkdir()
        self._maildir = files / "mail"
        settings = base / "waypost.toml"
        settings.write_text(SETTINGS.format(maildir=self._maildir))
        self.cut = PowerCut(files, base / "cut")
        self.disk = DiskFaults(files, base / "control")
        self.server = testing.Server(files / "data", "--config", str(settings), *options)
        self.server.log = base / "server.log"  # the log is not among the files that the cut changes
        self.callers: list[Caller] = []
        self._senders: list[Correspondent] = []
        self._seen: dict[str, str] = {}
        """The numbers of the messages that were checked, by their ids."""

    def start(self) -> System:
        """Start the server, which must need no help after the cut."""
        with preload.loaded(self.disk, self.cut):
            self.server.start()
        system = System(self.server)
        if not self._senders:
            self._pair = system.linked_pair()
            system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress="box@example.com")
            self.callers = [Caller(system) for _ in range(WRITERS)]
            recipients = [self._pair[0]] * SENDERS + ["box@example.com"]
            self._senders = [Correspondent(system, to, f"s{n}") for n, to in enumerate(recipients)]
        for caller in self.callers:
            caller.reconnect(system)
        for sender in self._senders:
            sender._system = system
        return system

    def load(self, count: int) -> None:
        """Send mail and make calls until each client has had `count` successes, and kill the server meanwhile."""
        with Load([*self._senders, *self.callers]) as load:
            try:
                load.wait_for_more(count, seconds=120)
            finally:
                self.server.kill()
                self.disk.clear()

    def check(self, system) -> int:
        """Check that all that was acknowledged is there once, and return the number of messages that are there."""
        for caller in self.callers:
            caller.check(system)
        to_pair = [sender for sender in self._senders if sender.recipient == self._pair[0]]
        found = [Counter(all_ids_at(system, address)) for address in self._pair]
        assert found[0] == found[1]
        assert set(found[0].values()) <= {1}
        new = set(found[0]) - set(self._seen)
        for sender in to_pair:
            assert not set(sender.accepted) - set(found[0]), "accepted messages are lost"
        sent = {number: octets for sender in self._senders for number, octets in sender.sent.items()}
        for message_id in new:
            for address in self._pair:
                octets = system.raw(message_id, address)
                number = _NUMBER.search(octets)[1].decode()
                size, _ = sent[number]
                assert digest(octets[-size:]) == sent[number], f"{message_id} was changed"
                assert all(sender.accepted.get(message_id, number) == number for sender in to_pair)
            self._seen[message_id] = number
        assert len(set(self._seen.values())) == len(self._seen), "a message was stored twice"
        refused = {number for sender in self._senders for number in sender.refused}
        assert not refused & set(self._seen.values()), "a message that got 451 was stored"
        return len(found[0]) + self._check_maildir(system, self._senders[-1])

    def _check_maildir(self, system, sender) -> int:
        wait_until(lambda: not system.json("queue")["deliveries"], "the queue is not empty")
        files = list((self._maildir / "new").glob("*")) if self._maildir.exists() else []
        by_message = Counter(path.name.split(".")[1] for path in files)
        assert set(by_message.values()) <= {1}, "a Maildir has a message twice"
        assert not set(sender.accepted) - set(by_message), "a Maildir has lost a message"
        for path in files:
            octets = path.read_bytes()
            number = _NUMBER.search(octets)[1].decode()
            assert digest(octets[-sender.sent[number][0] :]) == sender.sent[number], f"{path} was changed"
        return len(files)

    @property
    def acknowledged(self) -> tuple[int, int]:
        """The numbers of accepted messages and of calls that had an effect."""
        return sum(len(each.accepted) for each in self._senders), sum(len(each.done) for each in self.callers)


FAULTS = (
    ("fsync", errno.EIO, "data/*-wal"),
    ("fsync", errno.EIO, "data/waypost.sqlite3"),
    ("fsync", errno.EIO, "data"),
    ("write", errno.ENOSPC, "data/*-wal"),
    ("write", errno.EIO, "data/waypost.sqlite3"),
    ("truncate", errno.EIO, "data/*"),
    ("open", errno.EMFILE, "*"),
    ("fsync", errno.EIO, "mail/*"),
    ("write", errno.EDQUOT, "mail/tmp/*"),
    ("rename", errno.EIO, "mail/new/*"),
)
"""The calls that fail with `--disk`, and the paths of their files."""


def cut_repeatedly(base: Path, *options: str, cuts: int, seed: int, has_faults: bool = False, tell=print) -> Rounds:
    """Cut the power of a server `cuts` times, and check after each restart. Leave the server stopped."""
    rounds, chance = Rounds(base, *options), random.Random(seed)
    system = rounds.start()
    for number in range(cuts):
        if has_faults:
            fault, times = chance.choice(FAULTS), {"after": chance.randrange(30), "times": chance.choice([1, 1, 2, 5])}
            tell(f"{fault}, {times}")
            rounds.disk.fail(*fault, **times)
            if chance.random() < 0.2:
                rounds.disk.shorten("*", times=50)
        rounds.load(chance.randint(1, 12))
        system.connect.close()
        if has_faults and chance.random() < 0.4:
            tell("kill -9")
            system = rounds.start()
            rounds.check(system)
            rounds.load(chance.randint(1, 4))
            system.connect.close()
        option = {"tear": chance.choice([0, 512, 4096]), "reorder": chance.random() < 0.8}
        of_this = seed * 10_000 + number
        lost = rounds.cut.cut(of_this, **option)
        tell(f"cut {number} (seed {of_this}, {option}) lost {words(lost)}")
        system = rounds.start()
        there = rounds.check(system)
        messages, calls = rounds.acknowledged
        tell(f"  all is right: {messages} messages and {calls} calls acknowledged so far, {there} messages there")
    system.connect.close()
    assert rounds.server.stop() == 0
    return rounds


def words(lost: Lost) -> str:
    """Describe what was lost."""
    counts = {name: getattr(lost, name) for name in lost.__struct_fields__}
    return ", ".join(f"{count} {WORDS.get(name, name)}" for name, count in counts.items() if count) or "nothing"


WORDS = {"torn": "torn writes", "zeros": "writes that left zeros", "mapped": "pages of mapped memory"}
"""What was lost, in words, where the name in `Lost` is not clear alone."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m faults.power_cut.under_load", description=__doc__)
    parser.add_argument("--cuts", type=int, default=60, help="the number of power cuts (default: 60)")
    parser.add_argument("--workers", type=int, default=1, help="the number of worker processes (default: 1)")
    parser.add_argument("--disk", action="store_true", help="let some system calls on files fail before each cut")
    parser.add_argument("--seed", type=int, default=1, help="chooses what each cut loses (default: 1)")
    arguments = parser.parse_args()
    if why := preload.why_not():
        parser.error(why)
    with _kept() as directory:
        workers = ("--workers", str(arguments.workers))
        cut_repeatedly(Path(directory), *workers, cuts=arguments.cuts, seed=arguments.seed, has_faults=arguments.disk)


@contextmanager
def _kept():
    """Make a directory, and remove it only if all went well, so that a failure can be looked at."""
    directory = tempfile.mkdtemp(prefix="waypost-cuts-")
    print(f"The files are in {directory}")
    yield directory
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
