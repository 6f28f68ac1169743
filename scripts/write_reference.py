"""Writes the reference pages that are made from code (`make docs`); a test checks that they are fresh."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from waypost import events
from waypost.api import operations, shapes
from waypost.settings import Settings, environment_name
from waypost.smtp import grammar, replies, session

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"

NOTE = "<!-- Made from code by `make docs`; edit the code. -->\n\n"


def settings_page() -> str:
    """Every setting of `waypost serve`."""
    rows = [
        f"| `--{field.name}` | `{environment_name(field.name)}` | {f'`{field.default}`' if field.default else ''} "
        f"| {field.metadata['help']} |"
        for field in dataclasses.fields(Settings)
    ]
    return "\n".join(
        [
            "# Settings of `waypost serve`\n",
            "On the command line, or in the environment. The command line wins.\n",
            "| option | environment | default | what it is |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def operations_page() -> str:
    """Every operation of the API."""
    rows = []
    for name, operation in sorted(shapes.load().operations.items()):
        works = "yes" if name in operations.OPERATIONS else "not yet"
        path = "/" + "/".join(operation.segments)
        errors = ", ".join(f"{error.removesuffix('Exception')} {status}" for error, status in operation.errors.items())
        rows.append(f"| {name} | `{operation.method} {path}` | {works} | {errors} |")
    return "\n".join(
        [
            "# Operations of the Amazon Connect API\n",
            "What Waypost knows of the service, cut from AWS's published model. An operation that does not work yet",
            "answers `InvalidRequestException` and says so. Errors are named without `Exception`.\n",
            "| operation | request | works | errors it may answer |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def smtp_page() -> str:
    """The limits of the SMTP edge, and every reply it can give."""
    found = [(name, reply) for name, reply in vars(replies).items() if isinstance(reply, replies.Reply)]
    rows = []
    for _, reply in sorted(found, key=lambda pair: (pair[1].code, pair[0])):
        enhanced = f"`{reply.enhanced}`" if reply.enhanced else ""
        rows.append(f"| `{reply.code}` | {enhanced} | {reply.text.replace(chr(10), '<br>')} |")
    return "\n".join(
        [
            "# SMTP: limits and replies\n",
            "| limit | value |",
            "|---|---|",
            f"| message | {session.MESSAGE_LIMIT:,} octets |",
            f"| recipients of a message | {session.RECIPIENT_LIMIT:,} |",
            f"| command line, with its CRLF | {grammar.LINE_LIMIT} octets; MAIL {grammar.MAIL_LINE_LIMIT} |",
            "| line of a message | any length |\n",
            "Every reply that Waypost can give. Words in braces are filled in.\n",
            "| code | enhanced | text |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def events_page() -> str:
    """Everything that may be in the log."""
    rows = []
    for event in get_args(events.Event):
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(event))
        rows.append(f"| {event.__name__} | {fields} | {inspect.cleandoc(event.__doc__ or '')} |")
    return "\n".join(
        [
            "# Events in the log\n",
            "The log is on standard error: readable lines on a terminal, JSON elsewhere. It never holds an address, a",
            "subject, a body or a secret.\n",
            "| event | fields | when |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "operations.md": operations_page,
    "smtp.md": smtp_page,
    "events.md": events_page,
}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(NOTE + page(), encoding="utf-8")
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
