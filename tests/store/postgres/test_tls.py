"""TLS to the database: when it is required by default, and an attacker in the middle who claims there is no TLS."""

import socket
import threading

import pytest
from psycopg import conninfo

from tests.kit.patience import PATIENCE
from tests.kit.stores.broken_postgresql import with_store
from waypost.app import ports
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import tls as postgres_tls

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""The SSLRequest message (PostgreSQL documentation, "Message Formats")."""


@pytest.mark.parametrize(
    ("url", "required"),
    [
        ("postgresql:///waypost", False),
        ("postgresql://me@/waypost?host=/run/postgresql", False),
        ("postgresql://me@/waypost?host=@abstract", False),
        ("postgresql://me@localhost/waypost", False),
        ("postgresql://me@LOCALHOST./waypost", False),
        ("postgresql://me@127.0.0.1/waypost", False),
        ("postgresql://me@127.8.9.10/waypost", False),
        ("postgresql://me@[::1]/waypost", False),
        ("postgresql://me@[::ffff:127.0.0.1]/waypost", False),
        ("postgresql://me@[::ffff:192.0.2.1]/waypost", True),
        ("postgresql://me@db.example/waypost", True),
        ("postgresql://me@localhost.evil.example/waypost", True),
        ("postgresql://me@127.1/waypost", True),  # the resolver may read it as 127.0.0.1, but Waypost need not
        ("postgresql://me@192.0.2.1/waypost", True),
        ("postgresql://me@10.0.0.1/waypost", True),
        ("postgresql://me@localhost,db.example/waypost", True),
        ("postgresql://me@localhost/waypost?hostaddr=192.0.2.1", True),
        ("postgresql://me@db.example/waypost?hostaddr=127.0.0.1", False),
        ("postgresql://me@a.example,b.example/waypost?hostaddr=127.0.0.1,", True),
        ("host=db.example dbname=waypost", True),
        ("postgresql://me@db.example/waypost?sslmode=", True),
        ("postgresql://me@db.example/waypost?sslmode=disable", False),
        ("postgresql://me@db.example/waypost?sslmode=prefer", False),
        ("postgresql://me@db.example/waypost?sslmode=verify-full", False),
        ("postgresql://me@db.example/waypost?service=theirs", False),
    ],
)
def test_tls_is_required_for_another_machine_unless_the_url_has_an_sslmode(url, required):
    assert postgres_tls.is_required(conninfo.conninfo_to_dict(url), {}) is required


@pytest.mark.parametrize(
    ("environment", "required"),
    [
        ({}, False),
        ({"PGHOST": "db.example"}, True),
        ({"PGHOSTADDR": "192.0.2.1"}, True),
        ({"PGHOST": "db.example", "PGSSLMODE": "verify-full"}, False),
        ({"PGHOST": "db.example", "PGSERVICE": "theirs"}, False),
    ],
)
def test_the_environment_variables_of_libpq_are_considered_too(environment, required, monkeypatch):
    for name in ("PGHOST", "PGHOSTADDR", "PGSSLMODE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert postgres_connection.where("postgresql:///waypost").requires_tls is required


class AttackerInTheMiddle:
    """An attacker between Waypost and its database, who claims that there is no TLS, and records all plaintext."""

    def __enter__(self):
        self.received = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()

    def _listen(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                while octets := connection.recv(4096):
                    if octets == SSL_REQUEST:
                        connection.sendall(b"N")
                    elif octets[:1] == b"\x00":  # the startup message: request the password in plaintext
                        self.received += octets
                        connection.sendall(b"R\x00\x00\x00\x08\x00\x00\x00\x03")
                    else:
                        self.received += octets
                        break


@pytest.fixture
def on_another_machine(monkeypatch):
    """Make the store treat the loopback address as another machine."""
    monkeypatch.setattr(postgres_tls, "_is_this_machine", lambda _: False)
    monkeypatch.delenv("PGSSLMODE", raising=False)


@pytest.mark.usefixtures("on_another_machine")
def test_an_attacker_who_denies_tls_learns_neither_the_user_name_nor_the_password():
    with AttackerInTheMiddle() as attacker:
        with pytest.raises(ports.StoreUnavailable, match=r"TLS is required because .* add \?sslmode=disable"):
            with_store(f"postgresql://me:hunter2@127.0.0.1:{attacker.port}/waypost", None)
        assert attacker.received == b""


@pytest.mark.usefixtures("on_another_machine")
def test_a_url_with_sslmode_prefer_connects_without_tls_if_the_server_has_none():
    with AttackerInTheMiddle() as attacker:
        with pytest.raises(ports.StoreUnavailable) as refused:
            with_store(f"postgresql://me:hunter2@127.0.0.1:{attacker.port}/waypost?sslmode=prefer", None)
        assert b"hunter2" in attacker.received
        assert "TLS is required" not in str(refused.value)
