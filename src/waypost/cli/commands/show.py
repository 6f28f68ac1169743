"""`waypost show` shows one message, or prints it in one of several forms."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import click

from waypost.app import inspection_schema as schema
from waypost.cli import saving
from waypost.cli.client import DEFAULT_DATA, Client, Data, Json, NotThere, ServerRefused, path_of
from waypost.cli.outcomes import print_json
from waypost.cli.parameters import Argument, Option
from waypost.cli.terminal import plain_text, print_octets
from waypost.client import timeline
from waypost.client.text import plain


def show(
    message_id: Annotated[
        str, Argument(metavar="ID", help="The message id from the 250 reply or from `waypost inbox`.")
    ],
    text: Annotated[bool, Option("--text", help="Print only the text of the message, decoded.")] = False,
    html: Annotated[bool, Option("--html", help="Print only the HTML of the message, in UTF-8.")] = False,
    headers: Annotated[
        bool, Option("--headers", help="Print only the header fields, decoded, each on one line.")
    ] = False,
    parts: Annotated[
        bool, Option("--parts", help="List the parts of the message: their numbers, types, names and sizes.")
    ] = False,
    save: Annotated[
        Path | None,
        Option(
            "--save",
            metavar="DIRECTORY",
            help="Write each attachment to a new file in this directory, which is created if it does not exist.",
        ),
    ] = None,
    raw: Annotated[bool, Option("--raw", help="Print the message as it was delivered, byte for byte.")] = False,
    address: Annotated[
        str | None,
        Option(
            "--address",
            metavar="ADDRESS",
            help="With --raw: the email address whose copy is printed. The default is the first stored copy.",
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Show one message with its deliveries and its trace, or print its text, its source or its attachments."""
    forms = {"text": text, "html": html, "headers": headers, "parts": parts, "save": save is not None, "raw": raw}
    chosen = [name for name, is_chosen in {**forms, "json": as_json}.items() if is_chosen]
    if len(chosen) > 1 or (address and not raw):
        options = ", ".join(f"--{name}" for name in forms)
        raise click.BadParameter(f"use only one of {options} and --json, and --address only with --raw")
    shown = _Shown(Client(data), message_id)
    match chosen:
        case ["text"]:
            shown.print_text()
        case ["html"]:
            shown.print_html()
        case ["headers"]:
            shown.print_headers()
        case ["parts"]:
            shown.print_parts()
        case ["save"]:
            shown.save(save or Path())
        case ["raw"]:
            shown.print_raw(address)
        case ["json"]:
            print_json(shown.message())
        case _:
            click.echo("\n".join(timeline.message(shown.message())))


class _Shown:
    """The message that the command shows. The server has read it under limits; this class prints what it has found."""

    def __init__(self, server: Client, message_id: str) -> None:
        self._server = server
        self._id = message_id
        self._path = f"messages/{path_of(message_id)}"

    def message(self) -> schema.MessageWithTrace:
        """Return the message with its deliveries and its trace."""
        with _ids_explained():
            found: schema.MessageWithTrace = self._server.get(self._path)
        return found

    def print_text(self) -> None:
        """Print the text for reading."""
        with _ids_explained():
            octets = b"".join(self._server.download(f"{self._path}/text"))
        if not octets:
            raise self._lacks("text")
        _print_text(octets.decode("utf-8", "replace"))

    def print_html(self) -> None:
        """Print the first HTML part that is shown, unchanged but for its charset and its control characters."""
        from waypost.mime import reading

        found = self._read()
        number = found["html_part"]
        if number is None:
            raise self._lacks("HTML")
        part = found["parts"][number - 1]
        octets = b"".join(self._part(number))
        content = reading.PartContent(octets, part["content_type"], part["charset"], part["filename"])
        html, problems = reading.html_of(content)
        _print_text(html)
        for problem in problems:
            click.echo(f"waypost: {plain(problem)}", err=True)

    def print_headers(self) -> None:
        """Print each header field on one line."""
        for field in self._read()["headers"]:
            click.echo(plain(f"{field['name']}: {field['value']}"))

    def print_parts(self) -> None:
        """Print a table of the parts. A part that is inside another part is indented."""
        found = self._read()
        rows = [("PART", "TYPE", "SIZE", "NAME")]
        for part in found["parts"]:
            kind = "  " * part["depth"] + plain(part["content_type"])
            rows.append((str(part["number"]), kind, str(part["size"]), plain(part["filename"] or "")))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for number, kind, size, name in rows:
            click.echo(f"{number:>{widths[0]}}  {kind:{widths[1]}}  {size:>{widths[2]}}  {name}".rstrip())
        for problem in found["problems"]:
            click.echo(plain(problem))

    def save(self, directory: Path) -> None:
        """Write the attachments to a directory, and print the path, type and size of each."""
        attachments = [part for part in self._read()["parts"] if part["is_attachment"]]
        if not attachments:
            raise self._lacks("attachments")
        with saving.opened(directory) as folder:
            for part in attachments:
                name = saving.file_name(part["filename"], part["number"], part["content_type"])
                path = folder.save(name, self._part(part["number"]))
                click.echo(plain(f"{path}  {part['content_type']}  {part['size']} bytes"))

    def print_raw(self, address: str | None) -> None:
        """Print the bytes of the message as it was delivered to an address.

        If `address` is None, the first address that has a copy in its inbox is used or, if there is none, the address
        of the first delivery: a delivery without a stored copy may still be waiting in the queue.
        """
        deliveries = self.message()["deliveries"]
        if address is None:
            kept = [one for one in deliveries if one["in_inbox"]]
            address = (kept or deliveries)[0]["address"]
        print_octets(self._server.download(f"{self._path}/raw", address=address))

    def _read(self) -> schema.MessageParts:
        """Return the header fields and the parts."""
        with _ids_explained():
            found: schema.MessageParts = self._server.get(f"{self._path}/parts")
        return found

    def _part(self, number: int) -> Iterator[bytes]:
        """Return the decoded content of a part, piece by piece."""
        return self._server.download(f"{self._path}/parts/{number}")

    def _lacks(self, what: str) -> ServerRefused:
        """Return the error for a message that does not contain what is asked for."""
        kinds = ", ".join(dict.fromkeys(plain(part["content_type"]) for part in self._read()["parts"]))
        return ServerRefused(
            f"Message {self._id} has no {what}; its parts are {kinds}. Use --raw to print the whole message."
        )


@contextmanager
def _ids_explained() -> Iterator[None]:
    """If there is no message with the given id, raise an error that explains how to find ids."""
    try:
        yield
    except NotThere as error:
        raise ServerRefused(
            f"{error} `waypost inbox` lists the ids of messages, and `waypost trace` also accepts email addresses and "
            "Message-IDs."
        ) from error


def _print_text(text: str) -> None:
    """Print a text that ends with a line end, without control characters."""
    shown = plain_text(text.replace("\r\n", "\n"))
    click.echo(shown, nl=not shown.endswith("\n"))
