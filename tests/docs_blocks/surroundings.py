"""The prerequisites of each page: the server, the files and the peers that its text mentions."""

import http.server
import json
import shutil
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pytest

from tests.docs_blocks.blocks import ROOT, Block
from tests.docs_blocks.session import SECRET, BlockFailed, Session, compare_members
from tests.kit import javascript as javascript_project
from tests.kit.peers.container_engine import ContainerEngine
from tests.kit.peers.mail_sink import Sink
from tests.kit.stores import postgresql
from waypost.host import certificates

SENDER = "ann@example.org"

Look = Callable[[Block], None]
"""A function that is called after each block, to check further statements of the page."""


def nothing(_: Block) -> None:
    """Check nothing."""


@contextmanager
def none(session: Session) -> Iterator[Look]:
    """For a page whose blocks set up everything themselves."""
    yield nothing


@contextmanager
def a_server(session: Session) -> Iterator[Look]:
    """For a page that needs a running server."""
    session.do('waypost serve\neval "$(waypost env)"')
    yield nothing


@contextmanager
def access_keys(session: Session) -> Iterator[Look]:
    """For a page that needs a running server, whose directory is /srv/waypost on the page."""
    session.do("waypost serve")
    session.replaced["/srv/waypost"] = str(session.home)
    yield nothing


@contextmanager
def javascript(session: Session) -> Iterator[Look]:
    """For a page with tests in JavaScript, whose reader has installed the packages that they need."""
    if javascript_project.MISSING:
        pytest.skip(javascript_project.MISSING)
    javascript_project.install(session.home)
    yield nothing


@contextmanager
def mail_from_the_internet(session: Session) -> Iterator[Look]:
    """For a page that needs a certificate."""
    folder = session.home / "letsencrypt"
    folder.mkdir()
    for name, octets in zip(
        ("fullchain.pem", "privkey.pem"), certificates.self_signed("mx.example.com", datetime.now(UTC)), strict=True
    ):
        (folder / name).write_bytes(octets)
    session.replaced["/etc/letsencrypt/live/mx.example.com"] = str(folder)
    yield nothing


@contextmanager
def in_postgresql(session: Session) -> Iterator[Look]:
    """For a page that needs a PostgreSQL server, of which the reader is the administrator."""
    with postgresql.OwnServer(fsync=False) as server:
        folder = postgresql.address_of(server.url)
        assert isinstance(folder, str), "the PostgreSQL server listens on a Unix socket"
        host = str(Path(folder).parent)
        session.do(f'export PGHOST="{host}" PGUSER=postgres PATH="$PATH:{postgresql.binaries()}"')
        session.replaced["postgresql://waypost@db.example/waypost"] = f"postgresql://waypost@/waypost?host={host}"
        session.stdin = "a password\na password\n"
        yield nothing
        session.end_servers()


@contextmanager
def routes(session: Session) -> Iterator[Look]:
    """For a page whose routes lead to an SMTP server and an LMTP server."""
    with Sink() as server, Sink(is_lmtp=True) as store:
        session.replaced |= {"smtp://127.0.0.1:2600": server.to, "lmtp://127.0.0.1:2400": store.to}
        session.do("waypost serve")
        yield nothing


@contextmanager
def backup(session: Session) -> Iterator[Look]:
    """For a page that needs a running server. After a backup, check that only its owner can read it."""
    session.do("waypost serve")

    def look(block: Block) -> None:
        if block.text.startswith("waypost backup"):
            for path in (session.home.parent / "waypost-backup").rglob("*"):
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    raise BlockFailed(f"{block.place}: other users can read {path}")

    yield look


@contextmanager
def inject_faults(session: Session) -> Iterator[Look]:
    """For a page about a server for tests. Check its magic recipients and the first rule of its settings file."""

    def look(block: Block) -> None:
        if block.language != "toml":
            return
        session.do('waypost serve --config waypost.toml\neval "$(waypost env)"')
        for name in ("support", "busy"):
            session.create(f"{name}@example.com")
        for faulty in ("tempfail+support", "bounce+support", "busy", "busy"):
            session.send(f"{faulty}@example.com", "Subject: Hello\r\n\r\nHi!\r\n", sender=SENDER, is_refused=True)
        session.send("busy@example.com", "Subject: Hello\r\n\r\nHi!\r\n", sender=SENDER)

    yield look


TEST_OF_CI = """
import os
import smtplib

import boto3


def test_mail_is_accepted():
    instance = os.environ["WAYPOST_INSTANCE_ID"]
    boto3.client("connect").create_email_address(InstanceId=instance, EmailAddress="help@example.com")
    host, _, port = os.environ["WAYPOST_SMTP"].rpartition(":")
    with smtplib.SMTP(host, int(port)) as client:
        client.sendmail("ann@example.org", ["help@example.com"], b"Subject: Hello\\r\\n\\r\\nHi!\\r\\n")
"""


