"""Writes a call of the console as a command of the AWS CLI and as lines for boto3, for people to copy."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from waypost.console.calls import Call

_READ_FROM_A_FILE = ("file://", "fileb://", "http://", "https://")
"""The beginnings of option values that the AWS CLI replaces with the content of a file or, in version 1, of a URL."""


class Equivalents(Struct, frozen=True):
    """A call in the forms in which programs and scripts make it."""

    cli: str
    boto3: str


def of(call: Call, *, endpoint: str) -> Equivalents:
    """Return a call in both forms. `endpoint` is the URL of the API. The credentials come from the environment."""
    return Equivalents(aws_cli(call, endpoint=endpoint), boto3_lines(call, endpoint=endpoint))


def aws_cli(call: Call, *, endpoint: str) -> str:
    """Return the command line of a call for a POSIX shell, with an option on each line."""
    command = f"aws connect {_words(call.operation, '-')}"
    return " \\\n  ".join(
        [
            command,
            *_options(call.members),
            f"--region {shlex.quote(call.region)}",
            f"--endpoint-url {shlex.quote(endpoint)}",
        ]
    )


def boto3_lines(call: Call, *, endpoint: str) -> str:
    """Return the lines of Python that make a call."""
    arguments = "".join(f"\n    {name}={value!r}," for name, value in call.members.items())
    return (
        "import boto3\n\n"
        f'connect = boto3.client("connect", region_name={call.region!r}, endpoint_url={endpoint!r})\n'
        f"connect.{_words(call.operation, '_')}({arguments}{chr(10) if arguments else ''})"
    )


def _options(members: Mapping[str, Any]) -> list[str]:
    """Return the members of a call as options of the AWS CLI.

    If the CLI would read a value from a file, all members are in one JSON text, in which it replaces nothing.
    """
    if any(isinstance(value, str) and value.startswith(_READ_FROM_A_FILE) for value in members.values()):
        return [f"--cli-input-json {shlex.quote(_json(members))}"]
    return [_option(f"--{_words(name, '-')}", value) for name, value in members.items()]


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"--no-{name.removeprefix('--')}"
    text = value if isinstance(value, str) else _json(value)
    # Without the equals sign, the CLI would parse a value with a hyphen as another option.
    return f"{name}{'=' if text.startswith('-') else ' '}{shlex.quote(text)}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _words(name: str, between: str) -> str:
    """Return a name of the model, such as `EmailAddressId` or `resourceArn`, in lower case with `between` its words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", between, name).lower()
