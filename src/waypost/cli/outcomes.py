"""The interface that commands offer to programs: the exit codes, and the format of `--json` and of its errors."""

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import click


class Exit(IntEnum):
    """The exit codes of the commands. The reference page for the commands is generated from these codes and from
    `MEANINGS`.
    """

    DONE = 0
    REFUSED = 1
    MISUSED = 2
    """The exit code that click uses for an invalid command line."""
    NO_SERVER = 3


MEANINGS = {
    Exit.DONE: "The command succeeded.",
    Exit.REFUSED: "The server or the store refused the command and gave a reason, or a file or a setting "
    "cannot be used. `explain` exits with this code if the mail would be refused, `routes test` if a delivery did not "
    "arrive, `doctor` if there is a problem, and `verify` if something is wrong.",
    Exit.MISUSED: "The command line is invalid: a command, an option or an argument is unknown or missing.",
    Exit.NO_SERVER: "No server is using the data directory, or the server fails with HTTP 5xx, for example because "
    "its database is unavailable. The command may succeed if it is repeated later.",
}
"""The meaning of each exit code."""

JSON: dict[str, tuple[str, ...]] = {
    "ready": ("is_ready",),
    "doctor": ("is_healthy", "checked_at", "findings"),
    "env": (),
    "inbox": ("messages",),
    "search": ("messages", "refusals", "next", "indexed_until"),
    "show": ("id", "received_at", "from", "subject", "deliveries", "trace"),
    "explain": ("address", "accepted", "deliveries", "because", "loop"),
    "trace": ("messages", "refusals"),
    "queue": ("deliveries", "destinations", "is_held"),
    "dead list": ("dead_letters",),
    "dead show": ("id", "received_at", "from", "subject", "deliveries", "trace"),
    "dead redrive": ("redriven",),
    "dead remove": ("removed",),
    "replay": ("forwarded",),
    "purge": ("dry_run", "purged"),
    "backup": ("directory", "version", "store", "began_at", "ended_at", "schema", "master_key", "rows"),
    "restore": ("directory", "version", "store", "began_at", "ended_at", "schema", "master_key", "rows"),
    "copy": ("directory", "store", "rows"),
    "verify": ("is_sound", "findings"),
    "migrate": ("version", "database", "schema", "pending", "applied"),
    "keys create": ("Version", "AccessKeyId", "SecretAccessKey"),
    "keys list": ("keys",),
    "keys rotate-master": ("is_complete", "resealed"),
    "keys rotate-mail": ("begins_at", "previous_accepted_until"),
    "routes list": ("routes",),
    "routes test": ("id", "received_at", "from", "subject", "deliveries", "trace"),
}
"""The commands that have a `--json` option, and the top-level members of the JSON object that each of them prints.

`env` is listed without members, because it prints one member for each environment variable.
"""


def print_json(found: Mapping[str, Any]) -> None:
    """Print the result of a command as one JSON object, for use by programs.

    The output is never a bare list: a list is always a named member of the object. All times are in UTC and end with Z.
    """
    click.echo(json.dumps(found, indent=2))


def print_error(message: str, code: Exit, *, as_json: bool) -> None:
    """Print the reason why a command has failed, or a part of it, to standard error: with `--json` as one JSON object
    on one line.
    """
    found = {"error": message, "code": code.name.lower(), "exit_code": code.value}
    click.echo(json.dumps(found) if as_json else f"waypost: {message}", err=True)


def print_note(text: str, *, as_json: bool) -> None:
    """Print what a command does meanwhile to standard error: with `--json` as one JSON object on one line."""
    click.echo(json.dumps({"note": text}) if as_json else text, err=True)
