"""A server with `--attached` belongs to the program that started it: it ends with this program, and leaves no files."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import fetch

SERVE = [sys.executable, "-m", "waypost", "serve", "--attached", "--ready-json"]
ON_FREE_PORTS = ["--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0"]

PARENT = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
sys.stdout.buffer.write(server.stdout.readline())
sys.stdout.flush()
FORK
server.wait()
"""


@pytest.fixture
def environment(tmp_path):
    """An environment whose directory for temporary files is empty at the start."""
    return os.environ | {"TMPDIR": str(tmp_path)}


def start(environment, *options):
    return subprocess.Popen(
        [*SERVE, *ON_FREE_PORTS, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_the_server_stops_when_its_standard_input_ends(environment, tmp_path, options):
    with start(environment, *options) as server:
        ready = json.loads(server.stdout.readline())
        server.stdin.write(b"what a program writes has no meaning\n")
        server.stdin.flush()
        assert fetch(ready["inspection_url"] + "health").status == 200
        assert Path(ready["data"]).parent.parent == tmp_path
        server.communicate(timeout=PATIENCE)  # closes standard input
    assert server.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", [0, 0.1, 0.3])
def test_a_server_whose_standard_input_ends_during_its_start_leaves_no_files(environment, tmp_path, moment):
    with start(environment) as server:
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(timeout=moment)
        server.communicate(timeout=PATIENCE)
    assert list(tmp_path.iterdir()) == []


def test_a_server_with_a_closed_standard_input_ends(environment, tmp_path):
    closed = ["sh", "-c", 'exec "$@" <&-', "sh"]
    with subprocess.Popen([*closed, *SERVE, *ON_FREE_PORTS], stdout=subprocess.PIPE, env=environment) as server:
        server.communicate(timeout=PATIENCE)
    assert list(tmp_path.iterdir()) == []


def test_the_server_stops_with_sigterm_and_leaves_no_files(environment, tmp_path):
    with start(environment) as server:
        server.stdout.readline()
        server.terminate()
        server.wait(timeout=PATIENCE)
    assert server.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fork", ["", "import os, time; os.fork() or time.sleep(3600)"], ids=["alone", "with a child"])
def test_the_server_ends_when_the_program_is_killed(environment, tmp_path, fork):
    """Another child of the program keeps the program's end of the pipe open after the program has ended."""
    command = [sys.executable, "-c", PARENT.replace("FORK", fork), *SERVE, *ON_FREE_PORTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True) as program:
        ready = json.loads(program.stdout.readline())
        program.kill()
        program.wait(timeout=PATIENCE)
        try:
            wait_until(lambda: not Path(f"/proc/{ready['pid']}").exists() and not list(tmp_path.iterdir()))
        finally:
            with suppress(ProcessLookupError):  # the other child has ended too
                os.killpg(program.pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["option", "variable", "file"])
def test_a_data_directory_is_refused(environment, tmp_path, how):
    options = {"option": ["--data", "there"], "file": ["--config", "waypost.toml"]}.get(how, [])
    (tmp_path / "waypost.toml").write_text('data = "there"\n')
    environment |= {"WAYPOST_SERVE_DATA": "there"} if how == "variable" else {}
    done = subprocess.run(
        [*SERVE, *options], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    reason = "cannot be set with --attached, which keeps the data in a temporary directory"
    assert done.stderr == f"waypost: --data {reason}\n"
