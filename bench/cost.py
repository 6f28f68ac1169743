"""Counts the instructions that the server executes for a fixed script of 200 messages and 200 calls.

Times depend on the machine and its load, but the number of instructions hardly does. Therefore instructions are used to
compare two commits: `python bench/cost.py --beside COMMIT` also counts that commit in the same run. The script uses
hardware counters (`perf stat`) if the machine has them, and otherwise callgrind, which needs `valgrind` and takes
longer. Both count only the instructions of the server's process in user mode, from the first byte that is sent to the
last reply.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import boto3
from calls import Calls, Pair
from table import table

from waypost.host.data_directory import DataDirectory

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "bench" / "cost.json"
OPERATIONS = 200
"""The number of messages, and of calls. Half of the calls are DescribeEmailAddress; a quarter each link and unlink."""

WARM_UP = 40
"""The number of messages and calls before the count begins, so that one-time work is not counted."""

START_LIMIT = 300.0
"""The time limit, in seconds, for the start of a server. With callgrind a server is about fifty times slower."""

CLIENT_LIMIT = 120.0
"""The time limit for each reply, in seconds."""


class NotCounted(Exception):
    """Raised if instructions cannot be counted on this machine. The message gives the reason."""


class Perf:
    """Counts instructions with the processor's own counters."""

    name = "hardware counters (perf stat)"

    def command(self, command: list[str]) -> list[str]:
        return command

    def count(self, pid: int, directory: Path, work: Callable[[], None]) -> int:
        """Return the instructions that all threads of a process execute while `work` runs."""
        output = directory / "perf"
        arguments = ["perf", "stat", "--field-separator", ",", "--event", "instructions:u", "--output", str(output)]
        counting = subprocess.Popen([*arguments, "--pid", str(pid)])
        _until(output.exists, "perf did not start")
        work()
        counting.send_signal(signal.SIGINT)
        counting.wait()
        found = re.search(r"^([0-9]+),", output.read_text(), re.MULTILINE)
        if found is None:
            raise NotCounted(output.read_text())
        return int(found[1])


class Callgrind:
    """Counts instructions with valgrind, which simulates the processor."""

    name = "callgrind"

    def command(self, command: list[str]) -> list[str]:
        # Full simulation, which is slow, is only enabled while instructions are counted.
        options = ["--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=callgrind.%p"]
        return ["valgrind", "--quiet", *options, *command]

    def count(self, pid: int, directory: Path, work: Callable[[], None]) -> int:
        self._tell("--instr=on", pid)
        work()
        self._tell("--instr=off", pid)
        before = set(directory.glob("callgrind.*"))
        self._tell("--dump", pid)
        _until(lambda: set(directory.glob("callgrind.*")) > before, "callgrind wrote no counts")
        (dump,) = set(directory.glob("callgrind.*")) - before
        _until(lambda: "\ntotals:" in dump.read_text(), "callgrind did not write all its counts")
        total = re.search(r"^totals: ([0-9]+)", dump.read_text(), re.MULTILINE)
        assert total is not None
        return int(total[1])

    def _tell(self, what: str, pid: int) -> None:
        subprocess.run(["callgrind_control", what, str(pid)], check=True, capture_output=True)


@dataclass(frozen=True)
class Counts:
    """The number of instructions for each operation."""

    message: int
    describe: int
    associate: int
    """The mean for AssociateEmailAddressAlias and DisassociateEmailAddressAlias."""

    @property
    def call(self) -> int:
        """Return the mean for all calls of the script."""
        return (self.describe + self.associate) // 2


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that SIGTERM also stops the servers
    try:
        counter = _counter()
        now = _counts(counter, ROOT / "src", options.times)
        before = None
        if options.beside:
            with _checkout(options.beside) as tree:
                before = _counts(counter, tree / "src", options.times)
    except NotCounted as reason:
        sys.exit(str(reason))
    print(_report(counter, now, before, options.beside))
    if options.keep:
        KEPT.write_text(json.dumps(_kept(counter, now), indent=2) + "\n")
        print(f"Wrote {KEPT.relative_to(ROOT)}")


def _counter() -> Perf | Callgrind:
    if shutil.which("perf"):
        tried = subprocess.run(
            ["perf", "stat", "--event", "instructions:u", "true"], capture_output=True, text=True, check=False
        )
        if tried.returncode == 0 and "<not" not in tried.stderr:
            return Perf()
    if shutil.which("valgrind"):
        return Callgrind()
    raise NotCounted("this machine has no hardware counters, and no valgrind: apt-get install valgrind")


def _counts(counter: Perf | Callgrind, source: Path, times: int) -> Counts:
    """Return the smallest counts of several runs with new servers, because disturbances only increase counts."""
    runs = [_run(counter, source) for _ in range(times)]
    return Counts(
        *(min(figures) for figures in zip(*((r.message, r.describe, r.associate) for r in runs), strict=True))
    )


def _run(counter: Perf | Callgrind, source: Path) -> Counts:
    with tempfile.TemporaryDirectory(prefix="waypost-cost-") as name:
        directory = Path(name)
        with _server(counter, source, directory) as (data, pid):
            script = _Script(data)
            script.warm_up()
            counted = {
                kind: counter.count(pid, directory, work) // count for kind, (count, work) in script.parts().items()
            }
    return Counts(**counted)


