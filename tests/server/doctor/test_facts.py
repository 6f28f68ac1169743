"""What `waypost doctor` reads: the addresses of a running server, and whether the server uses PostgreSQL."""

import asyncio
import socket
from contextlib import ExitStack

import pytest

from waypost.config.sources import from_options
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run
from waypost.server.doctor import facts
from waypost.server.doctor.checks import Port
from waypost.server.doctor.facts import CheckedServer


def checked(path, run=None, **settings):
    return CheckedServer(from_options(data=str(path), **settings), DataDirectory(path), run)


def test_all_addresses_of_a_running_server_are_checked(tmp_path):
    with ExitStack() as opened:
        ports = [opened.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4)]
        http, https, metrics, mail = (f"127.0.0.1:{port}" for port in ports)
        any_host = f"0.0.0.0:{ports[3]}"
        run = Run(http, mail, https=https, metrics=metrics, listeners=[mail, any_host])
        found = asyncio.run(facts._ports(checked(tmp_path, run)))
    assert found == [
        Port("http", http, ""),
        Port("https", https, ""),
        Port("metrics", metrics, ""),
        Port("mail", mail, ""),
        Port("mail", any_host, ""),
    ]


@pytest.mark.parametrize("remembers", [False, True])
def test_a_server_with_a_remembered_database_needs_files_for_its_connections(tmp_path, monkeypatch, remembers):
    asked = []

    def needed_files(settings, *, has_connections):
        asked.append(has_connections)
        return 1

    monkeypatch.setattr(facts, "needed_files", needed_files)
    if remembers:
        (tmp_path / "database").write_text("postgresql://waypost@db.example/waypost\n")
    facts._machine(checked(tmp_path))
    assert asked == [remembers]
