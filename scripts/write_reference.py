"""Writes the reference pages that are generated from the code (`make docs`); a test checks that they are up to date."""

import html
import inspect
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

from scripts import inspection_reference, metrics_reference, testing_reference
from tests.api import refusals
from tests.differential import expected
from waypost.api import application
from waypost.api.operations import calls, tags
from waypost.api.operations import table as operations
from waypost.api.wire import shapes
from waypost.app import connections
from waypost.cli import outcomes, parameters, program, secret_files
from waypost.config import tables
from waypost.config.settings import ROWS
from waypost.domain.limits.rates import Rate
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import STATES, Policy
from waypost.host import master_key
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

NOTE = "<!-- Generated from the code by `make docs`. Edit the code, not this page. -->\n\n"


def settings_page() -> str:
    """Return the page with every setting of `waypost serve`."""
    rows = [
        f"| `{row.option}` | `{row.variable}` | {f'`{row.default}`' if row.default else ''} | {row.type.words} "
        f"| {'SIGHUP' if row.is_reloadable else 'restart'} | {row.help} |"
        for row in ROWS.values()
    ]
    return "\n".join(
        [
            "# Settings of `waypost serve`\n",
            "You can give a setting on the command line, in the environment, or in a [settings",
            "file](#the-settings-file). The command line takes precedence over the environment, and the",
            f"environment over the file. The setting `{master_key.MASTER_KEY_VARIABLE}` exists only in the",
            "environment. The value of this setting is 32 bytes in base64url, and replaces the file `master.key`.\n",
            "Secrets can also be in files, as container engines provide them. Then "
            + " or\n".join(f"`{name}_FILE`" for name in secret_files.VARIABLES),
            "is the path of a file that contains the value in one line.\n",
            "The column *change* says when a running server uses a new value: after",
            "[SIGHUP](../how-to/run-it.md#reload), or only after a restart. SIGHUP also makes the server read its",
            "certificate files again.",
            "`waypost serve --check` checks the settings, and shows which changes need a restart.\n",
            "| option | environment | default | value | change | description |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "## The settings file\n",
            "`waypost serve --config FILE` reads a TOML file. Before its first table, the file may contain any of the",
            "settings above, without the two leading hyphens (`smtp-memory = 256`, or `smtp_memory`). Relative paths",
            "are relative to the directory of the file. The page on [routes](../how-to/routes.md) has a complete",
            "example. After SIGHUP, a running server uses new tables, except `[[fault]]` tables and the key",
            "`connections` of `[delivery]`, which need a restart.",
            *(line for table, keys in tables.TABLES.items() for line in _keys(table, keys)),
            "",
        ]
    )


def _keys(table: str, keys: Mapping[str, tables.Key]) -> list[str]:
    """Return the section on the keys of a table of the settings file."""
    rows = []
    for name, key in keys.items():
        default = f"`{key.default}`" if key.default else ""
        rows.append(f"| `{name}` | {key.type.words} | {'required' if key.is_required else default} | {key.text} |")
    return [f"\n### `{table}`\n", "| key | value | default | description |", "|---|---|---|---|", *rows]


ASKED_ABOUT = {
    operations.alias: "the alias",
    operations.email_address: "the email address in the path",
    operations.instance: "the instance",
    operations.any_resource: "`*`",
    tags.resource: "the resource that the ARN names",
}
"""The resource on which a policy must allow an operation, in words."""

IDS: Mapping[operations.WithIds, str] = {
    calls.ids_or_arns: "id or ARN",
    calls.ids_only: "id only",
    operations.as_given: "",
}
"""How a request may name a resource; empty if the request names no resource, or has the ARN in the URL path."""