@contextmanager
def _server(counter: Perf | Callgrind, source: Path, directory: Path) -> Iterator[tuple[DataDirectory, int]]:
    """Run a server with the code in `source` under the counter, and yield its data directory and its process id."""
    data = directory / "data"
    defaults = ["--data", str(data), "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--authentication", "off"]
    command = counter.command([sys.executable, "-m", "waypost", "serve", *defaults])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    environment |= {"PYTHONPATH": str(source), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": ""}
    log = directory / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=output)
    try:
        _until(lambda: "is ready" in log.read_text() or process.poll() is not None, "the server did not start")
        if process.poll() is not None:
            raise NotCounted(f"the server ended immediately: {log.read_text()}")
        yield DataDirectory(data), process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Script:
    """The fixed script: one mail client and one API client, which run in sequence."""

    def __init__(self, data: DataDirectory) -> None:
        run, profile = data.running(), data.profiles()[0]
        self._url = f"http://{run.http}"
        self._smtp = run.smtp.rpartition(":")
        client = boto3.client(
            "connect",
            endpoint_url=self._url,
            region_name=profile.region,
            aws_access_key_id=profile.key.id,
            aws_secret_access_key=profile.key.secret,
            config=boto3.session.Config(proxies={}, read_timeout=CLIENT_LIMIT),
        )
        instance = client.list_instances()["InstanceSummaryList"][0]["Id"]
        self._alias, self._primary, *rest = (
            client.create_email_address(InstanceId=instance, EmailAddress=f"{name}@waypost.example")["EmailAddressId"]
            for name in ("alias", "primary", "one", "two")
        )
        client.associate_email_address_alias(
            InstanceId=instance,
            EmailAddressId=self._primary,
            AliasConfiguration={"EmailAddressId": self._alias},
        )
        self._pair = Pair(*rest)
        self._calls = Calls(SimpleNamespace(url=self._url, profile=profile), instance)  # type: ignore[arg-type]
        text = "From: <a@bench.example>\r\nTo: <alias@waypost.example>\r\nSubject: cost\r\n\r\n"
        self._message = text.encode() + (b"X" * 78 + b"\r\n") * 50

    def warm_up(self) -> None:
        self._messages(WARM_UP)
        self._describes(WARM_UP)
        self._associates(WARM_UP // 2)

    def parts(self) -> dict[str, tuple[int, Callable[[], None]]]:
        """Return the number of operations of each kind, and the function that runs them."""
        return {
            "message": (OPERATIONS, lambda: self._messages(OPERATIONS)),
            "describe": (OPERATIONS // 2, lambda: self._describes(OPERATIONS // 2)),
            "associate": (OPERATIONS // 2, lambda: self._associates(OPERATIONS // 4)),
        }

    def _messages(self, count: int) -> None:
        """Send messages of 4 KB to an alias, over one connection."""
        host, _, port = self._smtp
        with smtplib.SMTP(host, int(port), local_hostname="bench.example", timeout=CLIENT_LIMIT) as client:
            for _ in range(count):
                client.sendmail("a@bench.example", ["alias@waypost.example"], self._message)

    def _describes(self, count: int) -> None:
        self._send(self._calls.describe(self._primary) for _ in range(count))

    def _associates(self, pairs: int) -> None:
        for _ in range(pairs):
            self._send(iter([self._calls.associate(self._pair), self._calls.disassociate(self._pair)]))

    def _send(self, requests: Iterator[bytes]) -> None:
        """Send requests that were prepared as bytes with `urllib`, whose own instructions are not counted."""
        for request in requests:
            head, _, body = request.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            method, path, _ = first.split(" ")
            headers = dict(line.split(": ", 1) for line in lines)
            ready = urllib.request.Request(self._url + path, data=body or None, headers=headers, method=method)
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(ready, timeout=CLIENT_LIMIT) as answer:
                answer.read()


@contextmanager
def _checkout(revision: str) -> Iterator[Path]:
    """Yield a temporary folder with the files of another commit."""
    with tempfile.TemporaryDirectory(prefix="waypost-cost-tree-") as name:
        archive = subprocess.run(["git", "archive", revision, "src"], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode:
            raise NotCounted(archive.stderr.decode())
        subprocess.run(["tar", "--extract", "--directory", name], input=archive.stdout, check=True)
        yield Path(name)


def _until(is_so: Callable[[], object], otherwise: str) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            if is_so():
                return
        time.sleep(0.05)
    raise NotCounted(otherwise)


def _report(counter: Perf | Callgrind, now: Counts, before: Counts | None, revision: str | None) -> str:
    kinds = ("message", "describe", "associate", "call")
    kept = json.loads(KEPT.read_text())["instructions"] if KEPT.exists() else {}
    others = {str(revision): vars(before) | {"call": before.call}} if before else {"kept": kept} if kept else {}
    head = ("instructions for each", "now", *(cell for name in others for cell in (name, "change")))
    rows = []
    for kind in kinds:
        figure: int = getattr(now, kind)
        compared = [(other[kind], f"{figure / other[kind] - 1:+.1%}") for other in others.values()]
        rows.append((kind, f"{figure:,}", *(cell for count, change in compared for cell in (f"{count:,}", change))))
    return f"Counted with {counter.name}.\n\n{table(head, rows)}"


def _kept(counter: Perf | Callgrind, now: Counts) -> dict[str, object]:
    changed = ["git", "log", "-1", "--format=%h", "--", "src"]  # counts depend only on these files
    return {
        "commit": subprocess.run(changed, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip(),
        "counter": counter.name,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "instructions": vars(now) | {"call": now.call},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", metavar="COMMIT", help="also count another commit, and show the difference")
    parser.add_argument(
        "--times", type=int, default=2, help="runs of the script; the smallest counts are used (default %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help=f"write the counts to {KEPT.relative_to(ROOT)}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
