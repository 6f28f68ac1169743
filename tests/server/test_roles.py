"""Services with some of the roles, and several services on one event loop."""

import asyncio
import re
import smtplib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.kit.patience import PATIENCE, until
from tests.kit.servers.running import MASTER_KEY, fetch
from tests.kit.stores import postgresql
from tests.kit.values import an_email_address
from waypost.config.settings import ALL_ROLES, Role
from waypost.config.sources import from_options
from waypost.domain.mail.routes import Route
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.observe import events
from waypost.server import opening
from waypost.server.http.server import HttpServer
from waypost.server.service import Service

ANY_PORT = {"http": "127.0.0.1:0", "smtp": "127.0.0.1:0", "lmtp": "127.0.0.1:0"}
LOCAL = {"authentication": "off", "trusted_networks": "127.0.0.0/8"}


class Running:
    """A service on a data directory, and all events that it has emitted."""

    def __init__(self, directory, roles=ALL_ROLES, *, routes=(), **settings):
        self.emitted = []
        given = from_options(**{"data": str(directory), "roles": ",".join(roles), **ANY_PORT, **LOCAL, **settings})
        self.service = Service(replace(given, routes=routes), emit=self.emitted.append)

    async def start(self):
        self.run = await self.service.start()
        return self

    async def stop(self):
        await self.service.stop()

    def emitted_of(self, kind):
        return [event for event in self.emitted if isinstance(event, kind)]

    @property
    def edges(self):
        """The names of the edges that listen."""
        return {event.edge for event in self.emitted_of(events.Listening)}

    async def add_address(self, name):
        """Add an email address to the owner's instance, as an API call would."""
        settings = self.service.settings
        address = an_email_address(name, self.service.instance_id)
        add = partial(_add, address=address)
        await opening.administer(self.service.directory, add, database=settings.database)

    async def send(self, name):
        """Send a message to this local part over SMTP, from another thread."""
        await asyncio.to_thread(_send, self.run.smtp, f"{name}@example.com")

    async def health(self):
        return await asyncio.to_thread(fetch, f"http://{self.run.http}/_waypost/health")


def _add(tx, *, address):
    tx.add_email_address(address, {})


def _send(smtp, recipient):
    host, _, port = smtp.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=PATIENCE) as client:
        client.sendmail("ann@client.example", [recipient], b"Subject: hello\r\n\r\nHello.\r\n")


def on_one_loop(scenario, *services):
    """Start services, run a scenario and stop the services. Check that none of them has logged a failure."""

    async def run():
        async with asyncio.timeout(PATIENCE):
            for service in services:
                await service.start()
            try:
                return await scenario()
            finally:
                for service in reversed(services):
                    await service.stop()

    result = asyncio.run(run())
    for service in services:
        assert service.emitted_of(events.Failed) + service.emitted_of(events.StoreFailed) == []
        assert service.emitted[-1] == events.Stopped()
    return result


def test_two_services_run_on_one_loop_and_each_has_its_own_mail(tmp_path):
    one, other = Running(tmp_path / "one"), Running(tmp_path / "other")

    async def scenario():
        for service, name in ((one, "support"), (other, "sales")):
            assert (await service.health()).status == 200
            await service.add_address(name)
            await service.send(name)
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                await service.send("nobody")

    on_one_loop(scenario, one, other)
    for service in (one, other):
        assert service.edges == {"http", "smtp", "lmtp"}
        assert len(service.emitted_of(events.MessageAccepted)) == 1


def test_a_service_with_only_the_api_role_listens_only_for_calls_and_claims_no_deliveries(tmp_path):
    api = Running(tmp_path / "data", {Role.API})

    async def scenario():
        assert (await api.health()).status == 200

    on_one_loop(scenario, api)
    assert api.edges == {"http"}
    assert (api.run.smtp, api.run.lmtp, api.run.listeners) == ("", "", [])


def test_a_service_without_the_api_role_accepts_and_delivers_mail(tmp_path):
    route = Route(match="*", to=f"maildir:{tmp_path / 'maildir'}")
    mail = Running(tmp_path / "data", {Role.SMTP, Role.DELIVERY}, routes=(route,))

    async def scenario():
        await mail.add_address("support")
        await mail.send("support")
        await until(lambda: mail.emitted_of(events.Delivered))

    on_one_loop(scenario, mail)
    assert mail.edges == {"smtp", "lmtp"}
    assert mail.run.http == ""
    assert len(list((tmp_path / "maildir" / "new").iterdir())) == 1