@contextmanager
def run_in_ci(session: Session) -> Iterator[Look]:
    """For a page about jobs that install the dependencies of a project and run its test. Each job has a new machine."""
    (session.home / "requirements.txt").write_text("waypost\nboto3\npytest\n")
    (session.home / "test_of_ci.py").write_text(TEST_OF_CI)

    def look(block: Block) -> None:
        if block.language == "yaml":
            run = json.loads((session.home / "waypost-data" / "run.json").read_text(encoding="utf-8"))
            session.do(f"kill {run['pid']}; while kill -0 {run['pid']} 2> /dev/null; do sleep 0.05; done")
            shutil.rmtree(session.home / "waypost-data")

    yield look


@contextmanager
def to_aws(session: Session) -> Iterator[Look]:
    """For a page about code whose configuration names the instance."""
    session.do('waypost serve\neval "$(waypost env)"\nexport CONNECT_INSTANCE_ID=$WAYPOST_INSTANCE_ID')
    session.create("support@example.com")
    yield nothing


@contextmanager
def search(session: Session) -> Iterator[Look]:
    """For a page that searches for email addresses."""
    session.do('waypost serve\neval "$(waypost env)"')
    for name in ("support", "billing"):
        session.create(f"{name}@example.com", Description="mail about billing", Tags={"team": "blue"})
    yield nothing


@contextmanager
def see_mail_in_a_browser(session: Session) -> Iterator[Look]:
    """For a page whose reader has created an email address in the console. The message must be in its inbox."""
    session.do("waypost serve")
    session.create("me@example.com")
    yield nothing
    session.do("waypost inbox me@example.com | grep 'My first message'")


@contextmanager
def webhooks(session: Session) -> Iterator[Look]:
    """For a page about deliveries to a webhook. Check its JSON and its Python code with a real delivery."""
    with _Receiver() as receiver:
        session.write_secret("hook.secret")
        (session.home / "hook.toml").write_text(
            f'[[route]]\nmatch = "*"\nto = "{receiver.url}"\nsecret_file = "hook.secret"\nallow_private = true\n'
        )
        session.do("waypost serve --config hook.toml")
        session.associate(session.create("help@example.com"), session.create("support@example.com"))
        session.send("help@example.com", "Subject: Hello\r\n\r\nHi!\r\n", sender="customer@client.example")

        def look(block: Block) -> None:
            if block.language == "json":
                receiver.wait_for(2)
                shown = json.loads(block.text)
                (found,) = (one for one in receiver.metadata if one["reason"] == shown["reason"])
                compare_members(shown, found, f"{block.place}: the metadata of a delivery")
            if "def parts" in block.text:
                headers, body = receiver.requests[0]
                given = f"headers, body, secret = {dict(headers)!r}, {body!r}, {SECRET!r}\n"
                failed = session.evaluate(
                    f"{given}assert is_from_waypost(headers, body, secret)\n"
                    "assert not is_from_waypost(headers, body + b'.', secret)\n"
                    "metadata, message = parts(headers, body)\n"
                    "assert metadata['subject'] == 'Hello' and message.endswith(b'Subject: Hello\\r\\n\\r\\nHi!\\r\\n')"
                )
                if failed:
                    raise BlockFailed(f"{block.place}: the code failed with a real delivery: {failed}")

        yield look


@contextmanager
def testcontainers(session: Session) -> Iterator[Look]:
    """For a page whose reader has a container engine, and has built the image. The engine is a small one for tests."""
    with ContainerEngine(session.home / "engine") as engine:
        session.do("export " + " ".join(f"{name}={value}" for name, value in engine.variables.items()))
        yield nothing


@contextmanager
def where_is_my_mail(session: Session) -> Iterator[Look]:
    """For a page about lost mail: a delivery was deferred twice and then failed, and other mail was refused or kept."""
    answers = iter([b"451 4.3.0 the disk is full"] * 2 + [b"550 5.1.1 no such mailbox"])
    with Sink(at_rcpt=lambda _: next(answers, b"250 2.1.5 ok")) as sink:
        (session.home / "waypost.toml").write_text(
            f'clock = "virtual"\n[[route]]\nmatch = "desk@example.com"\nto = "{sink.to}"\n'
            '[delivery]\nsrs_domain = "bounces.example.com"\n',
            encoding="utf-8",
        )
        (session.home / "message.eml").write_bytes(
            b"From: Ann <ann@shop.example>\r\nTo: support@example.com\r\nSubject: Where is my order?\r\n"
            b"DKIM-Signature: v=1; a=rsa-sha256; d=shop.example; s=1; h=from; bh=YQ==; b=YQ==\r\n\r\nHello!\r\n"
        )
        session.do('waypost serve --config waypost.toml\neval "$(waypost env)"')
        session.associate(session.create("support@example.com"), session.create("desk@example.com"))
        unlinked = session.create("help@example.com")
        session.send("help@example.com", "Subject: For the archive\r\n\r\nHi!\r\n", sender="ann@shop.example")
        session.associate(unlinked, session.create("sales@example.com"))
        session.send("support@example.com", "Subject: Where is my order?\r\n\r\nHi!\r\n", sender="ann@shop.example")
        session.advance("30s", "5m", "30m")
        session.send("suport@example.com", "Subject: Hello\r\n\r\n", sender="a@client.example", is_refused=True)
        session.do("until waypost trace suport@example.com; do sleep 0.1; done")
        yield nothing
        session.end_servers()


