"""Text from messages cannot harm a terminal."""

import io

import pytest

from waypost.cli import terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße\n\tzwei\n", "Grüße\n\tzwei\n"),
        ("a\x1b[2Jb", "a\N{REPLACEMENT CHARACTER}[2Jb"),
        ("a\rb\x9bc\x00", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"),
        ("a\u202eb\u2028", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_text_has_no_control_characters(text, shown):
    assert terminal.plain_text(text) == shown


class Output(io.TextIOWrapper):
    def __init__(self, *, is_terminal):
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal

    @property
    def printed(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()


PARTS = [b"a\r\n\x1b[31m\xc3", b"\xbc\xff\r", b"\n\xc3"]


def test_bytes_are_printed_unchanged_to_a_file(monkeypatch):
    output = Output(is_terminal=False)
    monkeypatch.setattr("sys.stdout", output)
    terminal.print_octets(PARTS)
    assert output.printed == b"".join(PARTS)


def test_bytes_are_printed_as_text_on_a_terminal(monkeypatch):
    output = Output(is_terminal=True)
    monkeypatch.setattr("sys.stdout", output)
    terminal.print_octets(PARTS)
    assert output.printed.decode() == "a\n\ufffd[31mü\ufffd\n\ufffd"
