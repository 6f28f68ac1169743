"""The benchmark runs where no other mail server is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "bench" / "run.py"


@pytest.mark.long
@pytest.mark.slow
def test_a_short_run_measures_a_server_and_names_cases_that_it_does_not_have(tmp_path):
    figures = tmp_path / "figures.json"
    short = ["--quick", "--rounds", "1", "--seconds", "0.05", "--cases", "kept,relay", "--only", "bare protocol"]
    done = subprocess.run(
        [sys.executable, RUN, *short, "--json", figures],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(figures.read_text(encoding="utf-8"))
    kept, relayed = run["cases"]
    assert set(kept["figures"]) == {"asyncio, bare protocol"}
    assert kept["failed"] == relayed["figures"] == {}
    assert kept["figures"]["asyncio, bare protocol"]["messages"][0] >= 40
    assert "| asyncio, bare protocol |" in done.stdout
    assert not list(tmp_path.glob("waypost-bench-*"))
