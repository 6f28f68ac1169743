"""The log contains all events, but no secrets, no local variables, and no control characters."""

import io
import json
import logging
import os
import re
import sys
import threading
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from typing import get_args, get_type_hints

import pytest

from tests.kit.patience import PATIENCE, wait_until
from waypost.observe import events, log_output, logs
from waypost.observe.log_options import Format, Level, LogOptions


class Stream(io.StringIO):
    """A replacement for standard error, which claims to be a terminal or not."""

    def __init__(self, *, terminal):
        super().__init__()
        self.terminal = terminal
        self.buffer = self
        self.written = ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.written += text if isinstance(text, str) else text.decode()


@pytest.fixture(params=[True, False], ids=["terminal", "json"])
def log(request, monkeypatch):
    stream = Stream(terminal=request.param)
    monkeypatch.setattr(sys, "stderr", stream)
    log = logs.Log()
    yield log, stream
    log.close()


def failure():
    body = "BODY-SECRET"
    try:
        raise RuntimeError("no space")
    except RuntimeError as error:
        assert body
        return error


def test_a_failure_is_logged_with_its_cause_and_no_local_variables(log):
    log, stream = log
    log.emit(events.Failed(where="smtp", id="an-id", cause=failure()))
    log.close()

    assert "no space" in stream.written
    assert "an-id" in stream.written
    assert "BODY-SECRET" not in stream.written


def test_a_line_that_waits_to_be_written_does_not_keep_its_exception(log):
    class Bug(Exception):
        pass

    log, _ = log
    cause = Bug()
    is_kept = weakref.ref(cause)
    log.emit(events.Failed(where="smtp", id="an-id", cause=cause))
    del cause
    assert is_kept() is None


@pytest.mark.parametrize("log", [False], indirect=True, ids=["json"])
def test_a_line_has_the_time_of_its_event(log):
    log, stream = log
    before = datetime.now(UTC)
    log.emit(events.Stopped())
    after = datetime.now(UTC)
    log.close()
    assert before <= datetime.fromisoformat(lines_of(stream)[0]["timestamp"]) <= after


def test_every_line_that_is_not_for_a_terminal_is_json(log):
    log, stream = log
    log.emit(events.MessageAccepted(id="an-id", peer="192.0.2.1", size=1, recipients=1))
    library, handler = logging.getLogger("uvicorn.error"), logs.LibraryErrors(log.emit)
    library.addHandler(handler)
    library.error("something failed")
    library.warning("Invalid HTTP request received.")
    library.removeHandler(handler)
    log.close()

    if stream.terminal:
        assert "message_accepted" in stream.written
    else:
        logged = [json.loads(line) for line in stream.written.splitlines()]
        assert [line["event"] for line in logged] == ["message_accepted", "failed"]
        assert logged[1]["where"] == "uvicorn.error"


def test_the_text_of_an_error_cannot_move_the_cursor_or_forge_a_log_line(log):
    log, stream = log
    log.emit(
        events.Failed(where="smtp", id="an-id", cause=ValueError("red \x1b[31m\x9b\a\n2026-01-01 [info] stopped\r"))
    )
    log.emit(events.TlsFailed(peer="192.0.2.1", reason="red \x1b[31m\n2026-01-01 [info] stopped"))
    log.close()
    colours = re.compile(r"\x1b\[[0-9;]*m")
    ours = colours.sub("", stream.written) if stream.terminal else stream.written
    assert all(letter.isprintable() or letter == "\n" for letter in ours)
    assert stream.written.count("\x1b[31m") == stream.written.count(
        "[\x1b[31merror"
    )  # only our own colour of a failure
    assert not [line for line in ours.splitlines() if line.startswith("2026-01-01")]


def test_a_log_that_cannot_be_written_does_not_delay_or_fail_its_callers(log, monkeypatch):
    log, stream = log
    monkeypatch.setattr(stream, "write", lambda _: (_ for _ in ()).throw(BrokenPipeError))
    for _ in range(3):
        log.emit(events.Stopped())
    log.emit(None)


def lines_of(stream):
    return [json.loads(line) for line in stream.written.splitlines()]


@pytest.mark.parametrize("log", [False], indirect=True, ids=["json"])
def test_an_event_that_cannot_be_encoded_is_counted_as_dropped(log):
    log, stream = log
    log.emit(events.Listening(edge=object(), address="x"))
    log.emit(None)
    log.close()
    assert [(line["event"], line["count"]) for line in lines_of(stream)] == [("lines_dropped", 2)]


