"""Checks settings without starting a server: the files that they name, and the differences from a running server."""

import asyncio
import os
from collections.abc import Iterator

from waypost.config import changes
from waypost.config.changes import Changes
from waypost.config.settings import Settings
from waypost.host.data_directory import DataDirectory, NotRunning
from waypost.host.run_file import Run
from waypost.net import certificates as tls
from waypost.server import routes_check
from waypost.server.assembly import spans
from waypost.server.assembly.certificates import http_files, mail_files
from waypost.server.assembly.common import routes_of_settings
from waypost.server.opening import Refused


def problems(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each file that a server with these settings could not use, and for a route to itself."""
    for files in dict.fromkeys(files for files in (mail_files(settings), http_files(settings)) if files):
        try:
            tls.load(files)
        except tls.BadCertificate as error:
            yield str(error)
    if (file := settings.log_file) and not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        yield f"The log file {file} cannot be written."
    if settings.otel_traces and not spans.is_installed():
        yield spans.NOT_INSTALLED
    try:
        asyncio.run(routes_check.refuse_loops(routes_of_settings(settings), routes_check.OurServer.of(settings)))
    except Refused as error:
        yield str(error)


def running_with_other_settings(settings: Settings) -> tuple[Run, Changes] | None:
    """Return the server that uses the data directory of these settings, and how these settings differ from its
    settings. Return None if no server is running. Raises `DataDirectoryError`.
    """
    try:
        run = DataDirectory(settings.data).running()
    except NotRunning:
        return None
    return run, changes.of_digests(run.settings, changes.digests(settings))
