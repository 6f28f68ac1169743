"""The progress bar of a long command is shown on a terminal only."""

import io

from waypost.cli import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_follows_the_progress_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress.bar("Backup") as told:
        told(0, 0)
        told(1, 2)
        told(3, 4)
        told(4, 4)
    assert "Backup" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_nothing_is_shown_without_a_terminal(monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr("sys.stderr", output)
    with progress.bar("Backup") as told:
        told(1, 2)
    assert output.getvalue() == ""