def compatibility_page() -> str:
    """Return the page with the request and the errors of every operation of the API, from the model and the tests."""
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
            "All operations in the following table work with the AWS CLI and with boto3. Clients can call them with",
            "rest-json (the request in the table), and with JSON 1.1: `POST /` with",
            "`X-Amz-Target: AmazonConnectService.OPERATION`.",
            "Waypost authorises and throttles every call, and checks it against AWS's model",
            f"({source.partition(', cut')[0]}).\n",
            "| operation | request | resource ids | client token | the policy is checked for |",
            "|---|---|---|---|---|",
            *features,
            "",
            "[Differences from AWS](aws-differences.md) lists Waypost's answers to the questions that AWS's",
            "documentation leaves open.\n",
            "## The errors of each operation\n",
            "A test runs every row of these tables against a server. Errors that are in the model, but that Waypost",
            "never returns, are listed at the end of each operation with the reason. Waypost returns",
            "`InternalServiceException` 500 only if it has a bug.\n",
            *refused,
        ]
    )


def _refused(name: str, errors: Mapping[str, int]) -> list[str]:
    """Return the section on the errors of one operation, sorted by status and name."""
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
    end = (
        [f"Waypost never returns the following errors, which are in AWS's model. {' '.join(never)}\n"] if never else []
    )
    return [f"### {name}\n", "| error | when |", "|---|---|", *rows, *common, "", *end]


def _cases(operation: str, error: str) -> list[str]:
    return [row.case for row in refusals.REFUSALS if (row.operation, row.error) == (operation, error)]


FEW_FILES = "fewer if the system limits the open files of the process"


def smtp_page() -> str:
    """Return the page with the limits of the SMTP server."""
    lines = ", ".join(f"{verb} {limit:,}" for verb, limit in grammar.LINE_LIMITS.items())
    bounds = SmtpLimits()
    command = "time to receive a complete command"
    return "\n".join(
        [
            "# SMTP limits\n",
            "These tables show how much the SMTP server accepts, and how long it waits. The replies are in",
            "[every reply](../smtp-replies.md), the RFCs in [specifications](../specifications.md), and the options in",
            "[settings](settings.md).\n",
            "| limit | value |",
            "|---|---|",
            f"| size of a message | {capabilities.MESSAGE_LIMIT:,} bytes |",
            f"| header of a message | {data.PIECE:,} bytes, {data.HEADER_LINE_LIMIT:,} lines |",
            "| length of a line in a message | unlimited |",
            f"| recipients of a message | {capabilities.RECIPIENT_LIMIT:,} |",
            f"| Received lines of a message | {messages.MAX_RECEIVED_LINES} |",
            f"| command line, including CRLF | {grammar.LINE_LIMIT:,} bytes; {lines} |",
            f"| messages in a session | {capabilities.MAIL_LIMIT:,} |",
            f"| consecutive commands in a session without an accepted message | {capabilities.COMMAND_LIMIT:,} |",
            f"| refused commands in a session | {capabilities.ERROR_LIMIT} |",
            f"| unknown recipients in a session | {capabilities.ERROR_LIMIT}, `--smtp-unknown-recipients`; then 421 |",
            "| refused commands before EHLO, HELO or LHLO; lines of HTTP; TLS handshakes | 0, then the session ends |",
            *map(_guesses, guessing.SIZES),
            _guesses_that_end_sessions(admission.UNKNOWN),
            f"| longest delay of a reply to RCPT | {guessing.LONGEST_WAIT:g} s; then 421 |",
            f"| connections | {bounds.connections:,}, `--smtp-connections`; {FEW_FILES} |",
            f"| connections from one address, or /64 network | {bounds.connections_each}, `--smtp-connections-each` |",
            f"| connections from one /48 network with IPv6 | {_half(bounds)} |",
            "| messages per minute from one address | unlimited, `--smtp-messages-each` |",
            f"| memory for input and incoming messages | {bounds.memory // 2**20} MiB, `--smtp-memory` |",
            f"| {command} | {bounds.command:g} s |",
            f"| {command}, if {connections.CROWDED:.0%} of connections are used | {bounds.command_when_crowded:g} s |",
            f"| time without data while a message is being received | {bounds.silence:g} s |",
            f"| time to receive a message | {bounds.transfer_start:g} s + 1 s for each {bounds.slowest:g} bytes |",
            f"| time to receive a message, at most | {bounds.transfer:g} s |",
            f"| TLS handshake, PROXY header | {bounds.handshake:g} s |",
            f"| check of SPF, DKIM and DMARC | {checker.LIMIT:g} s |",
            "",
            *_session_states(),
        ]
    )


