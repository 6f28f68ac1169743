"""A server that `waypost.testing` has started ends when its parent process ends for any reason."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]

PARENT = """
import pathlib, sys, time
from waypost import testing

server = testing.Server(pathlib.Path(sys.argv[1]))
server.start()
print(server.run.pid, flush=True)
if sys.argv[2] == "sleeps":
    time.sleep(3600)
"""

FORKING_PARENT = PARENT.replace("print(", "import os; os.fork() or time.sleep(3600); print(")
"""A parent with another child process, which keeps the inherited files open after the parent has ended."""


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(pid):
    """Wait until a process has ended, and return whether it did so in time."""
    deadline = time.monotonic() + 120
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_there(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, None], ids=str)
@pytest.mark.parametrize("program", [PARENT, FORKING_PARENT], ids=["alone", "with a child"])
def test_a_server_ends_with_the_process_that_started_it(tmp_path, number, program):
    if program == FORKING_PARENT and number != signal.SIGKILL:
        pytest.skip("one signal is enough for a parent with another child")
    command = [sys.executable, "-c", program, str(tmp_path / "data"), "sleeps" if number else "returns"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        pid = int(parent.stdout.readline())
        assert is_there(pid)
        if number:
            parent.send_signal(number)
        parent.wait(timeout=120)
        try:
            assert ends(pid)
        finally:
            if is_there(pid):
                os.kill(pid, signal.SIGKILL)
            os.killpg(parent.pid, signal.SIGKILL) if program == FORKING_PARENT else None
    assert not (tmp_path / "data" / "run.json").exists()  # the server has stopped cleanly
    assert "Traceback" not in (tmp_path / "data.log").read_text()


RUN = """
import time

def test_uses_servers(waypost, tmp_path_factory):
    from waypost.testing import Waypost, mock_connect_email
    with mock_connect_email(region="eu-west-1") as other:
        for kit in (waypost, other):
            print(kit.server.run.pid, kit.server.data.parent, flush=True)
        time.sleep(3600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=str)
def test_a_killed_run_of_pytest_leaves_no_process_and_no_directory(tmp_path, number):
    (tmp_path / "test_it.py").write_text(RUN)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_it.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as run:
        lines = [run.stdout.readline().split() for _ in range(2)]
        assert all(is_there(int(pid)) and Path(directory).is_dir() for pid, directory in lines)
        run.send_signal(number)
        run.wait(timeout=120)
    for pid, directory in lines:
        assert ends(int(pid))
        assert not Path(directory).exists()
