"""The log says what happened, and never what was in it."""

import io
import json
import logging
import re
import sys
import threading
from typing import get_args, get_type_hints

import pytest

from tests.kit.patience import PATIENCE
from waypost.observe import events, logs


class Stream(io.StringIO):
    """A standard error that is a terminal, or not."""

    def __init__(self, *, terminal):
        super().__init__()
        self.terminal = terminal
        self.buffer = self
        self.told = ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.told += text if isinstance(text, str) else text.decode()


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

    assert "no space" in stream.told
    assert "an-id" in stream.told
    assert "BODY-SECRET" not in stream.told


def test_every_line_that_is_not_for_a_terminal_is_json(log):
    log, stream = log
    log.emit(events.MessageAccepted(id="an-id", peer="192.0.2.1", size=1, recipients=1))
    library, complaints = logging.getLogger("uvicorn.error"), logs.Complaints(log.emit)
    library.addHandler(complaints)
    library.error("it went wrong")
    library.warning("Invalid HTTP request received.")
    library.removeHandler(complaints)
    log.close()

    if stream.terminal:
        assert "message_accepted" in stream.told
    else:
        told = [json.loads(line) for line in stream.told.splitlines()]
        assert [line["event"] for line in told] == ["message_accepted", "failed"]
        assert told[1]["where"] == "uvicorn.error"


def test_the_text_of_an_error_moves_no_cursor_and_makes_no_line_of_the_log(log):
    log, stream = log
    log.emit(
        events.Failed(where="smtp", id="an-id", cause=ValueError("red \x1b[31m\x9b\a\n2026-01-01 [info] stopped\r"))
    )
    log.emit(events.TlsFailed(peer="192.0.2.1", reason="red \x1b[31m\n2026-01-01 [info] stopped"))
    log.close()
    colours = re.compile(r"\x1b\[[0-9;]*m")
    ours = colours.sub("", stream.told) if stream.terminal else stream.told
    assert all(letter.isprintable() or letter == "\n" for letter in ours)
    assert stream.told.count("\x1b[31m") == stream.told.count("[\x1b[31m\x1b[1merror")  # the colour of a failure
    assert not [line for line in ours.splitlines() if line.startswith("2026-01-01")]


def test_a_log_that_cannot_be_written_holds_nobody_up(log, monkeypatch):
    log, stream = log
    monkeypatch.setattr(stream, "write", lambda _: (_ for _ in ()).throw(BrokenPipeError))
    for _ in range(3):
        log.emit(events.Stopped())
    log.emit(None)


def told(stream):
    return [json.loads(line) for line in stream.told.splitlines()]


@pytest.mark.parametrize("log", [False], indirect=True, ids=["json"])
def test_an_event_that_cannot_be_written_as_a_line_is_counted(log):
    log, stream = log
    log.emit(events.Listening(edge=object(), address="x"))
    log.emit(None)
    log.close()
    assert [(line["event"], line["count"]) for line in told(stream)] == [("lines_dropped", 2)]


@pytest.mark.parametrize("log", [False], indirect=True, ids=["json"])
def test_lines_that_were_lost_with_a_failed_write_are_counted_when_one_succeeds(log, monkeypatch):
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
    assert [(line["event"], line.get("count")) for line in told(stream)] == [("stopped", None), ("lines_dropped", 1)]


def test_lines_that_do_not_fit_are_dropped_and_counted(log, monkeypatch):
    log, stream = log
    gate, writing, write = threading.Event(), threading.Event(), stream.write
    monkeypatch.setattr(stream, "write", lambda lines: writing.set() or (gate.wait(PATIENCE) and write(lines)))
    log.emit(events.Stopped())
    writing.wait(PATIENCE)
    for _ in range(logs.BACKLOG + 100):
        log.emit(events.Stopped())
    gate.set()
    log.close()
    assert stream.told.count("stopped") == 1 + logs.BACKLOG
    assert "lines_dropped" in stream.told
    assert "100" in stream.told.splitlines()[-1]


SAMPLES = {str: "a text", int: 57, bool: True, BaseException: RuntimeError("a mistake")}
"""A value of each kind that an event may have."""


@pytest.mark.parametrize("kind", get_args(events.Event), ids=lambda kind: kind.__name__)
def test_each_event_is_written_with_all_that_it_tells(log, kind):
    log, stream = log
    told = {name: SAMPLES[of] for name, of in get_type_hints(kind).items()}
    log.emit(kind(**told))
    log.close()
    assert logs.name_of(kind) in stream.told
    for name, value in told.items():
        assert str(value) in stream.told or json.dumps(value) in stream.told
        assert name in stream.told or name == "cause"
