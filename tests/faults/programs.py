"""Runs small programs whose files lose their power, for tests of the libraries that inject faults."""

import os
import shutil
import subprocess
import sys

from faults.power_cut import PowerCut

SEEDS = 40
"""The number of seeds of which at least one must show a loss. Most losses show within five seeds."""


def run(program, directory, environment, **variables):
    """Run a Python program in a directory, and return what it prints."""
    ran = subprocess.run(
        [sys.executable, "-S", "-E", "-c", program],
        env={**os.environ, **environment, **variables},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in (0, -9), ran.stderr
    return ran.stdout


def after_cuts(base, program, *, seeds, **options):
    """For each seed, run a program in an empty directory and cut its power. Yield the directory and what was lost."""
    for seed in range(seeds):
        directory = base / "files"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        cut = PowerCut(directory, base / "log")
        run(program, directory, cut.environment())
        yield directory, cut.cut(seed, **options)


def some(base, program, condition, **options):
    """Whether a condition on the directory is true after the cut for some seed."""
    return any(condition(directory) for directory, _ in after_cuts(base, program, seeds=SEEDS, **options))
