"""The environment of a page's reader: a shell, a Python interpreter, servers and files, in a separate directory.

The shell is a real bash. It runs one block after the other, and so keeps variables, functions and its directory.
`waypost serve` is started in the background, as in the reader's first terminal, and the shell waits until it is ready.
Every other command runs unchanged. There are three differences from a reader's machine: servers listen on free ports of
127.0.0.1 instead of the ports on the page, pip uses no package index, and the AWS tools make only one attempt.
"""

import difflib
import json
import os
import re
import select
import signal
import smtplib
import subprocess
import sys
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self

import boto3
import botocore.config
import pytest

from tests.docs_blocks import ci_files
from tests.docs_blocks.blocks import Block
from tests.kit import javascript
from waypost.config import file as settings_file
from waypost.config import sources
from waypost.config.file import SettingsFile
from waypost.config.types import BadSetting
from waypost.host.data_directory import DataDirectory

SECONDS = 120
"""The maximum time, in seconds, for a block. Most blocks take less than a second."""

SECRET = "a secret of some length"
"""The content of the files with secrets that settings files name."""

NODE_MODULES = Path(__file__).parents[2] / ".venv" / "senders" / "node_modules"
"""The npm packages that JavaScript blocks can import. `make slow` fetches them if npm is installed."""

LISTENS = ("--http", "--https", "--smtp", "--smtps", "--lmtp")
"""The options of `waypost serve` whose value is HOST:PORT."""

PREAMBLE = """
waypost() {
    if [ "$1" != serve ]; then
        command waypost "$@"
    elif [ "$BASH_SUBSHELL" -gt 0 ]; then  # in the background, as on the page
        exec waypost "$@"
    else
        shift
        for word; do printf '%s\\0' "$word"; done > ~/.arguments
        env -0 > ~/.environment
        echo serve >&TO
        read -r answer <&FROM
        cat ~/.banner
        [ "$answer" = ready ]
    fi
}
trap 'echo "line $LINENO: exit code $?: $BASH_COMMAND" > ~/.failed' ERR
set -E
"""

INTERPRETER = """
import json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # output of the blocks must not be read as a result
names = {"__name__": "__main__"}
for line in sys.stdin:
    text, place, first, environment = json.loads(line)
    os.environ.update(environment)
    try:
        exec(compile("\\n" * (first - 1) + text, place, "exec"), names)
        failed = ""
    except BaseException:
        failed = traceback.format_exc()
    print(json.dumps(failed), file=answers, flush=True)
"""
"""A Python program that runs blocks in one namespace. For each block, it prints the traceback, or an empty string."""

ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")

VARIES = [
    (ID, "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|\+00:00| UTC)"), "TIME"),
    (re.compile(r"\b[\d,.]+ (octets|bytes)"), r"N \1"),
    (re.compile(r"(127\.0\.0\.1\]?):\d+"), r"\1:PORT"),
    (re.compile(r"\b(?!(\d)\1{11})(?=[0-9a-f]*\d)[0-9a-f]{12}\b"), "DIGEST"),
    (re.compile(r"(aws_(?:secret_access_key|session_token) = )\S+"), r"\1SECRET"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
]
"""Parts of outputs that differ in each run, and their replacements for the comparison with the page."""


class BlockFailed(AssertionError):
    """The result of a block differs from the page. The message is for the author of the page."""


