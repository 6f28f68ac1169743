"""A project in JavaScript that has installed the package in clients/js from its tarball, and the packages of others.

`make slow` fetches the packages of others into a folder, from which each project has links to them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.kit.patience import PATIENCE

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "js"

FETCHED = Path(os.environ.get("WAYPOST_JAVASCRIPT", ROOT / ".venv" / "javascript")) / "node_modules"
"""The folder with the packages of others."""

COMMAND = Path(sys.executable).with_name("waypost")


def _missing() -> str:
    if not (shutil.which("node") and shutil.which("npm")):
        return "node and npm are not installed: apt-get install nodejs npm"
    return "" if (FETCHED / "jest").is_dir() else f"Jest and others are not installed in {FETCHED}"


MISSING = _missing()
"""The reason why no project can be installed; empty if it can be."""


def install(folder: Path) -> None:
    """Install the package in a folder from its tarball, without the network, and link the packages of others."""
    run(folder, "npm", "pack", PACKAGE, "--silent", "--cache", ROOT / ".cache" / "npm")
    (tarball,) = folder.glob("*.tgz")
    (folder / "package.json").write_text('{"name": "project", "private": true}')
    run(
        folder, "npm", "install", "--no-save", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", "--silent",
        "--cache", ROOT / ".cache" / "npm", f"./{tarball.name}",
    )  # fmt: skip
    for other in FETCHED.iterdir():
        if not other.name.startswith("."):
            (folder / "node_modules" / other.name).symlink_to(other)


def jest(folder: Path, *tests: str) -> str:
    """Run tests with Jest, and return what it prints."""
    program = FETCHED / "jest/bin/jest.js"
    return run(folder, "node", program, "--rootDir", ".", "--testTimeout", int(PATIENCE * 1000), *tests)


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which a project uses the `waypost` command of these tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WAYPOST_SERVE_"))}
    return inherited | {"WAYPOST_COMMAND": str(COMMAND), "NO_COLOR": "1"} | more


def run(folder: Path, *command: object) -> str:
    """Run a command in a folder, and return what it prints. Raises `AssertionError` if it fails."""
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, env=environment(),
        timeout=4 * PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
