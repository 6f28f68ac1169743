"""Writes the reference pages that are made from code (`make docs`); a test checks that they are fresh."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

from tests.api import refusals
from waypost import datadir, events
from waypost.api import calls, operations, shapes, tags
from waypost.settings import Settings, environment_name, option_name
from waypost.smtp import grammar, replies, session

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

NOTE = "<!-- Made from code by `make docs`; edit the code. -->\n\n"


def settings_page() -> str:
    """Every setting of `waypost serve`."""
    rows = [
        f"| `{option_name(field.name)}` | `{environment_name(field.name)}` "
        f"| {f'`{field.default}`' if field.default else ''} | {field.metadata['help']} |"
        for field in dataclasses.fields(Settings)
    ]
    return "\n".join(
        [
            "# Settings of `waypost serve`\n",
            "On the command line, or in the environment. The command line wins. One is in the environment alone:",
            f"`{datadir.MASTER_KEY_VARIABLE}`, 32 octets in base64url, which is used in place of `master.key` in the",
            "data directory.\n",
            "| option | environment | default | what it is |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


ASKED_ABOUT = {
    operations.email_address: "the email address of the path",
    operations.instance: "the instance",
    operations.any_resource: "`*`",
    tags.resource: "the resource of the ARN",
}
"""The resource that a policy must allow an operation on, in words."""

IDS: Mapping[operations.WithIds, str] = {
    calls.ids_or_arns: "id or ARN",
    calls.ids_only: "id only",
    operations.as_given: "",
}
"""What an instance or email address may be named by; empty where none is, or the ARN is the label."""


def compatibility_page() -> str:
    """Every operation of the API: how it is called, and what it refuses, from the model and the tests."""
    model = shapes.load()
    features, refused = [], []
    for name, operation in sorted(model.operations.items()):
        row = operations.OPERATIONS[name]
        path = "/" + "/".join(operation.segments)
        members = operation.input.shape["members"]
        token = "yes" if "ClientToken" in members else ""
        features.append(
            f"| {name} | `{operation.method} {path}` | {IDS[row.with_ids]} | {token} | {ASKED_ABOUT[row.resource_of]} |"
        )
        refused += _refused(name, operation.errors)
    source = json.loads((ROOT / "src" / "waypost" / "api" / "model.json").read_text(encoding="utf-8"))["source"]
    return "\n".join(
        [
            "# What works, operation by operation\n",
            "All of these work with the AWS CLI and with boto3, as rest-json (the request in the table), and as JSON",
            "1.1: `POST /` with `X-Amz-Target: AmazonConnectService.OPERATION`. All are authorised, throttled, and",
            f"checked against the model ({source.partition(', cut')[0]}).\n",
            "| operation | request | takes | client token | a policy is asked about |",
            "|---|---|---|---|---|",
            *features,
            "",
            "What AWS leaves open, and how we answer it, is in [where AWS is silent](aws-differences.md).\n",
            "## What is refused, and how\n",
            "A test runs every row against a server. Errors that the model has and no row shows are named at the end",
            "of an operation, with the reason. `InternalServiceException` 500 is for mistakes of ours.\n",
            *refused,
        ]
    )


def _refused(name: str, errors: Mapping[str, int]) -> list[str]:
    """The cases of one operation, error by error."""
    rows = [
        f"| `{error}` {status} | {case} |"
        for error, status in sorted(errors.items(), key=lambda item: (item[1], item[0]))
        for case in _cases(name, error)
    ]
    common = [
        f"| `{row.error}` {row.status} | {row.case} |"
        for row in refusals.REFUSALS
        if row.operation == name and row.error not in errors
    ]
    never = [f"`{error}`: {reason}" for (operation, error), reason in refusals.NEVER.items() if operation == name]
    end = [f"Never: {' '.join(never)}\n"] if never else []
    return [f"### {name}\n", "| error | when |", "|---|---|", *rows, *common, "", *end]


def _cases(operation: str, error: str) -> list[str]:
    return [row.case for row in refusals.REFUSALS if (row.operation, row.error) == (operation, error)]


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
    "reference/settings.md": settings_page,
    "aws-compatibility.md": compatibility_page,
    "reference/smtp.md": smtp_page,
    "reference/events.md": events_page,
}
"""The pages, by their place in `docs`."""


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(NOTE + page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
