"""Writes the reference pages that are made from code (`make docs`); a test checks that they are fresh."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import typer

from scripts import inspection_reference
from tests.api import refusals
from tests.differential import expected
from waypost import cli
from waypost.api import asgi
from waypost.api.operations import calls, tags
from waypost.api.operations import table as operations
from waypost.api.wire import shapes
from waypost.app import connections
from waypost.cli import outcomes
from waypost.config import tables
from waypost.config.settings import ROWS
from waypost.domain.limits.rates import Rate
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import STATES, Policy
from waypost.host import data_directory
from waypost.mailauth import checker
from waypost.observe import events, logs
from waypost.server.http import connection
from waypost.server.http.limits import HttpBounds
from waypost.smtp.limits import admission, guessing
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol import capabilities, data, grammar, replies, states
from waypost.smtp.protocol.states import State

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

NOTE = "<!-- Made from code by `make docs`; edit the code. -->\n\n"


def settings_page() -> str:
    """Every setting of `waypost serve`."""
    rows = [
        f"| `{row.option}` | `{row.variable}` | {f'`{row.default}`' if row.default else ''} | {row.type.words} "
        f"| {row.help} |"
        for row in ROWS.values()
    ]
    return "\n".join(
        [
            "# Settings of `waypost serve`\n",
            "On the command line, in the environment, or in a [settings file](#the-settings-file). The command line",
            "wins over the environment, and the environment over the file. One setting is only in the environment:",
            f"`{data_directory.MASTER_KEY_VARIABLE}`, 32 bytes in base64url. It replaces the file `master.key`.\n",
            "| option | environment | default | value | what it is |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "## The settings file\n",
            "`waypost serve --config FILE` reads a file in TOML. Before its first table it may have any of the",
            "settings above, without the two leading hyphens (`smtp-memory = 256`, or `smtp_memory`). Relative paths",
            "begin at the directory of the file. [Send mail on with routes](../how-to/routes.md) has a complete file.",
            *(line for table, keys in tables.TABLES.items() for line in _keys(table, keys)),
            "",
        ]
    )


def _keys(table: str, keys: Mapping[str, tables.Key]) -> list[str]:
    """The keys of a table of the settings file."""
    rows = []
    for name, key in keys.items():
        default = f"`{key.default}`" if key.default else ""
        rows.append(f"| `{name}` | {key.type.words} | {'required' if key.is_required else default} | {key.text} |")
    return [f"\n### `{table}`\n", "| key | value | default | what it is |", "|---|---|---|---|", *rows]


ASKED_ABOUT = {
    operations.alias: "the alias",
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
        asked_about = ", then ".join(ASKED_ABOUT[of] for of in (row.resource_of, *row.others))
        path = "/" + "/".join(operation.segments)
        members = operation.input.shape["members"]
        token = "yes" if "ClientToken" in members else ""
        features.append(f"| {name} | `{operation.method} {path}` | {IDS[row.with_ids]} | {token} | {asked_about} |")
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


FEW_FILES = "fewer where the system lets the process have few files"


def smtp_page() -> str:
    """The bounds of the SMTP edge."""
    lines = ", ".join(f"{verb} {limit:,}" for verb, limit in grammar.LINE_LIMITS.items())
    bounds = SmtpLimits()
    return "\n".join(
        [
            "# SMTP limits\n",
            "How much the SMTP server accepts, and how long it waits. The replies are in",
            "[every reply](../smtp-replies.md), the RFCs in [specifications](../specifications.md), and the options in",
            "[settings](settings.md).\n",
            "| limit | value |",
            "|---|---|",
            f"| size of a message | {capabilities.MESSAGE_LIMIT:,} bytes |",
            f"| its header | {data.PIECE:,} bytes, {data.HEADER_LINE_LIMIT:,} lines |",
            "| line of a message | any length |",
            f"| recipients of a message | {capabilities.RECIPIENT_LIMIT:,} |",
            f"| Received lines of a message | {messages.MAX_RECEIVED_LINES} |",
            f"| command line, with its CRLF | {grammar.LINE_LIMIT:,} bytes; {lines} |",
            f"| messages of a session | {capabilities.MAIL_LIMIT:,} |",
            f"| commands of a session in a row without a message | {capabilities.COMMAND_LIMIT:,} |",
            f"| refused commands of a session | {capabilities.ERROR_LIMIT} |",
            f"| unknown recipients of a session | {capabilities.ERROR_LIMIT}, `--smtp-unknown-recipients`; then 421 |",
            "| refused commands before EHLO, HELO or LHLO; lines of HTTP; a TLS handshake | none: the session ends |",
            *map(_guesses, guessing.SIZES),
            _guesses_that_end_sessions(admission.UNKNOWN),
            f"| a reply that waits, at most | {guessing.LONGEST_WAIT:g} s; then 421 |",
            f"| connections | {bounds.connections:,}, `--smtp-connections`; {FEW_FILES} |",
            f"| connections from one address, or /64 network | {bounds.connections_each}, `--smtp-connections-each` |",
            f"| connections from one /48 network with IPv6 | {_half(bounds)} |",
            "| messages a minute from one address | any number, `--smtp-messages-each` |",
            f"| memory for input and messages in flight | {bounds.memory // 2**20} MiB, `--smtp-memory` |",
            f"| time to a whole command | {bounds.command:g} s |",
            f"| the same, with {connections.CROWDED:.0%} of connections in use | {bounds.command_when_crowded:g} s |",
            f"| silence in a message | {bounds.silence:g} s |",
            f"| time for a message | {bounds.transfer_start:g} s, and 1 s more for each {bounds.slowest:g} bytes |",
            f"| the same, at most | {bounds.transfer:g} s |",
            f"| TLS handshake, PROXY header | {bounds.handshake:g} s |",
            f"| SPF, DKIM and DMARC | {checker.LIMIT:g} s |",
            "",
            *_session_states(),
        ]
    )


def _session_states() -> list[str]:
    """The states of a session, as a picture and as a table, from the table that the session follows."""
    steps: dict[tuple[State, State], list[str]] = {}
    for state, then in states.TRANSITIONS.items():
        for event, after in then.items():
            steps.setdefault((state, after), []).append(event.value)
    return [
        "## The states of a session\n",
        "A command that is out of order is refused with 503, DATA without a valid recipient with 554. The state stays",
        "then, and after any other command that is refused. NOOP, HELP, VRFY, EXPN and AUTH never change it. `EHLO`",
        "means HELO and LHLO too. The last state, `OVER`, is left out of the picture. Made from `TRANSITIONS` in",
        "`smtp/protocol/states.py`; nothing else can happen.\n",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {State.START}",
        *(
            f"    {state} --> {after}: {', '.join(events)}"
            for (state, after), events in steps.items()
            if after is not State.OVER
        ),
        "```\n",
        "| state | event | next state |",
        "|---|---|---|",
        *(f"| `{state}` | {', '.join(events)} | `{after}` |" for (state, after), events in steps.items()),
        "",
    ]


def http_page() -> str:
    """The bounds of the HTTP edge."""
    bounds = HttpBounds()
    more = f"and 1 s more for each {bounds.slowest:,.0f} bytes"
    crowded = f"{bounds.start_when_crowded:g} s to the first octet, for a header, and at first for a body or a response"
    rows = [
        ("header", f"{connection.HEAD_OCTETS:,} bytes", "431"),
        ("time to the first octet of a request", f"{bounds.head:g} s; behind a response 5 s", "closed"),
        ("time for a header", f"{bounds.head:g} s", "408"),
        ("body of a call", f"{asgi.BODY_LIMIT:,} bytes", "413"),
        ("what follows a header, with chunks and trailers", f"{connection.REST_OCTETS:,} bytes", "closed"),
        ("time for a body", f"{bounds.body_start:g} s, {more}; {bounds.body:g} s at most", "408"),
        (
            "time in which the client has some of a response to read",
            f"{bounds.answer_start:g} s, {more}; {bounds.answer:g} s at most",
            "closed",
        ),
        ("requests sent ahead of a response (pipelining)", str(connection.PIPELINED), "closed"),
        ("connections", f"{bounds.connections:,}, `--http-connections` (10 or more); {FEW_FILES}", "503"),
        (
            "connections from one address, or /64 network",
            f"{bounds.connections_each}, `--http-connections-each`",
            "503",
        ),
        ("connections from one /48 network with IPv6", _half(bounds), "503"),
        (f"times, with {connections.CROWDED:.0%} of all connections in use", crowded, "as above"),
    ]
    return "\n".join(
        [
            "# HTTP limits\n",
            "How much the HTTP server accepts, and how long it waits, for the Amazon Connect API and the",
            "[inspection API](inspection-api.md). The options are in [settings](settings.md). Only the time in which",
            "the server waits for the client counts, by the monotonic clock.\n",
            "| limit | value | then |",
            "|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            "The server sends 408, 431 and 503 only if no response to an earlier request is due or being sent, and",
            "then closes the connection. SDKs try again after 503. The log has `http_connection_closed` for a client",
            "that was too slow, and `connections_refused` for refused connections ([events](events.md)).\n",
            "The server ignores `Upgrade` (RFC 9110 section 7.8), and reads the request, its body and what follows as",
            "HTTP/1.1. It refuses a request with two lengths, or with a length and a transfer coding, and closes its",
            "connection (RFC 9112 section 6.3).",
            "",
        ]
    )


def _half(bounds: SmtpLimits | HttpBounds) -> str:
    """What one /48 network may have of the connections."""
    return f"{connections.limit_of_site(bounds.connections, bounds.connections_each):,}: half of all"


def _guesses(size: guessing.Size) -> str:
    """The row for what a network of this size may guess."""
    ipv4, ipv6 = size.prefix
    free = f"{size.free.burst}, and one more each {1 / size.free.per_second:g} s"
    return (
        f"| unknown recipients of a /{ipv4} network, /{ipv6} with IPv6, before its replies to RCPT wait | "
        f"{free}; then up to {size.longest_step:g} s between two replies |"
    )


def _guesses_that_end_sessions(free: Rate) -> str:
    """The row for how many unknown recipients one address may name in all of its sessions."""
    return (
        "| unknown recipients of a /32 network, /64 with IPv6, before each further one ends its session | "
        f"{free.burst}, and one more each {1 / free.per_second:g} s; then 421 |"
    )


def smtp_replies_page() -> str:
    """Every reply of the SMTP edge, for the postmaster who finds one in a log."""
    found = [reply for reply in vars(replies).values() if isinstance(reply, replies.Reply)]
    rows = []
    for reply in sorted(found, key=lambda reply: (reply.code, reply.enhanced or "", reply.text)):
        enhanced = f"`{reply.enhanced}`" if reply.enhanced else ""
        text = reply.text.replace("\n", "<br>").replace("<CR>", "&lt;CR&gt;").replace("<LF>", "&lt;LF&gt;")
        text = text.replace("<address>", "&lt;address&gt;")
        rows.append(f"| `{reply.code}` | {enhanced} | {text} | {reply.means} | {reply.sender} |")
    return "\n".join(
        [
            "# Every reply of the SMTP server\n",
            "This page explains every reply that you can find in your mail server's log or in a bounce. A reply code",
            "that begins with 4 is temporary: the sender's server keeps the message and tries again. A reply code that",
            "begins with 5 is permanent for that message. Words in braces are placeholders. An id in a reply is also",
            "in Waypost's log.\n",
            "| code | enhanced | text | what it means | what the sender should do |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _level(event: type) -> str:
    """How loud an event is."""
    if any(field.name == "cause" for field in dataclasses.fields(event)):
        return "error"
    return "warning" if event in events.WARNINGS else "info"


DIFFERENCES = """\
# Where other mail servers answer otherwise

