"""What all commands share for programs: exit codes, and the form of `--json`."""

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import typer


class Exit(IntEnum):
    """How a command ended. The reference page of the commands is made of this table."""

    DONE = 0
    REFUSED = 1
    MISUSED = 2
    """Typer exits with it by itself."""
    NO_SERVER = 3


MEANINGS = {
    Exit.DONE: "It was done.",
    Exit.REFUSED: "The server or the store refused, and says why; a file or a setting cannot be used; mail that "
    "`explain` is asked about would be refused; a delivery that `routes test` follows did not arrive.",
    Exit.MISUSED: "The command line is wrong: a command, an option or an argument is unknown or missing.",
    Exit.NO_SERVER: "No server can answer: none is running on the data directory, it was killed, or it fails (HTTP "
    "5xx), as while its database is away. The same command may succeed later.",
}
"""What each code says."""

JSON: dict[str, tuple[str, ...]] = {
    "env": (),
    "inbox": ("messages",),
    "show": ("id", "received_at", "from", "subject", "deliveries", "trace"),
    "explain": ("address", "accepted", "deliveries", "because", "loop"),
    "trace": ("messages", "refusals"),
    "queue": ("deliveries", "destinations"),
    "dead list": ("dead_letters",),
    "dead show": ("id", "received_at", "from", "subject", "deliveries", "trace"),
    "dead redrive": ("redriven",),
    "replay": ("forwarded",),
    "purge": ("dry_run", "purged"),
    "keys create": ("Version", "AccessKeyId", "SecretAccessKey"),
    "keys list": ("keys",),
    "routes list": ("routes",),
    "routes test": ("id", "received_at", "from", "subject", "deliveries", "trace"),
}
"""The commands with `--json`, and the first members of their object; those of `env` are variables."""


def print_json(found: Mapping[str, Any]) -> None:
    """Print a result for programs: one JSON object. Lists in it have names, and moments are in UTC with a Z."""
    typer.echo(json.dumps(found, indent=2))
