"""Runs Haraka from npm. It has no inboxes: it discards mail for an inbox, and queues and relays other mail."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groups import Group

from peers import peer, roots, sinks

_PACKAGE = roots.FETCHED / "haraka" / "node_modules" / "Haraka"
_PLUGIN = Path(__file__).parents[1] / "haraka" / "bench.js"


def why_not() -> str | None:
    """Return the reason why Haraka cannot be used on this machine; None if it can be used."""
    if peer.program("node") is None:
        return "Node.js is not installed (apt-get install nodejs npm)"
    return None if _PACKAGE.is_dir() else "npm has not installed it (bench/fetch.sh)"


@contextmanager
def running(directory: Path, next_hops: sinks.NextHops | None) -> Iterator[peer.MailPeer]:
    """Run Haraka in one process, which is its default."""
    port, group = peer.free_port(), Group("haraka")
    directory.mkdir(mode=0o755)
    shutil.copytree(_PACKAGE / "config", directory / "config")  # Haraka does not start without some of these files
    (directory / "plugins").mkdir()
    (directory / "queue").mkdir()
    shutil.copy(_PLUGIN, directory / "plugins")
    hop = next_hops.ports["smtp_port"] if next_hops else 0
    settings = {
        "plugins": "bench\n",
        "smtp.ini": f"listen=127.0.0.1:{port}\nnodes=0\n",
        "outbound.ini": "always_split=true\nenable_tls=false\n",  # a copy for each recipient, as Waypost sends them
        "me": "haraka.example\n",
        "loglevel": "WARN\n",
        "next_hop": f"{hop}\n",
    }
    for name, text in settings.items():
        (directory / "config" / name).write_text(text)
    log = directory / "log"
    command = [peer.program("node") or "node", _PACKAGE / "bin" / "haraka", "-c", directory]
    with peer.running(group, command, log) as process:
        peer.wait_until_open(port, log, process)
        name = f"Haraka {json.loads((_PACKAGE / 'package.json').read_text())['version']}"
        domains = sinks.domains(next_hops, peer.INBOX, peer.RELAY)
        keeps = "in its queue; mail for an inbox nowhere"
        yield peer.MailPeer(name, peer.Kind.DISCARDS, port, (group,), keeps, domains, directory=directory)
