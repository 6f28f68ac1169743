"""A command whose output cannot be written ends without a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.patience import PATIENCE
from waypost.cli import output

FULL = Path("/dev/full")
"""A device that behaves like a file on a full disk."""

COMMANDS = [["-V"], ["serve", "--help"], ["completion", "bash"]]


def run(arguments, stdout):
    return subprocess.run(
        [sys.executable, "-m", "waypost", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_named(arguments):
    with FULL.open("w", encoding="utf-8") as full:
        done = run(arguments, full)
    assert done.stderr == "waypost: The output cannot be written: No space left on device.\n"
    assert done.returncode == 1


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_has_ended_is_no_error_to_report(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(arguments, writing)
    finally:
        os.close(writing)
    assert (done.stderr, done.returncode) == ("", 1)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", "x"), OSError(28, "No space left", "x")])
def test_other_errors_are_not_taken_for_it(error):
    with pytest.raises(type(error)), output.checked():
        raise error
