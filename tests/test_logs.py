"""The log says what happened, and never what was in it."""

import io
import json
import logging
import sys

import pytest

from waypost import events, logs


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
    handlers = logging.getLogger().handlers[:]
    yield logs.emitter(), stream
    logging.getLogger().handlers[:] = handlers


def failure():
    body = "BODY-SECRET"
    try:
        raise RuntimeError("no space")
    except RuntimeError as error:
        assert body
        return error


def test_a_failure_is_logged_with_its_cause_and_no_local_variables(log):
    emit, stream = log
    emit(events.Failed(where="smtp", id="an-id", cause=failure()))

    assert "no space" in stream.told
    assert "an-id" in stream.told
    assert "BODY-SECRET" not in stream.told


def test_every_line_that_is_not_for_a_terminal_is_json(log):
    emit, stream = log
    emit(events.MessageAccepted(id="an-id", peer="192.0.2.1", size=1, recipients=1))
    logging.getLogger("uvicorn.error").error("it went wrong")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")

    if stream.terminal:
        assert "message_accepted" in stream.told
    else:
        told = [json.loads(line) for line in stream.told.splitlines()]
        assert [line["event"] for line in told] == ["message_accepted", "failed"]
        assert told[1]["where"] == "uvicorn.error"
