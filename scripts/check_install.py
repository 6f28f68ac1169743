"""Installs the wheel as a user does, without a compiler, and sends a message (`make installs`).

For each Python, the script prints a row of a table: the number of packages and their size, and the processor time of
two commands. The packages come from the package index, in the newest versions that fit.
"""

import argparse
import json
import os
import re
import resource
import shutil
import smtplib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).parents[1]

TIMES = 7
"""How often a command is measured. The median counts."""

PATIENCE = 120.0
"""Seconds to wait for a server that starts or stops."""

VERSIONS = ("3.11", "3.12", "3.13", "3.14")

_LISTED = """
import importlib.metadata as metadata, json, platform
own = {"pip", "setuptools", "wheel"}
found = [one for one in metadata.distributions() if one.metadata["Name"].lower() not in own]
paths = {str(file.locate()) for one in found for file in one.files or () if "__pycache__" not in str(file)}
import os
size = sum(os.path.getsize(path) for path in paths if os.path.exists(path))
print(json.dumps({"python": platform.python_version(), "packages": len(found), "size": size}))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment, which may be in the root directory of another system."""

    path: Path
    """The path of the environment, as this system sees it."""
    root: Path | None = None

    def run(self, *command: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment. Only the programs of the environment are in its PATH."""
        return subprocess.run(self.command(*command), env=self.variables, check=True, text=True, **settings)

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command that runs a program of the environment."""
        return [*_prefix(self.root), str(self.inside / "bin" / program), *arguments]

    @property
    def inside(self) -> Path:
        """The path of the environment, as its own programs see it."""
        return Path("/") / self.path.relative_to(self.root) if self.root else self.path

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of the programs: no compiler, an empty HOME, and how pip reaches its index."""
        passed = {name: value for name, value in os.environ.items() if re.match("PIP_|SSL_CERT_FILE$", name)}
        home = {"HOME": str(self.inside), "PATH": str(self.inside / "bin"), "CC": "no-compiler", "CXX": "no-compiler"}
        return {**passed, **home, "LANG": "C.UTF-8"}


def main() -> None:
    """Check each Python that the command line names, or each supported Python that is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help="the wheel; by default the only one in dist")
    parser.add_argument("--root", type=Path, help="the root directory of another system that has the Pythons")
    parser.add_argument("--before", type=Path, help="another wheel to measure side by side")
    parser.add_argument("pythons", nargs="*", metavar="PYTHON")
    given = parser.parse_args()
    wheels = [one for one in (given.before, given.wheel or _built()) if one]
    pythons = given.pythons or list(found_pythons())
    if not pythons:
        sys.exit("No supported Python was found.")
    print("| wheel | Python | packages | size | `waypost -V` | `waypost inbox` |\n|---|---|---|---|---|---|")
    for python in pythons:
        with tempfile.TemporaryDirectory(dir=given.root / "tmp" if given.root else None) as place:
            made = [made_environment(python, Path(place), wheel, given.root) for wheel in wheels]
            check(made[-1])
            for line in rows(wheels, made):
                print(line, flush=True)


def found_pythons() -> Iterator[str]:
    """Yield the path of the newest interpreter of each supported version, from pyenv or PATH."""
    for version in VERSIONS:
        built = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        found = str(built[-1]) if built else shutil.which(f"python{version}")
        if found:
            yield found
        else:
            print(f"Python {version} is not installed, and is skipped", file=sys.stderr)


def made_environment(python: str, place: Path, wheel: Path, root: Path | None) -> Environment:
    """Return a new virtual environment, into which pip has installed the wheel."""
    environment = Environment(Path(tempfile.mkdtemp(dir=place)), root)
    subprocess.run([*_prefix(root), python, "-m", "venv", str(environment.inside)], check=True)
    copied = shutil.copy(wheel, environment.path)
    inside = str(environment.inside / Path(copied).name)
    environment.run("python", "-m", "pip", "install", "--quiet", "--no-cache-dir", inside)
    environment.run("python", "-m", "pip", "check", stdout=subprocess.DEVNULL)
    return environment


def check(environment: Environment) -> None:
    """Start the server of an environment, make an address, send mail to it, and read the mail with a command."""
    with served(environment, "--ready-json") as ready:
        keys = keys_in(environment.path / "data" / "credentials")
        connect = boto3.client("connect", endpoint_url=ready["api_url"], region_name=ready["region"], **keys)
        connect.create_email_address(InstanceId=ready["instance_id"], EmailAddress="support@example.com")
        with smtplib.SMTP(ready["smtp"]["host"], ready["smtp"]["port"], timeout=PATIENCE) as mail:
            mail.sendmail("ann@example.org", ["support@example.com"], b"Subject: It works\r\n\r\nHello.\r\n")
        shown = environment.run("waypost", "inbox", "--json", "--data", ready["data"], stdout=subprocess.PIPE).stdout
    (message,) = json.loads(shown)["messages"]
    assert message["subject"] == "It works", message


@contextmanager
def served(environment: Environment, *options: str) -> Iterator[dict[str, Any]]:
    """Run the server of an environment on free ports, and yield the line that it prints when it is ready."""
    where = ("--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--data", str(environment.inside / "data"))
    command = environment.command("waypost", "serve", *options, *where)
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, env=environment.variables, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout
        try:
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                raise RuntimeError(f"The server did not start: {log.read()}")
            yield json.loads(line)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def rows(wheels: Sequence[Path], environments: Sequence[Environment]) -> Iterator[str]:
    """Yield a row of the table for each environment. The environments are measured in turn."""
    commands = (("waypost", "-V"), ("waypost", "inbox", "--data", "/no-such-directory"))
    times: dict[tuple[int, int], list[float]] = {}
    for _ in range(TIMES):
        for number, environment in enumerate(environments):
            for place, command in enumerate(commands):
                times.setdefault((number, place), []).append(_processor_time(environment, command))
    for number, (wheel, environment) in enumerate(zip(wheels, environments, strict=True)):
        listed = json.loads(environment.run("python", "-c", _LISTED, stdout=subprocess.PIPE).stdout)
        took = " | ".join(f"{statistics.median(times[number, place]):.2f} s" for place in range(len(commands)))
        size = f"{listed['size'] / 1e6:.1f} MB"
        yield f"| {wheel.name} | {listed['python']} | {listed['packages']} | {size} | {took} |"


def _processor_time(environment: Environment, command: Sequence[str]) -> float:
    """Return the processor time of a command and its child processes, in seconds. It does not depend on the load."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(environment.command(*command), env=environment.variables, check=False, **quiet)  # type: ignore[call-overload]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _prefix(root: Path | None) -> list[str]:
    return [shutil.which("chroot") or "chroot", str(root)] if root else []


def keys_in(credentials: Path) -> dict[str, str]:
    """Return the access key in a credentials file, as arguments of boto3."""
    lines = dict(line.split(" = ") for line in credentials.read_text(encoding="utf-8").splitlines() if " = " in line)
    return {name: lines[name] for name in ("aws_access_key_id", "aws_secret_access_key")}


def _built() -> Path:
    (wheel,) = (ROOT / "dist").glob("*.whl")
    return wheel


if __name__ == "__main__":
    main()
