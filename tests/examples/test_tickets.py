"""The tests of the example in `examples/tickets` pass, and leave nothing behind, however they end."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.patience import PATIENCE, wait_until

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "tickets"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

WITH_WORKERS = pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="one server"),
        pytest.param(("-n", "2"), id="a server for each worker", marks=pytest.mark.long),
    ],
)


@pytest.fixture
def environment(tmp_path):
    """An environment whose directory for temporary files is empty at the start."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))} | {
        "TMPDIR": str(tmp_path)
    }


def left(directory):
    """Return the directories of servers, and the processes that use them: servers, and the workers of xdist, which have
    the directory in their environment alone.
    """
    found = list(directory.glob("waypost-*"))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.fsencode(directory) in (process / file).read_bytes() for file in ("cmdline", "environ")):
                found.append(process)
        except OSError:
            continue  # the process has ended, or belongs to another user
    return found


@WITH_WORKERS
def test_its_tests_pass(environment, tmp_path, options, record_property):
    found = subprocess.run(
        [*PYTEST, *options], cwd=EXAMPLE, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    summary = found.stdout.splitlines()[-1]
    assert int(re.search(r"(\d+) passed", summary)[1]) >= 30
    record_property("to_be_told", f"examples/tickets {' '.join(options)}: {summary}")
    assert left(tmp_path) == []


@WITH_WORKERS
def test_a_killed_run_leaves_no_process_and_no_directory(environment, tmp_path, options):
    run = subprocess.Popen(
        [*PYTEST, *options], cwd=EXAMPLE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: list(tmp_path.glob("waypost-*/data/run.json")) or run.poll() is not None)
    run.kill()
    assert run.wait(PATIENCE) != 0, "the run was over before it was killed"
    wait_until(lambda: not left(tmp_path), why=lambda: f"left: {left(tmp_path)}")


def test_three_lines_at_most_are_about_waypost():
    conftest = ast.parse((EXAMPLE / "tests" / "conftest.py").read_text(encoding="utf-8"))
    imports = [node.lineno for node in ast.walk(conftest) if "waypost" in ast.unparse(node) and is_import(node)]
    uses = [node.lineno for node in ast.walk(conftest) if isinstance(node, ast.Name) and node.id == "waypost"]
    assert 0 < len({*imports, *uses}) <= 3


def is_import(node):
    return isinstance(node, ast.Import | ast.ImportFrom)