A test played the same thousand generated dialogues to Waypost, aiosmtpd 1.4.6 and Postfix 3.7. This table has every
difference in what they accept, with the reason. `make proofs` plays the dialogues again, and fails at a difference
without a reason. [Specifications](specifications.md) lists the RFCs.

"""


def differences_page() -> str:
    """Where the SMTP edge takes what others refuse, or the other way round."""
    table: str = expected.markdown()
    return DIFFERENCES + table


def mail_flow_page() -> str:
    """The way of a message, with a picture of what can happen to a delivery."""
    edges = [(status.value if status else "[*]", event.value, then.value) for (status, event), then in STATES.items()]
    arrows = [f"    {was} --> {then}: {event}" for was, event, then in edges]
    picture = ["```mermaid", "stateDiagram-v2", *arrows, "```"]
    table = [f"| {'(not there)' if was == '[*]' else was} | {event} | {then} |" for was, event, then in edges]
    policy = Policy()
    pauses = [f"{pause / timedelta(minutes=1):g}" for pause in policy.retry_schedule]
    return (
        (ROOT / "scripts/mail_flow.md")
        .read_text()
        .format(
            picture="\n".join(picture),
            table="\n".join(table),
            schedule=f"{', '.join(pauses[:-1])} and {pauses[-1]} minutes",
            expire=f"{policy.expire.days} days",
        )
    )


def events_page() -> str:
    """Everything that may be in the log."""
    rows = []
    for event in get_args(events.Event):
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(event))
        level = _level(event)
        text = inspect.cleandoc(event.__doc__ or "").replace("\n", " ")
        rows.append(f"| `{logs.name_of(event)}` | {level} | {fields} | {text} |")
    return "\n".join(
        [
            "# Events in the log\n",
            "The log is on standard error: readable lines on a terminal, JSON elsewhere. It never holds an email",
            "address, a subject, a body or a secret. A `peer` is a client's IP address. A `destination` is",
            "without its path, which could name an email address; the trace of a message has its path. A",
            "`route` is a digest of its `match` and `to`, which `waypost routes list` shows beside each route.\n",
            "| event | level | fields | when |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def commands_page() -> str:
    """Every command, its exit codes, and what it prints for programs."""
    rows = [f"| `waypost {name}{_usage(command)}` | {_told(command)} |" for name, command in commands()]
    codes = [f"| {code.value} | {outcomes.MEANINGS[code]} |" for code in outcomes.Exit]
    members = [
        f"| `{name}` | {', '.join(f'`{one}`' for one in names)} |" for name, names in outcomes.JSON.items() if names
    ]
    return "\n".join(
        [
            "# Commands\n",
            "`waypost COMMAND -h` (or `--help`) has the options of a command, `waypost -V` (or `--version`) the",
            "version. `waypost --install-completion` makes Tab complete commands and options in bash, zsh, fish and",
            "PowerShell; `--show-completion` prints what it would add.\n",
            "| command | what it does |",
            "|---|---|",
            *rows,
            "\n## Exit codes\n",
            "Of all commands. Where a command fails, a sentence on standard error says why, and nothing is on standard",
            "output. There are two exceptions: `env` prints `false`, so that a shell that evaluates it does not run",
            "what follows after `&&`; `explain` and `routes test` print their answer also where it is no.\n",
            "| code | what it says |",
            "|---|---|",
            *codes,
            "\n## With `--json`\n",
            "A command prints one JSON object. Names of members are in snake_case, lists have a name, and moments are",
            "ISO 8601 in UTC with a Z, as in `2026-11-22T23:14:05.678Z`. Answers of the server are printed unchanged:",
            "see the [inspection API](inspection-api.md). Two commands have a form of their own: `keys create` prints",
            "what AWS tools read from a `credential_process`, and `env` prints variables of the environment; null is",
            "for one that must not be set.\n",
            "| command | members, among them |",
            "|---|---|",
            *members,
            "\n## Options\n",
            "Those of `waypost serve` are the [settings](settings.md). Without `--data`, a command takes what the",
            f"environment variable `{ROWS['data'].variable}` says, and without that `./waypost-data`.\n",
            *(line for name, command in commands() if name != "serve" for line in _options(name, command)),
        ]
    )


def commands() -> list[tuple[str, Any]]:
    """All commands, by their names."""

    def below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        for own, inner in getattr(command, "commands", {}).items():
            path = f"{name} {own}".strip()
            yield from below(inner, path) if hasattr(inner, "commands") else [(path, inner)]

    return list(below(typer.main.get_command(cli.app), ""))


def _usage(command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    return "".join(f" {_argument(one)}" for one in arguments).replace("|", "\\|")


def _argument(argument: Any) -> str:
    """An argument as a synopsis shows it: in brackets if it may be left out, with dots if it may be repeated."""
    shown = argument.metavar if argument.required else f"[{argument.metavar}]"
    return shown if argument.nargs == 1 else f"{shown}…"


def _told(command: Any) -> str:
    """The first paragraph of a command's help, in one line."""
    return " ".join((command.help or "").split("\n\n")[0].split())


def _options(name: str, command: Any) -> list[str]:
    """The arguments and options of one command."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    rows = [(f"`{one.metavar}`", one.help) for one in arguments]
    rows += [(", ".join(f"`{spelling}`" for spelling in one.opts), one.help) for one in options]
    cells = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return [f"### `waypost {name}`\n", "| | |", "|---|---|", *(f"| {row} |" for row in cells), ""]


PAGES: dict[str, Callable[[], str]] = {
    "reference/cli.md": commands_page,
    "reference/settings.md": settings_page,
    "reference/inspection-api.md": inspection_reference.page,
    "aws-compatibility.md": compatibility_page,
    "reference/smtp.md": smtp_page,
    "reference/http.md": http_page,
    "smtp-replies.md": smtp_replies_page,
    "smtp-differences.md": differences_page,
    "reference/events.md": events_page,
    "mail-flow.md": mail_flow_page,
}
"""The pages, by their place in `docs`."""


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(NOTE + page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