@pytest.mark.parametrize("log", [False], indirect=True, ids=["json"])
def test_lines_that_were_lost_in_a_failed_write_are_counted_by_the_next_write(log, monkeypatch):
    log, stream = log
    write, failed = stream.write, threading.Event()

    def fails_once(lines):
        monkeypatch.setattr(stream, "write", write)
        failed.set()
        raise OSError("no space left on device")

    monkeypatch.setattr(stream, "write", fails_once)
    log.emit(events.Stopped())
    assert failed.wait(60)
    log.emit(events.Stopped())
    log.close()
    assert [(line["event"], line.get("count")) for line in lines_of(stream)] == [
        ("stopped", None),
        ("lines_dropped", 1),
    ]


@pytest.mark.parametrize("terminal", [False])
def test_each_dropped_line_is_counted_once_even_if_later_writes_fail_too(terminal, monkeypatch):
    stream, counted = Stream(terminal=terminal), []
    monkeypatch.setattr(sys, "stderr", stream)
    log = logs.Log(has_thread=False, count=counted.append)

    def fails(lines):
        raise OSError("no space left on device")

    monkeypatch.setattr(stream, "write", fails)
    for _ in range(3):
        log._waiting.append(b"a line\n")
        log._write_waiting()
    assert counted == [events.LinesDropped(count=1)] * 3


def test_lines_that_do_not_fit_are_dropped_and_counted(log, monkeypatch):
    log, stream = log
    gate, writing, write = threading.Event(), threading.Event(), stream.write
    monkeypatch.setattr(stream, "write", lambda lines: writing.set() or (gate.wait(PATIENCE) and write(lines)))
    log.emit(events.Stopped())
    writing.wait(PATIENCE)
    for _ in range(logs.BACKLOG + 100):
        log.emit(events.Stopped())
    gate.set()
    log.close()  # waits for two seconds at most
    log._thread.join(PATIENCE)
    assert stream.written.count("stopped") == 1 + logs.BACKLOG
    assert "lines_dropped" in stream.written
    assert "100" in stream.written.splitlines()[-1]


SAMPLES = {str: "a text", int: 57, float: 31.5, bool: True, BaseException: RuntimeError("a bug")}
"""A value for each type of an event's fields."""


@pytest.mark.parametrize("kind", get_args(events.Event), ids=lambda kind: kind.__name__)
def test_each_event_is_written_with_all_of_its_fields(log, kind):
    log, stream = log
    fields = {name: SAMPLES[of] for name, of in get_type_hints(kind).items()}
    log.emit(kind(**fields))
    log.close()
    assert logs.name_of(kind) in stream.written
    for name, value in fields.items():
        assert str(value) in stream.written or json.dumps(value) in stream.written
        assert name in stream.written or name == "cause"


def test_a_log_without_a_thread_does_not_wait_for_a_reader(monkeypatch):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        log = logs.Log(has_thread=False)
        log.emit(events.Stopped())
        os.set_blocking(reading, False)
        with suppress(BlockingIOError):
            while os.read(reading, 65_536):
                pass
        log.emit(events.Reopened())
    lines = [json.loads(line) for line in os.read(reading, 65_536).splitlines()]
    os.close(reading)
    assert [line["event"] for line in lines] == ["stopped", "reopened"]


DROPPED = events.LinesDropped(count=1)


def failed():
    return events.Failed(where="smtp", id="an-id", cause=failure())


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (Level.INFO, ["stopped", "dns_changed", "lines_dropped", "failed"]),
        (Level.WARNING, ["lines_dropped", "failed"]),
        (Level.ERROR, ["failed"]),
    ],
)
def test_the_log_contains_only_events_of_its_level_or_above(tmp_path, level, expected):
    log = logs.Log(LogOptions(level=level, file=tmp_path / "log"))
    for event in (events.Stopped(), events.DnsChanged(works=True), DROPPED, failed()):
        log.emit(event)
    log.close()
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == expected


def test_an_event_below_the_level_makes_no_line_and_is_not_kept(tmp_path, monkeypatch):
    log = logs.Log(LogOptions(level=Level.ERROR, file=tmp_path / "log"))
    monkeypatch.setattr(logs, "datetime", None)  # a kept event has a time
    log.emit(events.Stopped())
    assert not log._waiting
    assert not log._dropped
    log.close()


def test_the_format_text_has_no_control_sequences_in_a_file(tmp_path):
    log = logs.Log(LogOptions(format=Format.TEXT, file=tmp_path / "log"))
    log.emit(events.Listening(edge="smtp", address="127.0.0.1:25"))
    log.close()
    assert re.fullmatch(
        r"[0-9T:.-]+Z \[info   \] listening +edge=smtp address=127\.0\.0\.1:25\n",
        (tmp_path / "log").read_text(encoding="utf-8"),
    )


