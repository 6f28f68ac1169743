"""Mail servers that others wrote, as next hops: each a context manager that yields its target and what it has kept."""

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from foreign import roots
from foreign.ports import answers, free_port
from tests.kit.mail_programs import exim as exim_program
from tests.kit.patience import wait_until

HERE = Path(__file__).parent
JAVASCRIPT = Path(__file__).parents[1] / ".cache" / "foreign" / "javascript"
"""Where `make foreign` installs the packages of npm."""


@dataclass(frozen=True)
class NextHop:
    """A server that mail can be sent to."""

    target: str
    """As the `to` of a route names it."""
    kept: Callable[[], list[bytes]]
    """The messages that it has kept, as octets."""


def why_no_package(name: str) -> str | None:
    """Why a package of npm cannot be used here, or None if it can."""
    if shutil.which("node") is None:
        return "Node.js is not installed: apt-get install nodejs npm"
    return None if (JAVASCRIPT / "node_modules" / name).is_dir() else f"npm could not install {name}"


@contextmanager
def smtp_server(directory: Path, protocol: str):
    """npm's smtp-server, by SMTP or LMTP."""
    directory.mkdir()
    command = ["node", HERE / "javascript" / "server.mjs", directory, protocol]
    with ended(
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "FOREIGN": str(JAVASCRIPT)})
    ) as process:
        port = int(process.stdout.readline())
        yield NextHop(f"{protocol}://127.0.0.1:{port}", lambda: files_in(directory))


@contextmanager
def haraka(directory: Path):
    """Haraka with one plugin, which keeps messages."""
    kept, port = directory / "kept", free_port()
    package = JAVASCRIPT / "node_modules" / "Haraka"
    shutil.copytree(package / "config", directory / "config")  # Haraka does not start without some of these
    for name in ("plugins", "kept"):
        (directory / name).mkdir()
    shutil.copy(HERE / "javascript" / "keep.js", directory / "plugins")
    limits = directory / "config" / "connection.ini"
    # By default Haraka breaks lines of more than 992 octets in two, which RFC 5321 section 4.5.3.1.6 allows up to 1000.
    limits.write_text(limits.read_text().replace("data_line_length=992", "data_line_length=1000"))
    (directory / "config" / "plugins").write_text("keep\n")
    (directory / "config" / "smtp.ini").write_text(f"listen=127.0.0.1:{port}\nnodes=0\n")
    (directory / "config" / "me").write_text("next-hop.example\n")
    command = ["node", package / "bin" / "haraka", "-c", directory]
    with (
        (directory / "log").open("w") as log,
        ended(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "KEPT": str(kept)})) as process,
    ):
        wait_for(port, process, directory / "log")
        yield NextHop(f"smtp://127.0.0.1:{port}", lambda: files_in(kept))


_DELIVERS = """\
here:
  driver = accept
  transport = keep
begin transports
keep:
  driver = appendfile
  maildir_format
  directory = {directory}/spool/maildir
  create_directory
  user = Debian-exim
  envelope_to_add = false
  return_path_add = false
  delivery_date_add = false
"""


@contextmanager
def exim(_: Path):
    """Exim, in a Debian root of its own, which delivers into a maildir at once."""
    port = free_port()
    with roots.directory("exim") as outside:
        directory = outside / "exim"
        config = exim_program.configure(directory, _DELIVERS, queue_only="false")
        command = roots.command("exim", "/usr/sbin/exim4")
        options = ["-C", config, "-bdf", "-q1m", "-odf", "-oX", f"127.0.0.1.{port}", "-oP", directory / "pid"]
        with (
            (directory / "output").open("w") as output,
            ended(subprocess.Popen([*command, *options], stdout=output, stderr=output)) as process,
        ):
            wait_for(port, process, directory / "output")
            yield NextHop(f"smtp://127.0.0.1:{port}", lambda: files_in(directory / "spool" / "maildir" / "new"))


_DOVECOT = """\
protocols = lmtp
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
ssl = no
mail_location = maildir:{directory}/mail/%u
first_valid_uid = 1
userdb {{
  driver = static
  args = uid=mail gid=mail home={directory}/mail/%u
}}
passdb {{
  driver = static
  args = nopassword=y
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


@contextmanager
def dovecot(_: Path):
    """Dovecot's LMTP server, in a Debian root of its own, with a maildir for each address."""
    port = free_port()
    with roots.directory("exim") as directory:
        for name in ("mail", "state"):
            (directory / name).mkdir()
            (directory / name).chmod(0o777)
        config = directory / "dovecot.conf"
        config.write_text(_DOVECOT.format(directory=directory, port=port))
        command = roots.command("exim", "/usr/sbin/dovecot")
        with (
            (directory / "output").open("w") as output,
            ended(subprocess.Popen([*command, "-F", "-c", config], stdout=output, stderr=output)) as process,
        ):
            wait_for(port, process, directory / "output")
            yield NextHop(
                f"lmtp://127.0.0.1:{port}",
                lambda: [path.read_bytes() for path in sorted((directory / "mail").glob("*/new/*"))],
            )


@contextmanager
def ended(process: subprocess.Popen):
    """A process that does not outlive the block."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def wait_for(port: int, process: subprocess.Popen, log: Path):
    """Wait until a server answers. Fails with its log if it ends."""

    def is_there():
        assert process.poll() is None, log.read_text(errors="replace")
        return answers(port)

    wait_until(is_there)


def files_in(directory: Path) -> list[bytes]:
    """The messages in a directory, without those that are being written."""
    paths = directory.iterdir() if directory.exists() else []
    return [path.read_bytes() for path in sorted(paths) if path.suffix != ".part"]
