"""The table of all commands of `waypost`."""

from typing import Any

import click

import waypost
from waypost.cli.parameters import Group, LazyCommand

SUMMARIES = {
    "serve": ("serving:serve", "Run the server until Ctrl-C or SIGTERM stops it, or until its terminal is closed."),
    "ready": ("readiness:ready", "Report whether the running server works and can reach its database."),
    "doctor": (
        "doctor:doctor",
        "Check ports, permissions, disk, limits, clock, DNS, TLS, the database and the routes of a server.",
    ),
    "env": (
        "environment:env_command",
        "Print shell commands that make AWS SDKs, the AWS CLI and mail clients use the running server.",
    ),
    "console": ("console:console", "Open the console in a browser."),
    "inbox": ("mail:inbox", "List the mail for an address, or for all addresses in the account, newest first."),
    "search": (
        "mail:search",
        "Find mail by words of its text and by operators, newest first, or refusals with is:refused.",
    ),
    "show": (
        "show:show",
        "Show one message with its deliveries and its trace, or print its text, its source or its attachments.",
    ),
    "watch": ("watch:watch", "Show the mail of the account as it arrives and is delivered, until Ctrl-C."),
    "explain": ("explain:explain", "Show what would happen to mail for an address, and why."),
    "trace": ("trace:trace", "Show everything that happened to mail, including refusals, deferrals and dead letters."),
    "queue": ("queue:queue", "List the deliveries that are waiting for their next attempt, and their destinations."),
    "dead": ("queue:dead", "Manage dead letters: failed deliveries, which are kept and can be redriven."),
    "replay": (
        "queue:replay",
        "Forward the mail that an alias has received since a given time to the alias's current primary.",
    ),
    "purge": ("purge:purge", "Delete mail that exceeds the limits in the settings file's retention rules."),
    "backup": ("backup:backup", "Write a backup of all data, with the keys, while the server runs or not."),
    "restore": (
        "backup:restore",
        "Restore a backup to a new data directory and, if it is a backup of PostgreSQL, to an empty database.",
    ),
    "verify": (
        "backup:verify",
        "Check a backup, or the data of a server: checksums, damage, and the rules of the data.",
    ),
    "copy": (
        "moving:copy",
        "Copy all data and the keys from SQLite to PostgreSQL, or from PostgreSQL to SQLite, and compare them.",
    ),
    "migrate": ("migrate:migrate", "Show or run the migrations that the database needs for this version of Waypost."),
    "keys": ("keys:app", "Manage access keys, which allow programs to call the API."),
    "routes": (
        "routes:app",
        "Manage routes, which send mail to other destinations, instead of the inbox or in addition to it.",
    ),
    "demo": (
        "demonstration:demo",
        "Demonstrate aliases and forwarding, step by step, with a real server and real clients.",
    ),
    "completion": ("completion:completion", "Print the script that completes commands and options in a shell."),
}
"""The place of each command or group below `waypost.cli.commands`, and the first sentence of its help, which the list
of commands shows.
"""


def _version(ctx: click.Context, _: click.Parameter, is_given: Any) -> None:
    if is_given:
        click.echo(f"waypost {waypost.__version__}")
        ctx.exit()


app = Group(
    name="waypost",
    help="A mail server with email addresses, aliases and forwarding behind the Amazon Connect API.",
    epilog="Complete commands with Tab: waypost completion -h",
    commands={name: LazyCommand(name, place, summary) for name, (place, summary) in SUMMARIES.items()},
    params=[
        click.Option(
            ["--version", "-V"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Print the version.",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