def test_the_format_json_applies_on_a_terminal_too(monkeypatch):
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    log = logs.Log(LogOptions(format=Format.JSON))
    log.emit(events.Stopped())
    log.close()
    assert lines_of(stream)[0]["event"] == "stopped"


def test_a_new_log_file_cannot_be_read_by_other_users(tmp_path):
    before = os.umask(0)
    logs.Log(LogOptions(file=tmp_path / "new")).close()
    (tmp_path / "old").touch(0o600)
    logs.Log(LogOptions(file=tmp_path / "old")).close()
    os.umask(0o077)
    logs.Log(LogOptions(file=tmp_path / "of_server")).close()
    os.umask(before)
    modes = {file.name: f"{file.stat().st_mode & 0o777:o}" for file in tmp_path.iterdir()}
    assert modes == {"new": "640", "old": "600", "of_server": "640"}


@pytest.mark.parametrize("kind", ["missing directory", "directory", "pipe"])
def test_a_log_file_that_cannot_be_used_is_refused_at_once(tmp_path, kind):
    file = tmp_path / "log"
    if kind == "missing directory":
        file = tmp_path / "missing" / "log"
    elif kind == "directory":
        file.mkdir()
    else:
        os.mkfifo(file)
    with pytest.raises(OSError, match=r"."):
        logs.Log(LogOptions(file=file))


@pytest.mark.parametrize("has_thread", [True, False])
def test_a_log_that_is_reopened_continues_in_a_new_file_and_loses_no_line(tmp_path, has_thread):
    file, old = tmp_path / "log", tmp_path / "log.1"
    log = logs.Log(LogOptions(file=file), has_thread=has_thread)
    log.emit(events.WorkerStarted(worker=1, pid=1))
    if has_thread:
        wait_until(file.read_bytes)
    file.rename(old)
    log.emit(events.WorkerStarted(worker=2, pid=2))
    log.reopen(LogOptions(file=file, level=Level.WARNING))
    log.emit(events.WorkerEnded(worker=3, pid=3, reason="a test"))
    log.close()
    found = [json.loads(line) for path in (old, file) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["worker"] for line in found] == [1, 2, 3]
    assert '"worker":3' in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("has_thread", [True, False])
def test_a_log_that_cannot_be_reopened_continues_with_the_old_file_and_says_so(tmp_path, has_thread):
    directory = tmp_path / "directory"
    directory.mkdir()
    file = directory / "log"
    log = logs.Log(LogOptions(file=file), has_thread=has_thread)
    directory.rename(tmp_path / "elsewhere")
    log.reopen(LogOptions(file=file))
    log.emit(events.Stopped())
    wait_until(lambda: "log_file_refused" in (tmp_path / "elsewhere" / "log").read_text(encoding="utf-8"))
    log.close()
    lines = (tmp_path / "elsewhere" / "log").read_text(encoding="utf-8").splitlines()
    found = {line["event"]: line for line in map(json.loads, lines)}
    assert found.keys() == {"log_file_refused", "stopped"}
    assert found["log_file_refused"]["reason"] == "No such file or directory"
    assert found["log_file_refused"]["level"] == "warning"


def test_a_part_of_a_line_that_a_full_disk_left_is_not_continued_by_the_next_line(tmp_path, monkeypatch):
    output = log_output.File(tmp_path / "log")
    write = os.write

    def writes_three(descriptor, octets):
        monkeypatch.setattr(os, "write", fails)
        return write(descriptor, octets[:3])

    def fails(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "write", writes_three)
    with pytest.raises(OSError, match="no space"):
        output.write(b"first\n")
    monkeypatch.setattr(os, "write", write)
    output.write(b"second\n")
    output.close()
    assert (tmp_path / "log").read_bytes() == b"fir\nsecond\n"


@pytest.mark.parametrize("kind", [Format.JSON, Format.TEXT])
def test_lines_for_the_journal_begin_with_their_priority(tmp_path, monkeypatch, kind):
    with (tmp_path / "journal").open("w") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        log = logs.Log(LogOptions(format=kind))
        for event in (events.Stopped(), DROPPED, failed()):
            log.emit(event)
        log.close()
    lines = (tmp_path / "journal").read_text(encoding="utf-8").splitlines()
    assert [line[:3] for line in lines[:3]] == ["<6>", "<4>", "<3>"]
    assert {line[:3] for line in lines[3:]} <= {"<3>"}
    assert len(lines) > 3 or kind is Format.JSON


def test_lines_for_another_stream_than_the_journal_have_no_priority(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    with (tmp_path / "file").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        log = logs.Log()
        log.emit(events.Stopped())
        log.close()
    assert (tmp_path / "file").read_text(encoding="utf-8").startswith("{")
