"""Follows the tutorial in a new virtual environment, as a new user does, and prints how long each step takes.

It installs Waypost with the commands of the page on installation, and then runs each block of the tutorial. It fails
if a block has another result than the page shows, or if the blocks together take longer than two minutes.

Usage: python -m scripts.follow_tutorial [--python PROGRAM]
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.docs_blocks.blocks import ROOT, Block, blocks_of
from tests.docs_blocks.session import BlockFailed, Session

INSTALLATION = "docs/how-to/install.md"
TUTORIAL = "docs/tutorial.md"
PLACE = "new=/opt/waypost-"
"""The beginning of the line with the virtual environment on the page. Here it is in a temporary directory."""

LIMIT = 120
"""The maximum time for the tutorial without the installation, in seconds."""


def install(place: Path, python: str) -> None:
    """Create a virtual environment with the commands of the page on installation.

    The commands that create a user of the system and the link are left out, because they would change this machine.
    """
    (block,) = (one for one in blocks_of(INSTALLATION) if one.text.startswith("useradd "))
    commands = [line for line in block.text.splitlines() if not line.startswith(("useradd ", "ln "))]
    here = [f"new={place}" if line.startswith(PLACE) else line for line in commands]
    script = "\n".join(here).replace("python3 ", f"{python} ", 1)
    subprocess.run(["sh", "-euc", script], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def follow(home: Path, virtual_environment: Path) -> float:
    """Run each block of the tutorial. Return the seconds that they took. Raises `BlockFailed`."""
    in_all = 0.0
    with Session(home, virtual_environment) as session:
        for block in blocks_of(TUTORIAL):
            began = time.monotonic()
            session.run(block)
            took = time.monotonic() - began
            in_all += took
            print(f"{took:6.1f} s  {_heading(block)}: {block.first_line}")
    return in_all


def _heading(block: Block) -> str:
    """Return the last heading before the block."""
    lines: list[str] = (ROOT / block.page).read_text(encoding="utf-8").splitlines()[: block.line]
    return next(line for line in reversed(lines) if line.startswith("## ")).removeprefix("## ")


def main() -> int:
    """Install, follow the tutorial, and print the times. Return 0, or 1 if something differs from the page."""
    parser = argparse.ArgumentParser(prog="python -m scripts.follow_tutorial", description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default="python3", help="the Python of the new virtual environment")
    python = parser.parse_args().python
    with tempfile.TemporaryDirectory() as folder:
        environment, home = Path(folder) / "environment", Path(folder) / "home"
        home.mkdir()
        began = time.monotonic()
        install(environment, python)
        print(f"{time.monotonic() - began:6.1f} s  installation, as in {INSTALLATION}")
        # The tutorial says how to get the AWS CLI. It is a program of its own, with dependencies of its own.
        shutil.copy(Path(sys.executable).parent / "aws", environment / "bin" / "aws")
        try:
            in_all = follow(home, environment)
        except BlockFailed as error:
            print(error, file=sys.stderr)
            return 1
    print(f"{in_all:6.1f} s  in all, without the installation (at most {LIMIT} s)")
    return 0 if in_all <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
