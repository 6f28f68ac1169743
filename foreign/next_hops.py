"""Context managers that run other projects' mail servers as next hops, and yield their targets and stored messages."""

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
"""The directory in which `make foreign` installs npm packages."""


@dataclass(frozen=True)
class NextHop:
    """A server to which Waypost can send mail."""

    target: str
    """The server's address in the format of a route's `to`."""
    kept: Callable[[], list[bytes]]
    """Returns the messages that the server has stored, as bytes."""


def why_no_package(name: str) -> str | None:
    """Return the reason why an npm package cannot be used on this machine; None if it can be used."""
    if shutil.which("node") is None:
        return "Node.js is not installed: apt-get install nodejs npm"
    return None if (JAVASCRIPT / "node_modules" / name).is_dir() else f"npm could not install {name}"


@contextmanager
def smtp_server(directory: Path, protocol: str):
    """Run npm's smtp-server with SMTP or LMTP."""
    directory.mkdir()
    command = ["node", HERE / "javascript" / "server.mjs", directory, protocol]
    with ended(
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "FOREIGN": str(JAVASCRIPT)})
    ) as process:
        port = int(process.stdout.readline())
        yield NextHop(f"{protocol}://127.0.0.1:{port}", lambda: files_in(directory))


@contextmanager
def haraka(directory: Path):
    """Run Haraka with one plugin, which stores messages."""
    kept, port = directory / "kept", free_port()
    package = JAVASCRIPT / "node_modules" / "Haraka"
    shutil.copytree(package / "config", directory / "config")  # Haraka does not start without some of these files
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
    """Run Exim, in its own Debian root directory. It delivers messages to a Maildir immediately."""
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
    """Run Dovecot's LMTP server, in a Debian root directory, with a Maildir for each address."""
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
    """Yield a process, and stop it at the end of the block."""
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
    """Wait until a server accepts connections. Fail with the server's log if the server ends."""

    def is_there():
        assert process.poll() is None, log.read_text(errors="replace")
        return answers(port)

    wait_until(is_there)


def files_in(directory: Path) -> list[bytes]:
    """Return the messages in a directory, except messages that are still being written."""
    paths = directory.iterdir() if directory.exists() else []
    return [path.read_bytes() for path in sorted(paths) if path.suffix != ".part"]