class Session:
    """The environment of a page's reader."""

    def __init__(self, home: Path, virtual_environment: Path = Path(sys.prefix)) -> None:
        """`home` is an empty directory. `virtual_environment` has the commands `waypost` and `python`."""
        self.home = home
        self._virtual_environment = virtual_environment
        self.replaced: dict[str, str] = {}
        """Ids, ports and paths on the page, and the values of this run that replace them."""
        self.environment = _environment(home, virtual_environment / "bin")
        self.stdin = ""
        """The input that the reader types if a command on the page asks for it."""
        self._servers: dict[str, _Server] = {}
        self._python: subprocess.Popen[str] | None = None
        self._files = ExitStack()

    def __enter__(self) -> Self:
        (self.home / ".tmp").mkdir()
        (self.home / ".venv").symlink_to(self._virtual_environment)
        said, self._to_shell = os.pipe()
        self._from_shell, says = os.pipe()
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._opened(".shell"),
            text=True,
            cwd=self.home,
            env=self.environment,
            pass_fds=(said, says),
            start_new_session=True,  # without a terminal, so that commands read passwords from standard input
        )
        os.close(said)
        os.close(says)
        self._done = f"echo done >&{says}"
        self._type(PREAMBLE.replace("&TO", f"&{says}").replace("&FROM", f"&{said}"))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)  # also ends its background processes
        self._shell.wait()
        with suppress(BrokenPipeError):
            self._shell.stdin.close()
        if "_connect" in vars(self):
            self._connect.close()
        os.close(self._from_shell)
        os.close(self._to_shell)
        if self._python:
            self._python.stdin.close()
            self._python.wait(SECONDS)
            self._python.stdout.close()
        self._files.close()
        for server in self._servers.values():
            server.end(is_judged=kind is None)

    def run(self, block: Block) -> None:
        """Run a block. Raises `BlockFailed`."""
        run = getattr(self, f"_run_{block.language}")
        run(block)

    def do(self, commands: str) -> str:
        """Run commands in the shell and return their output. Raises `BlockFailed`."""
        return self._in_shell(self._as_here(commands), "commands from the text before a block")

    def write_secret(self, name: str) -> None:
        """Write a file with a secret that only the owner of the file may read."""
        (self.home / name).write_text(SECRET)
        (self.home / name).chmod(0o600)

    def create(self, address: str, **members: object) -> str:
        """Create an email address on the server that was started last, and return its id."""
        instance = self._connect.list_instances()["InstanceSummaryList"][0]["Id"]
        made = self._connect.create_email_address(InstanceId=instance, EmailAddress=address, **members)
        return str(made["EmailAddressId"])

    def associate(self, alias: str, primary: str) -> None:
        """Make an email address the alias of another email address. Both arguments are ids."""
        self._connect.associate_email_address_alias(
            InstanceId=self._connect.list_instances()["InstanceSummaryList"][0]["Id"],
            EmailAddressId=primary,
            AliasConfiguration={"EmailAddressId": alias},
        )

    def send(self, recipient: str, message: str, *, sender: str, is_refused: bool = False) -> None:
        """Send a message to the server that was started last, from a client with the name client.example."""
        host, _, port = self._run["smtp"].rpartition(":")
        with smtplib.SMTP(host, int(port), local_hostname="client.example", timeout=SECONDS) as client:
            client.ehlo()
            client.mail(sender)
            assert (client.rcpt(recipient)[0] != 250) == is_refused
            if not is_refused:
                assert client.data(message)[0] == 250

    def advance(self, *steps: str) -> None:
        """Advance the virtual clock in steps. After each step, all due deliveries have been attempted."""
        for step in steps:
            self.do(
                'curl --silent --fail --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" '
                "--header 'content-type: application/json' "
                f"""--data '{{"by": "{step}"}}' "http://$WAYPOST_HTTP/_waypost/clock/advance" """
            )

    @cached_property
    def _connect(self) -> Any:
        profile = DataDirectory(self.home / "waypost-data").profiles()[0]
        return boto3.client(
            "connect",
            endpoint_url=f"http://{self._run['http']}",
            region_name=profile.region,
            aws_access_key_id=profile.key.id,
            aws_secret_access_key=profile.key.secret,
            config=botocore.config.Config(proxies={}),
        )

    @property
    def _run(self) -> dict[str, str]:
        """The addresses of the server that was started last."""
        return list(self._servers.values())[-1].run

    def end_servers(self) -> None:
        """Stop each running server with Ctrl-C, and check that it ends without an error."""
        while self._servers:
            self._servers.popitem()[1].end()

    # Each method runs one kind of block

    def _run_bash(self, block: Block) -> None:
        self._in_shell(self._as_here(block.text), block.place)

    def _run_console(self, block: Block) -> None:
        for command, expected in _dialogue(block):
            shown = self._in_shell(self._as_here(command), block.place)
            if _compared(shown) != _compared(expected):
                lines = difflib.unified_diff(
                    _compared(expected).splitlines(),
                    _compared(shown).splitlines(),
                    "the page",
                    "the command",
                    lineterm="",
                )
                raise BlockFailed(f"{block.place}: $ {command.rstrip()}\nprints something else:\n" + "\n".join(lines))
            self.replaced.update(zip(ID.findall(expected), ID.findall(shown), strict=True))

    def _run_python(self, block: Block) -> None:
        if re.search("^ *def test_", block.text, re.MULTILINE):
            (self.home / "test_example.py").write_text(block.text, encoding="utf-8")
            is_unittest = "(unittest.TestCase)" in block.text or ", unittest.TestCase)" in block.text
            run = "-m unittest -q" if is_unittest else "-m pytest -q -p no:cacheprovider --rootdir ."
            self._in_shell(f"python {run} test_example.py", block.place)
        elif failed := self.evaluate(block.text, block.page, block.line):
            raise BlockFailed(f"{block.place}: {failed}")

    def evaluate(self, text: str, place: str = "", line: int = 1) -> str:
        """Run Python code in the namespace of the earlier blocks; return the traceback, or an empty string."""
        self._in_shell("env -0 > ~/.environment", place)
        if self._python is None:
            self._python = subprocess.Popen(
                [self._virtual_environment / "bin" / "python", "-c", INTERPRETER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._opened(".python"),
                text=True,
                cwd=self.home,
                env=self.environment,
            )
        print(json.dumps([text, place, line, self._exported()]), file=self._python.stdin, flush=True)
        failed: str = json.loads(self._python.stdout.readline())
        return failed

    def _run_javascript(self, block: Block) -> None:
        """Run a module or a file of tests with Node, or a file of tests with Jest."""
        if NODE_MODULES.exists() and not (self.home / "node_modules").exists():
            (self.home / "node_modules").symlink_to(NODE_MODULES)
        name = block.file or "example.mjs"
        (self.home / name).write_text(self._as_here(block.text), encoding="utf-8")
        jest = f"{javascript.FETCHED}/jest/bin/jest.js --rootDir . --testTimeout {SECONDS}000 "
        runner = "--test " if "node:test" in block.text else jest if "beforeAll(" in block.text else ""
        self._in_shell(f"node {runner}{name}", block.place)

    def _run_toml(self, block: Block) -> None:
        """Write a settings file, which later blocks may use, and check that the server would accept it."""
        file = self._written(block)
        for name in re.findall(r'(?:secret|password)_file = "(.*)"', block.text):
            self.write_secret(name)
        with pytest.MonkeyPatch.context() as environment:
            for name in re.findall(r'secret_env = "(.*)"', block.text):
                environment.setenv(name, SECRET)
            try:
                found = settings_file.read(file)
                sources.read({}, {}, found)
            except BadSetting as error:
                raise BlockFailed(f"{block.place}: {error}") from error
        assert found != SettingsFile(), f"{block.place}: the settings file is empty"

    def _run_json(self, block: Block) -> None:
        """Write the file that the text names; or, if it exists, compare its members with the block.

        If the text names no file, the surroundings of the page check the block.
        """
        shown = json.loads(block.text)
        file = self.home / block.file
        if block.file and not file.exists():
            if file.name == "run.json":
                raise BlockFailed(f"{block.place}: no server has written {block.file} yet")
            self._written(block)
        elif block.file:
            there = json.loads(file.read_text(encoding="utf-8"))
            found = {name: there[name] for name in shown if name in there}
            compare_members(shown, found, f"{block.place}: {block.file}")

    def _run_yaml(self, block: Block) -> None:
        """Run the jobs of a file for a CI service, each of its shells with `set -e`."""
        for script in ci_files.scripts_of(self._as_here(block.text)):
            self._in_shell(f"(\nset -e\n{script}\n)", block.place)

    def _run_ini(self, block: Block) -> None:
        self._written(block)

    # Helpers

    def _opened(self, name: str) -> IO[bytes]:
        """Open a file for the output of a process. The file is closed at the end of the session."""
        return self._files.enter_context((self.home / name).open("wb"))

    def _written(self, block: Block) -> Path:
        """Write the block to the file that the text before it names, and return its path."""
        if not block.file:
            raise BlockFailed(f"{block.place}: the text before the block does not name its file, in backticks")
        file = self.home / block.file.replace("~", str(self.home))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._as_here(block.text), encoding="utf-8")
        return file

    def _as_here(self, text: str) -> str:
        """Replace the ids, ports and paths of the page with those of this run."""
        for there, here in self.replaced.items():
            text = text.replace(there, here)
        return text

    def _in_shell(self, commands: str, place: str) -> str:
        """Run commands and return their output. Raises `BlockFailed` if a command fails."""
        script, printed = self.home / ".block", self.home / ".printed"
        script.write_text(f"set -e\n{commands}\nset +e\n", encoding="utf-8")
        (self.home / ".stdin").write_text(self.stdin, encoding="utf-8")
        self._type(f"source ~/.block < ~/.stdin > ~/.printed 2>&1; {self._done}\n")
        while (heard := self._hear()) == "serve":
            os.write(self._to_shell, f"{self._serve()}\n".encode())
        shown = printed.read_text(encoding="utf-8", errors="replace") if printed.exists() else ""
        if heard != "done":
            failed = self.home / ".failed"
            reason = failed.read_text(encoding="utf-8") if failed.exists() else heard
            logs = "".join(f"\nThe log of {name}:\n{server.log_text}" for name, server in self._servers.items())
            raise BlockFailed(f"{place}: a command failed: {reason}\n{commands}\n\nIt printed:\n{shown}{logs}")
        return shown

    def _hear(self) -> str:
        """Wait for the shell's report, which is `done` or `serve`. If there is none, return the reason."""
        if not select.select([self._from_shell], [], [], SECONDS)[0]:
            return f"nothing happened in {SECONDS} s\n"
        return os.read(self._from_shell, 100).decode().strip() or (self.home / ".shell").read_text(encoding="utf-8")

    def _type(self, text: str) -> None:
        self._shell.stdin.write(text)
        self._shell.stdin.flush()

    def _exported(self) -> dict[str, str]:
        octets = (self.home / ".environment").read_text(encoding="utf-8")
        return dict(line.split("=", 1) for line in octets.split("\0") if line)

    def _serve(self) -> str:
        """Start a server with the arguments given to the shell. Stop a server on the same directory first."""
        arguments = (self.home / ".arguments").read_text(encoding="utf-8").split("\0")[:-1]
        for option in LISTENS:
            if option in arguments:
                arguments[arguments.index(option) + 1] = "127.0.0.1:0"
        name = arguments[arguments.index("--data") + 1] if "--data" in arguments else "waypost-data"
        if name in self._servers:
            self._servers.pop(name).end()
        server = _Server(self.home, name, arguments, self._exported())
        self._servers[name] = server
        if server.is_ready:
            run = server.run
            self.replaced |= {"127.0.0.1:8025": run["http"], "127.0.0.1:1025": run["smtp"]}
        return "ready" if server.is_ready else "failed"


