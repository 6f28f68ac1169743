"""Runs Postfix's smtp-sink, which discards mail: as a server that is measured, and as the next hop of others."""

import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cores
from groups import Group

from peers import peer

_SMTP_SINK = peer.program("smtp-sink")


def why_not() -> str | None:
    """Return the reason why smtp-sink cannot be used on this machine; None if it can be used."""
    return None if _SMTP_SINK else "not installed (apt-get install postfix)"


@contextmanager
def smtp_sink(directory: Path) -> Iterator[peer.MailPeer]:
    """Run smtp-sink as a server that is measured: it shows the maximum rate of the generator."""
    assert _SMTP_SINK is not None
    port, group, log = peer.free_port(), Group("smtp-sink"), directory.with_name(f"{directory.name}-smtp-sink.log")
    with peer.running(group, [_SMTP_SINK, "-u", "nobody", f"127.0.0.1:{port}", "1024"], log):
        peer.wait_until_open(port, log)
        discarded = {peer.INBOX: "inbox.example"}
        yield peer.MailPeer("smtp-sink, in C", peer.Kind.CEILING, port, (group,), "nowhere", discarded)


class Sink:
    """A next hop that counts the messages that it gets. It runs on the generators' cores."""

    def __init__(self, *options: str) -> None:
        self.port = peer.free_port()
        self.group = Group(f"next-hop-{self.port}", on=cores.HERE.generators)
        self._count = 0
        # smtp-sink writes its counters after each message; with the last line, all messages are counted.
        command = [str(_SMTP_SINK), "-c", *options, "-u", "nobody", f"127.0.0.1:{self.port}", "1024"]
        with self.group.starting():
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.group.add(self._process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        with tempfile.NamedTemporaryFile() as nothing:
            peer.wait_until_open(self.port, Path(nothing.name))

    @property
    def count(self) -> int:
        """The number of messages that it got so far."""
        return self._count

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self.group.remove()

    def _read(self) -> None:
        assert self._process.stdout is not None
        seen = b""
        with self._process.stdout as output:
            while octets := output.read1(65536):
                seen = seen[-100:] + octets  # a read may end within the counters
                self._count = max(self._count, counted(seen))


def counted(output: bytes) -> int:
    """Return the number of messages in the last complete counters that smtp-sink has written; 0 without counters."""
    found = re.findall(rb"mesg=([0-9]+)[\r\n]", output)
    return int(found[-1]) if found else 0


class NextHops:
    """The two next hops: smtp-sink with SMTP, and smtp-sink with LMTP."""

    def __init__(self, smtp: Sink, lmtp: Sink) -> None:
        self._by_path = {peer.RELAY: smtp, peer.LMTP: lmtp}
        self.ports = {"smtp_port": smtp.port, "lmtp_port": lmtp.port}

    def count(self, path: str) -> int:
        return self._by_path[path].count

    def cpu_seconds(self) -> float:
        """Return the processor time of both so far, in seconds."""
        return sum(sink.group.cpu_seconds() for sink in self._by_path.values())


@contextmanager
def next_hops() -> Iterator[NextHops | None]:
    """Run the next hops; None if smtp-sink is not installed."""
    if _SMTP_SINK is None:
        yield None
        return
    with ExitStack() as stack:
        both = []
        for options in ((), ("-L",)):
            both.append(Sink(*options))
            stack.callback(both[-1].stop)
        yield NextHops(*both)


def domains(hops: NextHops | None, *paths: str) -> dict[str, str]:
    """Return the domain of each path. Without next hops, there is only the path to the inboxes."""
    return {path: f"{path}.example" for path in paths if hops or path == peer.INBOX}
