"""The HTTP client that commands use to call a running server, and the options that commands share."""

import shlex
from pathlib import Path
from typing import Annotated

from waypost.cli.parameters import Argument, Option
from waypost.client import https
from waypost.client.http import Connection, NoServer, NotThere, ServerRefused, path_of
from waypost.config import rows
from waypost.host.data_directory import DataDirectory

__all__ = ["DEFAULT_DATA", "Address", "Client", "Data", "Json", "NoServer", "NotThere", "ServerRefused", "path_of"]

Data = Annotated[
    str, Option("--data", help="The data directory of the running server.", envvar=rows.environment_name("data"))
]
Address = Annotated[str, Argument(metavar="ADDRESS", help="An email address, such as support@example.com.")]
Json = Annotated[bool, Option("--json", help="Print JSON instead of text, for use by programs.")]

DEFAULT_DATA = rows.DATA_DIRECTORY


class Client(Connection):
    """A client for the server that is using a given data directory. The client authenticates with the server's own
    access key.
    """

    def __init__(self, data: str) -> None:
        directory = DataDirectory(Path(data))
        self.run = directory.running()
        if not self.run.has_api:
            raise NoServer(
                f"The server that uses {directory.path.absolute()} has no HTTP port, because it does not have the api "
                "role. With --data, name the data directory of a server that has it."
            )
        profile = directory.profiles()[0]
        self.key, self.region = profile.key, profile.region
        try:
            connect = None if self.run.http else https.connecting(self.run)
        except https.BadAuthority as error:
            raise NoServer(str(error)) from error
        super().__init__(
            self.run.http or self.run.https,
            connect=connect,
            key_id=self.key.id,
            secret=self.key.secret,
            when_unauthorized=(
                f"The access key in {directory.credentials} is no longer active. Remove the credentials file and start "
                "Waypost again. Waypost then creates a new key."
            ),
            when_unreachable=(
                f" If it was killed, start it again: waypost serve --data {shlex.quote(str(directory.path))}"
            ),
        )