LETTER = """From: =?utf-8?q?Ann_M=C3=BCller?= <ann@shop.example>
To: support@example.com
Subject: Where is my order?
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=part

--part
Content-Type: text/plain

My order has not arrived. The invoice is attached.
--part
Content-Type: application/pdf
Content-Disposition: attachment; filename=invoice.pdf
Content-Transfer-Encoding: base64

JVBERi0xLjcK
--part--
""".replace("\n", "\r\n")


@contextmanager
def read_mail_in_the_shell(session: Session) -> Iterator[Look]:
    """For a page about mail with an attachment. Before the last command, which waits for mail, begin to send mail."""
    session.do('waypost serve\neval "$(waypost env)"')
    session.associate(session.create("support@example.com"), session.create("desk@example.com"))
    session.send("support@example.com", LETTER, sender="ann@shop.example")
    session.do("until waypost search invoice | grep order; do sleep 0.1; done")
    has_ended = threading.Event()

    def send() -> None:
        while not has_ended.wait(0.5):
            session.send("desk@example.com", "Subject: Hello\r\n\r\nHi!\r\n", sender="bob@mill.example")

    sender = threading.Thread(target=send)

    def look(block: Block) -> None:
        if "--save" in block.text:
            sender.start()

    try:
        yield look
    finally:
        has_ended.set()
        if sender.ident:
            sender.join()


@contextmanager
def tickets(session: Session) -> Iterator[Look]:
    """For the page of an example, whose reader is in its folder. The second terminal runs in the background."""
    shutil.copytree(ROOT / "examples" / "tickets", session.home, dirs_exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    ready = f"until curl --silent --output ~/tickets.json http://127.0.0.1:{port}/tickets; do sleep 0.1; done"
    serve = "python -m tickets serve --port 8080 --secret-file webhook.secret"
    session.replaced |= {serve: f"{serve.replace('8080', port)} &\n{ready}", "127.0.0.1:8080": f"127.0.0.1:{port}"}
    yield nothing
    session.do(f"until curl --silent http://127.0.0.1:{port}/tickets | grep 'My lamp is dark'; do sleep 0.1; done")


PAGES: dict[str, Callable[[Session], AbstractContextManager[Look]]] = {
    "docs/how-to/access-keys.md": access_keys,
    "docs/how-to/backup.md": backup,
    "docs/how-to/inject-faults.md": inject_faults,
    "docs/how-to/javascript.md": javascript,
    "docs/how-to/mail-from-the-internet.md": mail_from_the_internet,
    "docs/how-to/postgresql.md": in_postgresql,
    "docs/how-to/read-mail-in-the-shell.md": read_mail_in_the_shell,
    "docs/how-to/retention.md": a_server,
    "docs/how-to/rotate-keys.md": a_server,
    "docs/how-to/routes.md": routes,
    "docs/how-to/run-in-ci.md": run_in_ci,
    "docs/how-to/run-it.md": a_server,
    "docs/how-to/search.md": search,
    "docs/how-to/see-mail-in-a-browser.md": see_mail_in_a_browser,
    "docs/how-to/to-aws.md": to_aws,
    "docs/how-to/testcontainers.md": testcontainers,
    "docs/how-to/webhooks.md": webhooks,
    "docs/how-to/where-is-my-mail.md": where_is_my_mail,
    "examples/tickets/README.md": tickets,
}


def surroundings(page: str, session: Session) -> AbstractContextManager[Look]:
    """Return the context manager that sets up the prerequisites of a page, and yields the check after each block."""
    return PAGES.get(page, none)(session)


class _Receiver:
    """An HTTP server that accepts every request of a webhook."""

    def __enter__(self) -> Self:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        came = self._came = threading.Condition()
        requests = self.requests

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with came:
                    requests.append((dict(self.headers), body))
                    came.notify()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Suppress the log."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/mail"

    def wait_for(self, count: int) -> None:
        """Wait until `count` deliveries have arrived."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= count, 60), (
                f"{len(self.requests)} deliveries arrived"
            )

    @property
    def metadata(self) -> list[dict[str, object]]:
        """The metadata of each delivery."""
        return [json.loads(body.split(b"\r\n\r\n")[1].partition(b"\r\n")[0]) for _, body in self.requests]
