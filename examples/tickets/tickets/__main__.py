"""The command line: `python -m tickets open PUBLIC QUEUE`, `close PUBLIC`, `list`, and `serve`."""

import argparse
import os
import sys
from pathlib import Path
from wsgiref.simple_server import make_server

import boto3

from tickets.desk import Desk
from tickets.entry_points import EntryPoints, Refused
from tickets.web import Application


def main():
    """Run a command."""
    parser = argparse.ArgumentParser(prog="tickets")
    commands = parser.add_subparsers(dest="command", required=True)
    opening = commands.add_parser("open", help="let mail for a public address arrive at a queue")
    opening.add_argument("public")
    opening.add_argument("queue")
    commands.add_parser("close", help="delete a public address").add_argument("public")
    commands.add_parser("list", help="list the public addresses and their queues")
    serving = commands.add_parser("serve", help="receive mail by webhook, and list the tickets")
    serving.add_argument("--port", type=int, default=8080)
    serving.add_argument("--secret-file", type=Path, required=True, help="a file with the secret of the webhook")
    options = parser.parse_args()
    try:
        run(options)
    except Refused as error:
        sys.exit(f"tickets: {error}")


def run(options):
    """Run a command with its options. The environment says which instance of Amazon Connect is used, and where."""
    if options.command == "serve":
        application = Application(Desk("tickets.sqlite3"), options.secret_file.read_text().strip())
        make_server("127.0.0.1", options.port, application).serve_forever()
    entry_points = EntryPoints(boto3.client("connect"), os.environ["CONNECT_INSTANCE_ID"])
    if options.command == "open":
        entry_points.open(options.public, options.queue)
    elif options.command == "close":
        entry_points.close(options.public)
    else:
        for public, queue in entry_points.queues().items():
            print(f"{public} -> {queue}")


if __name__ == "__main__":
    main()
