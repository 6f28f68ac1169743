"""TLS to the database: what is required where nobody says, and a man in the middle who takes TLS away."""

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
"""PostgreSQL's documentation, "Message Formats", SSLRequest."""


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
        ("postgresql://me@127.1/waypost", True),  # the resolver may take it for 127.0.0.1; nobody has to know
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
def test_tls_is_required_of_another_machine_unless_the_url_says_how(url, required):
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
def test_the_environment_of_libpq_says_where_and_how_too(environment, required, monkeypatch):
    for name in ("PGHOST", "PGHOSTADDR", "PGSSLMODE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert postgres_connection.where("postgresql:///waypost").requires_tls is required


class Middle:
    """Somebody between the server and its database: says that there is no TLS, and keeps what comes in clear."""

    def __enter__(self):
        self.heard = b""
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
                    elif octets[:1] == b"\x00":  # the startup message: ask for the password in clear
                        self.heard += octets
                        connection.sendall(b"R\x00\x00\x00\x08\x00\x00\x00\x03")
                    else:
                        self.heard += octets
                        break


@pytest.fixture
def elsewhere(monkeypatch):
    """A database on another machine: this one's loopback stands for it."""
    monkeypatch.setattr(postgres_tls, "_is_this_machine", lambda _: False)
    monkeypatch.delenv("PGSSLMODE", raising=False)


@pytest.mark.usefixtures("elsewhere")
def test_who_takes_tls_away_hears_neither_name_nor_password():
    with Middle() as middle:
        with pytest.raises(ports.StoreUnavailable, match=r"TLS is required because .* add \?sslmode=disable"):
            with_store(f"postgresql://me:hunter2@127.0.0.1:{middle.port}/waypost", None)
        assert middle.heard == b""


@pytest.mark.usefixtures("elsewhere")
def test_a_url_that_prefers_tls_goes_on_without_as_it_says():
    with Middle() as middle:
        with pytest.raises(ports.StoreUnavailable) as refused:
            with_store(f"postgresql://me:hunter2@127.0.0.1:{middle.port}/waypost?sslmode=prefer", None)
        assert b"hunter2" in middle.heard
        assert "TLS is required" not in str(refused.value)