class _Server:
    """A process of `waypost serve`."""

    def __init__(self, home: Path, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        here = Path(environment["PWD"])
        self._data, self._log = here / name, home / f".log-{len(list(home.glob('.log-*')))}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["waypost", "serve", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=here,
                env=environment,
                start_new_session=True,
            )
        banner = ""
        while (line := self._process.stdout.readline()) and "Ctrl-C stops the server" not in line:
            banner += line
        self.is_ready = bool(line)
        (home / ".banner").write_text(banner + line, encoding="utf-8")

    @property
    def run(self) -> dict[str, str]:
        """The content of its `run.json`."""
        return dict(json.loads((self._data / "run.json").read_text(encoding="utf-8")))

    @property
    def log_text(self) -> str:
        """Its log so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def end(self, *, is_judged: bool = True) -> None:
        """Stop the server with Ctrl-C.

        Raises `BlockFailed` if the exit code is not 0, or if the server has logged an error or an email address.
        """
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(SECONDS)
        self._process.stdout.close()
        if is_judged and (code != 0 or re.search(r'"level":"error"|\w@\w', self.log_text)):
            raise BlockFailed(f"the server of {self._data} ended with exit code {code}. Its log:\n{self.log_text}")


def _environment(home: Path, commands: Path) -> dict[str, str]:
    """Return the environment of a reader who has set none of the variables that Waypost and AWS SDKs read."""
    return {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(home / ".tmp"),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "WAYPOST_SERVE_HTTP": "127.0.0.1:0",
        "WAYPOST_SERVE_SMTP": "127.0.0.1:0",
        "WAYPOST_SERVE_AUTHENTICATION": "off",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "NO_PROXY": "*",
    }


def _dialogue(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that the page shows."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    if parts[0]:
        raise BlockFailed(f"{block.place}: a console block begins with `$ ` and a command")
    found = []
    for part in parts[1:]:
        lines = part.splitlines(keepends=True)
        end = next(place for place, line in enumerate(lines, 1) if not line.endswith("\\\n"))
        found.append(("".join(lines[:end]), "".join(lines[end:])))
    return found


def _compared(output: str) -> str:
    """Return the output, with the parts that differ in each run replaced."""
    for pattern, stands in VARIES:
        output = pattern.sub(stands, output)
    return output.strip()


def compare_members(shown: dict[str, object], found: dict[str, object], what: str) -> None:
    """Raise `BlockFailed` unless the object on the page has the same members as `found`, of the same types."""
    kinds = [{name: type(value).__name__ for name, value in members.items()} for members in (shown, found)]
    if kinds[0] != kinds[1]:
        wrong = sorted({name for name, _ in kinds[0].items() ^ kinds[1].items()})
        raise BlockFailed(f"{what} differs in {', '.join(wrong)}. The actual object is {json.dumps(found, indent=2)}")