def _session_states() -> list[str]:
    """Return the section on the states of a session, with a diagram and a table, from the session's own table."""
    steps: dict[tuple[State, State], list[str]] = {}
    for state, then in states.TRANSITIONS.items():
        for event, after in then.items():
            steps.setdefault((state, after), []).append(event.value)
    return [
        "## The states of a session\n",
        "The server refuses a command that is out of order with 503, and DATA without a valid recipient with 554. A",
        "refused command does not change the session's state. NOOP, HELP, VRFY, EXPN and AUTH never change the state.",
        "In the diagram and the table, `EHLO` also stands for HELO and LHLO. The diagram omits the final state,",
        "`OVER`. The diagram and the table are generated from `TRANSITIONS` in `smtp/protocol/states.py`, which",
        "lists all possible transitions.\n",
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
    """Return the page with the limits of the HTTP server."""
    bounds = HttpBounds()
    more = f"and 1 s more for each {bounds.slowest:,.0f} bytes"
    crowded = f"{bounds.start_when_crowded:g} s, instead of the first value of each limit"
    rows = [
        ("header", f"{connection.HEAD_OCTETS:,} bytes", "431"),
        ("time to the first byte of a request", f"{bounds.head:g} s; {bounds.idle:g} s after a response", "closed"),
        ("time for a TLS handshake over HTTPS", f"{bounds.handshake:g} s", "closed"),
        ("time to receive a header", f"{bounds.head:g} s", "408"),
        ("body of a call", f"{application.BODY_LIMIT:,} bytes", "413"),
        ("everything after a header, with chunk sizes and trailers", f"{connection.REST_OCTETS:,} bytes", "closed"),
        ("time to receive a body", f"{bounds.body_start:g} s, {more}; {bounds.body:g} s at most", "408"),
        (
            "time for the client to read a response",
            f"{bounds.answer_start:g} s, {more}; {bounds.answer:g} s at most",
            "closed",
        ),
        ("requests that a client sends before it gets a response (pipelining)", str(connection.PIPELINED), "closed"),
        ("connections", f"{bounds.connections:,}, `--http-connections` (10 or more); {FEW_FILES}", "503"),
        (
            "connections from one address, or /64 network",
            f"{bounds.connections_each}, `--http-connections-each`",
            "503",
        ),
        ("connections from one /48 network with IPv6", _half(bounds), "503"),
        (f"the time limits above, if {connections.CROWDED:.0%} of all connections are in use", crowded, "as above"),
    ]
    return "\n".join(
        [
            "# HTTP limits\n",
            "This table shows how much the HTTP server accepts, and how long it waits, for the Amazon Connect API",
            "and the [inspection API](inspection-api.md). The page [settings](settings.md) describes the options.",
            "The time limits apply only while the server waits for the client. The server measures times with a",
            "monotonic clock.\n",
            "| limit | value | if exceeded |",
            "|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            "The server sends 408, 431 and 503 only if no response to an earlier request is pending or being",
            "sent, and then closes the connection. SDKs try again after 503. If a client is too slow, the server",
            "logs `http_connection_closed`. If the server refuses connections, it logs `connections_refused`",
            "([events](events.md)).\n",
            "The server ignores `Upgrade` (RFC 9110 section 7.8), and parses the request, its body and the",
            "following requests as HTTP/1.1. The server refuses a request with two content lengths, or with a",
            "content length and a transfer coding, and closes the connection (RFC 9112 section 6.3).",
        ]
    )


def _half(bounds: SmtpLimits | HttpBounds) -> str:
    """Return the maximum number of connections from one /48 network, in words."""
    return (
        f"{connections.limit_of_site(bounds.connections, bounds.connections_each):,}, which is half of all connections"
    )


def _guesses(size: guessing.Size) -> str:
    """Return the row with the number of unknown recipients that a network of this size may name without a delay."""
    ipv4, ipv6 = size.prefix
    free = f"{size.free.burst}, and one more every {1 / size.free.per_second:g} s"
    return (
        f"| unknown recipients from a /{ipv4} network (IPv6: /{ipv6}) before the server delays its replies to RCPT | "
        f"{free}; then up to {size.longest_step:g} s between two replies |"
    )


def _guesses_that_end_sessions(free: Rate) -> str:
    """Return the row with the number of unknown recipients that one address may name in all of its sessions."""
    return (
        "| unknown recipients from a /32 network (IPv6: /64) before each further unknown recipient ends its session | "
        f"{free.burst}, and one more every {1 / free.per_second:g} s; then 421 |"
    )


def smtp_replies_page() -> str:
    """Return the page with every reply of the SMTP server, for postmasters who find a reply in a log."""
    found = [reply for reply in vars(replies).values() if isinstance(reply, replies.Reply)]
    rows = []
    for reply in sorted(found, key=lambda reply: (reply.code, reply.enhanced or "", reply.text)):
        enhanced = f"`{reply.enhanced}`" if reply.enhanced else ""
        text, means, sender = (
            html.escape(cell, quote=False).replace("\n", "<br>") for cell in (reply.text, reply.means, reply.sender)
        )
        rows.append(f"| `{reply.code}` | {enhanced} | {text} | {means} | {sender} |")
    return "\n".join(
        [
            "# Every reply of the SMTP server\n",
            "This table explains each reply that you may find in your mail server's log or in a bounce. Codes that",
            "begin with 4 are temporary: the sender's server keeps the message and tries again. Codes that begin",
            "with 5 are permanent for that message. Words in braces are placeholders. If a reply contains an id,",
            "Waypost's log contains the same id.\n",
            "| code | enhanced | text | what it means | what the sender should do |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _level(event: type[events.Event]) -> str:
    """Return the log level of an event: error, warning or info."""
    if "cause" in event.__struct_fields__:
        return "error"
    return "warning" if event in events.WARNINGS else "info"


DIFFERENCES = """\
# Differences from other mail servers

A test sends the same thousand generated dialogues to Waypost, aiosmtpd 1.4.6 and Postfix 3.7. This table lists every
difference in what these servers accept, with the reason. `make proofs` repeats the test, and fails if it finds a
difference that the table does not explain. [Specifications](specifications.md) lists the RFCs.

"""


def differences_page() -> str:
    """Return the page with the inputs that Waypost accepts and other servers refuse, or the reverse."""
    table: str = expected.markdown()
    return DIFFERENCES + table


def mail_flow_page() -> str:
    """Return the page with the path of a message, with a diagram of the states of a delivery."""
    edges = [(status.value if status else "[*]", event.value, then.value) for (status, event), then in STATES.items()]
    arrows = [f"    {was} --> {then}: {event}" for was, event, then in edges]
    picture = ["```mermaid", "stateDiagram-v2", *arrows, "```"]
    table = [f"| {'(none)' if was == '[*]' else was} | {event} | {then} |" for was, event, then in edges]
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
    """Return the page with every event that the log can contain."""
    rows = []
    for event in get_args(events.Event):
        fields = ", ".join(f"`{'exception' if name == 'cause' else name}`" for name in event.__struct_fields__)
        level = _level(event)
        text = inspect.cleandoc(event.__doc__ or "").replace("\n", " ")
        rows.append(f"| `{logs.name_of(event)}` | {level} | {fields} | {text} |")
    return "\n".join(
        [
            "# Events in the log\n",
            "Waypost writes the log to standard error, or to a file (`--log-file`): as readable lines on a terminal,",
            "and otherwise as JSON (`--log-format`). The log has the events whose level is at least `--log-level`. The",
            "log never contains an email address, a subject, a body or a secret. The field `peer` is a client's IP",
            "address. The field `destination` omits the destination's path, because the path could contain an",
            "email address. The trace of a message contains the destination's path. The field `route` is a digest of",
            "the route's `match` and `to`. `waypost routes list` shows the same digest for each route. The field",
            "`exception` is the traceback as one string, with the cause at its end. On a terminal, the traceback",
            "follows the line of the event.\n",
            "| event | level | fields | when |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def commands_page() -> str:
    """Return the page with every command, the exit codes, and the output with `--json`."""
    rows = [f"| `waypost {name}{_usage(command)}` | {_summary(command)} |" for name, command in commands()]
    codes = [f"| {code.value} | `{code.name.lower()}` | {outcomes.MEANINGS[code]} |" for code in outcomes.Exit]
    members = [
        f"| `{name}` | {', '.join(f'`{one}`' for one in names)} |" for name, names in outcomes.JSON.items() if names
    ]
    return "\n".join(
        [
            "# Commands\n",
            "`waypost COMMAND -h` (or `--help`) shows the options of a command, and `waypost -V` (or `--version`)",
            "shows the version. `waypost completion SHELL` prints a script that [completes commands and",
            "options](../how-to/shell-completion.md) in bash, zsh or fish.\n",
            "| command | what it does |",
            "|---|---|",
            *rows,
            "\n## Exit codes\n",
            "All commands use these exit codes. If a command fails, it prints the reason to standard error, and",
            "nothing to standard output. There are two exceptions. If `env` fails, it prints `false`, so that a shell",
            "that evaluates the output does not run a command after `&&`. `explain` and `routes test` print their",
            "result even if the result is negative.\n",
            "| code | name | meaning |",
            "|---|---|---|",
            *codes,
            "\n## With `--json`\n",
            "With `--json`, a command prints one JSON object. Names of members are in snake_case, a list is",
            "always the value of a named member, and times are ISO 8601 in UTC with a Z, as in",
            "`2026-11-22T23:14:05.678Z`. Commands print the server's responses unchanged (see the [inspection",
            "API](inspection-api.md)). Three commands have a different format: `keys create` prints the",
            "object that AWS tools expect from a `credential_process`, and `env` prints environment variables. If",
            "`env` prints null as the value of a variable, that variable must not be set. `inbox --follow` prints one",
            "object for each delivery, each on one line, with the members of the objects in `messages`.\n",
            "If a command with `--json` fails, it prints one JSON object on one line to standard error: `error` is the",
            "reason as a sentence, `code` is the name of the exit code, and `exit_code` is its number. `routes test`",
            "prints one for each delivery that has failed. Long commands may also print objects with a `note`.\n",
            "| command | members (not a complete list) |",
            "|---|---|",
            *members,
            "\n## Options\n",
            "The page [settings](settings.md) describes the options of `waypost serve`; [for programs that start a",
            "server](ready-json.md), there are also `--ready-json` and `--attached`, and `--check` only [checks the",
            "settings](../how-to/run-it.md#reload). If you do not give `--data`,",
            f"a command uses the environment variable `{ROWS['data'].variable}`. If that variable is not set, the",
            "command uses `./waypost-data`.\n",
            *(line for name, command in commands() if name != "serve" for line in _options(name, command)),
        ]
    )


def commands() -> list[tuple[str, Any]]:
    """Return all commands with their full names, such as `routes add`."""
    return list(parameters.all_commands(program.app))


def _usage(command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    return "".join(f" {_argument(one)}" for one in arguments).replace("|", "\\|")


def _argument(argument: Any) -> str:
    """Return an argument as in a synopsis: in brackets if it is optional, with dots if it may be repeated."""
    shown = argument.metavar if argument.required else f"[{argument.metavar}]"
    return shown if argument.nargs == 1 else f"{shown}…"


def _summary(command: Any) -> str:
    """Return the first paragraph of a command's help, on one line."""
    return " ".join((command.help or "").split("\n\n")[0].split())


def _options(name: str, command: Any) -> list[str]:
    """Return the section on the arguments and options of one command."""
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
    "reference/testing.md": testing_reference.page,
    "aws-compatibility.md": compatibility_page,
    "reference/smtp.md": smtp_page,
    "reference/http.md": http_page,
    "smtp-replies.md": smtp_replies_page,
    "smtp-differences.md": differences_page,
    "reference/events.md": events_page,
    "reference/metrics.md": metrics_reference.page,
    "mail-flow.md": mail_flow_page,
}
"""The functions that return the pages, by the path of the page in `docs`."""


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(NOTE + page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