def test_mail_waits_in_the_queue_until_a_service_with_the_delivery_role_runs(tmp_path):
    route = Route(match="*", to=f"maildir:{tmp_path / 'maildir'}")
    receiving = Running(tmp_path / "data", {Role.SMTP}, routes=(route,))
    sending = Running(tmp_path / "data", {Role.DELIVERY}, routes=(route,))

    async def receive():
        await receiving.add_address("support")
        await receiving.send("support")

    async def send():
        await until(lambda: sending.emitted_of(events.Delivered))

    on_one_loop(receive, receiving)
    assert len(receiving.emitted_of(events.MessageAccepted)) == 1
    assert not (tmp_path / "maildir").exists()
    on_one_loop(send, sending)
    assert sending.edges == set()


@pytest.fixture
def database():
    """A new database of the tests' PostgreSQL."""
    url = postgresql.new_database()
    yield url
    postgresql.drop_database(url)


def test_services_that_share_a_database_each_do_the_work_of_their_roles(tmp_path, database, monkeypatch):
    monkeypatch.setenv(MASTER_KEY_VARIABLE, MASTER_KEY)
    route = Route(match="*", to=f"maildir:{tmp_path / 'maildir'}")
    common = {"routes": (route,), "database": database, "database_connections": "5"}
    api = Running(tmp_path / "api", {Role.API}, **common)
    mail = Running(tmp_path / "mail", {Role.SMTP, Role.DELIVERY}, **common)

    async def scenario():
        assert api.service.instance_id == mail.service.instance_id
        assert (await api.health()).status == 200
        await api.add_address("support")
        await mail.send("support")
        await until(lambda: mail.emitted_of(events.Delivered))

    on_one_loop(scenario, api, mail)
    assert (api.edges, mail.edges) == ({"http"}, {"smtp", "lmtp"})
    assert len(list((tmp_path / "maildir" / "new").iterdir())) == 1


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "postgresql.md"
AT_ONCE = 40


async def work_of(role, service):
    """Let a service do much work of a role at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as clients:  # not the loop's threads, which the service uses too

        async def each(call, *arguments):
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(clients, call, *arguments) for _ in range(AT_ONCE)))

        if role is Role.API:
            await each(fetch, f"http://{service.run.http}/_waypost/ready")
        elif role is Role.SMTP:
            await service.add_address("support")
            await each(_send, service.run.smtp, "support@example.com")
        elif role is Role.DELIVERY:
            await until(lambda: len(service.emitted_of(events.Delivered)) == AT_ONCE)


@pytest.mark.slow
def test_a_service_opens_at_most_the_connections_to_postgresql_that_the_page_names(tmp_path, database, monkeypatch):
    rows = re.findall(r"^\| `(\w+)` \|.* (\d+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    most = {Role(name): int(count) for name, count in rows}
    assert set(most) == set(Role)
    monkeypatch.setenv(MASTER_KEY_VARIABLE, MASTER_KEY)
    route = Route(match="*", to=f"maildir:{tmp_path / 'maildir'}")
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    found = {}
    with psycopg.connect(database, autocommit=True) as admin:
        for role in (Role.API, Role.SMTP, Role.DELIVERY, Role.UPKEEP):
            service = Running(tmp_path / role, {role}, routes=(route,), database=database)

            async def scenario():
                await work_of(role, service)  # noqa: B023 - ends in this round
                await until(lambda: admin.execute(query).fetchone()[0])
                return admin.execute(query).fetchone()[0]

            found[role] = on_one_loop(scenario, service)
    assert {role: count for role, count in found.items() if count > most[role]} == {}
    assert found[Role.API] > found[Role.UPKEEP]


def test_a_service_reports_that_its_http_server_has_failed(tmp_path, monkeypatch):
    is_ready = asyncio.Event()

    async def fails(_):
        await is_ready.wait()
        raise RuntimeError("a bug")

    monkeypatch.setattr(HttpServer, "main_loop", fails)
    api = Running(tmp_path / "data", {Role.API})

    async def scenario():
        await api.start()
        is_ready.set()
        async with asyncio.timeout(PATIENCE):
            where, incident = await api.service.tasks.failed()
        await api.stop()
        return where, incident.id

    where, incident_id = asyncio.run(scenario())
    assert [(event.where, event.id) for event in api.emitted_of(events.Failed)] == [(where, incident_id)]
    assert where == "http"
    assert api.emitted[-1] == events.Stopped()
