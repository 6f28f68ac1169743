"""Finds out which files a server syncs to disk before it accepts a message, with strace."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CALLS = ("fsync", "fdatasync", "sync_file_range", "msync", "rename", "renameat", "renameat2", "link", "linkat")

SETTLE = 0.7
"""The time after the message in which later syncs are recorded, in seconds."""

ATTACH = 20.0
"""The time limit for attaching to all processes, in seconds."""

_STRACE = shutil.which("strace")

# For example: 4242 1700000000.123456 fdatasync(12</data/waypost.db-wal>) = 0 <0.001234>
_LINE = re.compile(r"^(?P<pid>[0-9]+) +(?P<at>[0-9.]+) (?P<what>.*)$")
_WHOLE = re.compile(r"^(?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?[0-9]+).*?(?: <(?P<took>[0-9.]+)>)?$")
_BEGUN = re.compile(r"^(?P<call>\w+)\((?P<arguments>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^<\.\.\. (?P<call>\w+) resumed>(?P<arguments>.*)\) += (?P<result>-?[0-9]+)")


@dataclass(frozen=True, slots=True)
class Sync:
    """A completed system call that makes data or a name durable, or that gives a file a name."""

    call: str
    file: str
    """The path of the file, or of the new name."""
    ended: float
    """The time, in seconds since 1970."""


def why_not() -> str | None:
    """Return the reason why system calls cannot be traced; None if they can be traced."""
    return None if _STRACE else "strace is not installed (apt-get install strace)"


def traced(pids: Iterable[int], send_one: Callable[[], float], log: Path) -> tuple[list[Sync], float]:
    """Trace processes while `send_one` sends a message; return their syncs, and what `send_one` returned.

    `send_one` must return the time of the reply to the message, in seconds since 1970. Raises `OSError` if processes
    cannot be traced.
    """
    assert _STRACE is not None
    processes = list(pids)
    attached = [option for pid in processes for option in ("-p", str(pid))]
    command = [_STRACE, "-f", "-ttt", "-T", "-y", "-e", f"trace={','.join(CALLS)}", "-o", str(log), *attached]
    told = log.with_suffix(".told")
    with told.open("w") as file:
        tracer = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        give_up = time.monotonic() + ATTACH
        while not has_attached(told.read_text(), len(processes)):
            if time.monotonic() > give_up or tracer.poll() is not None:
                raise OSError(f"strace cannot trace the processes: {told.read_text()[:200]}")
            time.sleep(0.02)
        accepted = send_one()
        time.sleep(SETTLE)
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
    return parsed(log.read_text(errors="replace")), accepted


def has_attached(told: str, count: int) -> bool:
    """Return whether strace traces all of `count` processes, except those that have ended in the meantime."""
    attached, ended = told.count(" attached"), told.count("No such process")
    return attached > 0 and attached + ended >= count


def parsed(log: str) -> list[Sync]:
    """Return the successful calls in an output of `strace -f -ttt -T -y`, in the order in which they ended."""
    syncs, begun = [], {}
    for line in log.splitlines():
        if not (at := _LINE.match(line)):
            continue
        pid, began = at["pid"], float(at["at"])
        if found := _BEGUN.match(at["what"]):
            begun[pid] = found
        elif found := _WHOLE.match(at["what"]):
            if found["result"] == "0":
                ended = began + float(found["took"] or 0)
                syncs.append(Sync(found["call"], _file(found["call"], found["arguments"]), ended))
        elif (found := _RESUMED.match(at["what"])) and pid in begun:
            arguments = begun.pop(pid)["arguments"] + found["arguments"]
            if found["result"] == "0":
                syncs.append(Sync(found["call"], _file(found["call"], arguments), began))
    return sorted(syncs, key=lambda sync: sync.ended)


def _file(call: str, arguments: str) -> str:
    """Return the path of the file that is synced, or of the new name."""
    if call.startswith(("rename", "link")):
        names = re.findall(r'"([^"]*)"', arguments)
        return names[-1] if names else ""
    path = re.search(r"<([^>]*)>", arguments)
    return path[1] if path else ""


def summary(syncs: Iterable[Sync], accepted: float, directory: Path) -> dict[str, list[str]]:
    """Return what was done `before` and `after` the reply, as phrases such as `2 × fsync active/…`.

    `directory` is the directory of the server's data, which the phrases omit.
    """
    phrases: Mapping[str, dict[str, int]] = {"before": {}, "after": {}}
    for sync in syncs:
        counts = phrases["before" if sync.ended <= accepted else "after"]
        call = sync.call.removesuffix("at2").removesuffix("at")
        phrase = f"{call} {short(sync.file.removeprefix(str(directory)))}"
        counts[phrase] = counts.get(phrase, 0) + 1
    return {
        when: [f"{count} × {phrase}" if count > 1 else phrase for phrase, count in counts.items()]
        for when, counts in phrases.items()
    }


def short(path: str) -> str:
    """Return the last two names of a path; a name that is made for one message is replaced by `…`."""
    parts = [part for part in path.replace(" (deleted)", "").split("/") if part][-2:]
    shown = ["…" if _is_made_up(part) else part for part in parts]
    return shown[-1] if shown[0] == "…" else "/".join(shown)


def _is_made_up(name: str) -> bool:
    return bool(re.search(r"[0-9]{3}|^[0-9A-Fa-f]{2}$|[0-9A-Fa-f]{6}", name))
