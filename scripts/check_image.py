"""Runs a container image as its settings say, on a read-only root, and sends a message (`make image`).

The script runs as root. It mounts the image with buildah, and starts its command in a mount namespace of its own: as
the image's user, with the image's environment, and with only the image's volume writable. So it needs no container
engine.
"""

import json
import os
import shlex
import shutil
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from scripts.check_install import PATIENCE, keys_in

BUILDAH = shlex.split(os.environ.get("BUILDAH", "buildah"))

READ_ONLY = """
set -eu
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount --bind "$2" "$1/data"
shift 2
exec "$@"
"""
"""A script that makes a root directory read-only, mounts a directory as its /data, and runs a command."""


def main() -> None:
    """Check the image that the command line names."""
    (image,) = sys.argv[1:]
    container = buildah("from", image)
    try:
        root = Path(buildah("mount", container))
        check(root, json.loads(buildah("inspect", "--type", "container", container))["Docker"]["config"])
        size = sum(one.lstat().st_size for one in root.rglob("*") if not one.is_symlink())
        ours = sum(one.lstat().st_size for one in (root / "opt").rglob("*") if not one.is_symlink())
    finally:
        buildah("rm", container)
    print(
        f"The image {image} works: {size / 1e6:.0f} MB, of which {ours / 1e6:.0f} MB are Waypost and its dependencies."
    )


def check(root: Path, config: dict[str, Any]) -> None:
    """Start the server of an image, run its health check, make an address, send mail, and read it with a command."""
    user, _, group = config["User"].partition(":")
    assert user not in ("", "0", "root"), "the image has no user of its own"
    assert [*config["Volumes"]] == ["/data"]
    for directory in root.rglob("*"):
        writable = directory.is_dir() and not directory.is_symlink() and directory.stat().st_uid == int(user)
        assert not writable or directory == root / "data", f"the user can write to {directory}"
    with tempfile.TemporaryDirectory() as place:
        data = Path(place, "data")
        shutil.copytree(root / "data", data)
        for path in (data, Path(place)):
            os.chown(path, int(user), int(group))
        run = Runner(root, data, config, f"{user}:{group}")
        with run.served() as ready:
            connect = boto3.client(
                "connect",
                endpoint_url=ready["api_url"],
                region_name=ready["region"],
                **keys_in(data / "credentials"),
            )
            connect.create_email_address(InstanceId=ready["instance_id"], EmailAddress="support@example.com")
            with smtplib.SMTP(ready["smtp"]["host"], ready["smtp"]["port"], timeout=PATIENCE) as mail:
                mail.sendmail("ann@example.org", ["support@example.com"], b"Subject: It works\r\n\r\nHello.\r\n")
            (message,) = json.loads(run.output("waypost", "inbox", "--json"))["messages"]
            assert message["subject"] == "It works", message
            kind, *health = config["Healthcheck"]["Test"]
            assert kind == "CMD"
            run.output(*health)
            refused = run.started("python3", "-c", "open('/opt/waypost/x', 'w')", stderr=subprocess.PIPE)
            assert "Read-only file system" in refused.communicate(timeout=PATIENCE)[1]


class Runner:
    """Runs programs of an image as its user, on a read-only root."""

    def __init__(self, root: Path, data: Path, config: dict[str, Any], user: str) -> None:
        self._config = config
        script = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(root), str(data)]
        self._prefix = [*script, "chroot", "--userspec", user, "--groups=", str(root)]
        self._environment = dict(line.split("=", 1) for line in config["Env"])

    def started(self, *command: str, **settings: Any) -> "subprocess.Popen[str]":
        """Start a program."""
        return subprocess.Popen([*self._prefix, *command], env=self._environment, text=True, **settings)

    def output(self, *command: str) -> str:
        """Run a program, which must succeed, and return its output."""
        with self.started(*command, stdout=subprocess.PIPE) as process:
            out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, command
        return out

    @contextmanager
    def served(self) -> Iterator[dict[str, Any]]:
        """Run the image's command, on free ports, and yield the line that it prints when it is ready."""
        ports = ("--http", "0.0.0.0:0", "--smtp", "0.0.0.0:0")
        command = [*self._config["Entrypoint"], *self._config["Cmd"], "--ready-json", *ports]
        with self.started(*command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            try:
                yield json.loads(process.stdout.readline())
            finally:
                process.terminate()
                process.wait(PATIENCE)


def buildah(*arguments: str) -> str:
    """Run buildah, and return its output."""
    return subprocess.run([*BUILDAH, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
