"""Finds incomplete changes: an unused setting, a kind of route without a transport, or an undocumented event.

Settings, kinds of routes and events are rows of a table or members of an enumeration, which other code must use. The
tests compare the tables with that code, so they fail if a new row is used nowhere.
"""

import ast
import asyncio
import dataclasses
import gc
import json
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from types import ModuleType
from typing import get_args

import msgspec.structs
import pytest
from msgspec import Struct

from tests.kit.stores import postgresql
from waypost import cli
from waypost.cli import parameters, program
from waypost.config import file as settings_file
from waypost.config import tables
from waypost.config.settings import ROWS, Settings
from waypost.config.sources import from_options
from waypost.config.tables import Delivery
from waypost.config.types import Endpoint
from waypost.delivery.queue.worker import Dependencies
from waypost.domain.dsn.notices import Bounces
from waypost.domain.mail import routes, trace_events
from waypost.domain.mail.delivery import Policy, Protocol
from waypost.domain.mail.fault_rules import FaultRule
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Route
from waypost.host import certificates
from waypost.host.clock import VirtualClock
from waypost.inspection import asgi
from waypost.inspection.operations import OPERATIONS
from waypost.observe import events, logs
from waypost.observe.spans import sender
from waypost.server import service as services
from waypost.server.assembly import metrics as assembly
from waypost.server.http.limits import HttpBounds
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.store.postgres import store
from waypost.store.postgres.store import PostgresStore, Shares

ROOT = Path(__file__).parents[1]
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").glob("**/*.py"))}


# Settings


@dataclass(frozen=True)
class Has:
    """Matches an object whose class has the name `of`, and whose attribute `name` has the given value."""

    of: str
    name: str
    value: object


@dataclass(frozen=True)
class Begins:
    """Matches a string that begins with `text`."""

    text: str


SETTINGS: dict[str, tuple[str, object]] = {
    "data": ("{home}/elsewhere", Has("DataDirectory", "path", Path("{home}/elsewhere"))),
    "http": ("127.0.0.3:0", Begins("127.0.0.3:")),
    "metrics": ("127.0.0.7:0", Has("HttpBounds", "connections", assembly.BOUNDS.connections)),
    "smtp": ("127.0.0.4:0", Begins("127.0.0.4:")),
    "smtps": ("127.0.0.5:0", Begins("127.0.0.5:")),
    "lmtp": ("127.0.0.6:0", Begins("127.0.0.6:")),
    "tls_certificate": ("{home}/certificate.pem", Has("TlsFiles", "certificate", Path("{home}/certificate.pem"))),
    "tls_key": ("{home}/key.pem", Has("TlsFiles", "key", Path("{home}/key.pem"))),
    "tls_required": ("yes", Has("Capabilities", "needs_tls", True)),
    "tls_clients": ("{home}/authority.pem", Has("TlsFiles", "client_authority", Path("{home}/authority.pem"))),
    "proxy_networks": ("10.9.8.0/24", ip_network("10.9.8.0/24")),
    "trusted_networks": ("10.9.7.0/24", ip_network("10.9.7.0/24")),
    "https": ("127.0.0.8:0", Begins("127.0.0.8:")),
    "https_certificate": ("{home}/certificate.pem", Has("TlsFiles", "certificate", Path("{home}/certificate.pem"))),
    "https_key": ("{home}/key.pem", Has("TlsFiles", "key_option", "--https-key")),
    "https_authority": ("{home}/authority.pem", Has("Run", "https_authority", Path("{home}/authority.pem"))),
    "http_connections": ("57", Has("HttpBounds", "connections", 57)),
    "http_connections_each": ("57", Has("HttpBounds", "connections_each", 57)),
    "http_names": ("set.example", Has("Guard", "_own_names", from_options(http_names="set.example").own_http_names)),
    "smtp_connections": ("57", Has("SmtpLimits", "connections", 57)),
    "smtp_connections_each": ("57", Has("SmtpLimits", "connections_each", 57)),
    "smtp_new_connections_each": ("57", Has("SmtpLimits", "new_connections_a_minute", 57)),
    "smtp_messages_each": ("57", Has("SmtpLimits", "messages_a_minute", 57)),
    "smtp_unknown_recipients": ("57", Has("Capabilities", "unknown_recipient_limit", 57)),
    "smtp_memory": ("57", Has("SmtpLimits", "memory", 57 * 2**20)),
    "greeting_delay": ("57s", Has("SmtpLimits", "greeting_delay", 57)),
    "authentication": ("enforce", Has("Backend", "enforces", True)),
    "dns": ("192.0.2.57", Endpoint("192.0.2.57", 53)),
    "subaddressing": ("set.example", Has("Deployment", "subaddressed", frozenset({"set.example"}))),
    "shared_domains": ("set.example", Has("Domains", "shared", frozenset({"set.example"}))),
    "hostname": ("mx.set.example", Has("Deployment", "hostname", "mx.set.example")),
    "database": ("{database}", PostgresStore),
    "database_connections": ("57", Has("ThreadPoolExecutor", "_max_workers", Shares.of(57).writes)),
    "database_prepared_statements": ("no", Has("WriteGroups", "_prepares", False)),
    "account": ("575757575757", "aws_account_id = 575757575757"),
    "region": ("eu-north-1", "region = eu-north-1"),
    "limits": ("aws", Has("Terms", "email_address_quota", 100)),
    "token_retention": ("57h", timedelta(hours=57)),
    "trace_refusals": ("57h", timedelta(hours=57)),
    "dead_letter_retention": ("58h", timedelta(hours=58)),
    "disk_reserve": ("57MiB", 57 * 2**20),
    "hold_queue": ("yes", Has("QueuePages", "_is_held", True)),
    "console_link": ("always", Begins("http://127.0.0.1:")),
    "otel_traces": ("http://127.0.0.1:9", Has("SpanSender", "_every", sender.SEND_EVERY)),
    "otel_sampling": ("0.57", Has("Spans", "_ratio", 0.57)),
    "probe_alias": ("set@example.com", Has("Probe", "alias", "set@example.com")),
    "probe_every": ("57s", Has("Probe", "every", timedelta(seconds=57))),
    "clock": ("virtual", VirtualClock),
    "testing": ("yes", Has("FaultRules", "allowed", True)),
}
"""For each setting of `waypost serve`: a value, and an object that the service must then contain, besides the settings.
"""

NOT_OF_THE_SERVICE = {"config", "workers", "roles", "log_level", "log_format", "log_file", "database_migrations"}
"""Settings that the command uses itself, or that only its start uses, so that the service does not contain them."""

DELIVERY = {
    "retry_schedule": ('["57s"]', (timedelta(seconds=57),)),
    "expire": ('"57h"', timedelta(hours=57)),
    "bounces": ('"never"', Has("Deployment", "bounces", Bounces.NEVER)),
    "bounces_via": (
        '"smtp://127.0.0.1:1"',
        Has("Deployment", "bounces_via", Route(match="*", to="smtp://127.0.0.1:1")),
    ),
    "confirm_outside": ("true", Has("Deployment", "confirm_outside", True)),
    "delay_warning": ('"57m"', timedelta(minutes=57)),
    "srs_domain": ('"set.example"', Has("Deployment", "srs_domain", "set.example")),
    "own_domains": ('["set.example"]', Has("Deployment", "own_domains", frozenset({"set.example"}))),
    "connections": ("57", Has("Dependencies", "connections", 57)),
}
"""For each key of `[delivery]`: a value, and an object that the service must then contain, besides the settings."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with certificates and their keys."""
    home = tmp_path_factory.mktemp("home")
    certificate, key = certificates.self_signed("mx.set.example", datetime.now(UTC))
    files = {"certificate": certificate, "key": key, "authority": certificate, "both": key + certificate}
    for name, octets in files.items():
        (home / f"{name}.pem").write_bytes(octets)
    return home


@pytest.fixture(scope="module")
def by_default(home):
    """The objects of a service with default settings, and of a service that also has a certificate."""
    with_tls = {"tls_certificate": str(home / "both.pem")}
    return {tls: the_service(home / f"default-{tls}", **(with_tls if tls else {})) for tls in (False, True)}


def the_service(directory, delivery=None, *, then=None, **given):
    """Start a service, and return all of its objects except the settings, and the lines of its credentials file.

    If `then` is given, it changes the settings, and the service reloads them.
    """
    on_free_ports = {"data": str(directory), "http": "127.0.0.1:0", "smtp": "127.0.0.1:0"}
    settings = replace(from_options(**on_free_ports | given), delivery=delivery or Delivery())

    async def started():
        service = services.Service(settings, reread=then and (lambda: then(settings)))
        run = await service.start()
        try:
            if then:
                assert await service.reload()
                service._reread = None  # it contains the new settings
            return list(reached([service, run])), service.directory.credentials.read_text(encoding="utf-8").splitlines()
        finally:
            await service.stop()

    parts, credentials = asyncio.run(started())
    return [*parts, *credentials]


def reached(start):
    """Yield all objects that are reachable from `start`, except through modules, classes and settings."""
    modules = {id(vars(module)) for module in list(sys.modules.values()) if isinstance(module, ModuleType)}
    seen, left = set(), list(start)
    while left:
        found = left.pop()
        if id(found) in seen or id(found) in modules or isinstance(found, ModuleType | type | Settings):
            continue
        seen.add(id(found))
        yield found
        left.extend(gc.get_referents(found))


def has(parts, wanted, home):
    """Return whether an object that matches `wanted` is among the objects of a service."""
    if isinstance(wanted, Has):
        value = Path(str(wanted.value).format(home=home)) if isinstance(wanted.value, Path) else wanted.value
        return any(
            type(part).__name__ == wanted.of and getattr(part, wanted.name) in (value, str(value)) for part in parts
        )
    if isinstance(wanted, type):
        return any(type(part) is wanted for part in parts)
    if isinstance(wanted, Begins):
        return any(isinstance(part, str) and part.startswith(wanted.text) for part in parts)
    return any(type(part) is type(wanted) and part == wanted for part in parts)


def test_each_setting_has_a_row_in_the_tables_of_this_file():
    assert set(SETTINGS) | NOT_OF_THE_SERVICE == set(ROWS)
    assert set(DELIVERY) == set(tables.DELIVERY)
    assert {field.name for field in dataclasses.fields(Settings)} == set(ROWS) | {
        "routes",
        "delivery",
        "retention",
        "faults",
    }
    assert set(tables.TABLES) == {"[[route]]", "[delivery]", "[delivery.bounces_via]", "[[retention]]", "[[fault]]"}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_each_setting_of_serve_changes_the_service(name, home, by_default, tmp_path):
    value, wanted = SETTINGS[name]
    needed = {
        "https": {"tls_certificate": f"{home}/both.pem"},
        "https_certificate": {"https": "127.0.0.1:0", "https_key": f"{home}/key.pem"},
        "https_key": {"https": "127.0.0.1:0", "https_certificate": f"{home}/certificate.pem"},
        "https_authority": {"https": "127.0.0.1:0", "https_certificate": f"{home}/both.pem"},
        "smtps": {"tls_certificate": f"{home}/both.pem"},
        "tls_certificate": {"tls_key": f"{home}/key.pem"},
        "tls_key": {"tls_certificate": f"{home}/certificate.pem"},
        "tls_required": {"tls_certificate": f"{home}/both.pem"},
        "tls_clients": {"tls_certificate": f"{home}/both.pem", "tls_required": "yes"},
        "otel_sampling": {"otel_traces": "http://127.0.0.1:9"},
        "probe_every": {"probe_alias": "set@example.com"},
    }.get(name, {})
    with a_database(name) as database:
        given = needed | database | {name: value.format(home=home, **database)}
        found = has(the_service(tmp_path / "data", **given), wanted, home)
    assert found, f"{ROWS[name].option}: the service contains no {wanted}"
    without = by_default["tls_certificate" in needed]
    assert not has(without, wanted, home), f"{wanted} exists by default: set another value"


@pytest.mark.parametrize("name", sorted(name for name in SETTINGS if ROWS[name].is_reloadable))
def test_each_setting_that_can_be_reloaded_changes_a_running_service(name, home, tmp_path):
    value, wanted = SETTINGS[name]
    changed = getattr(from_options(**{name: value}), name)
    parts = the_service(tmp_path / "data", then=lambda settings: replace(settings, **{name: changed}))
    assert has(parts, wanted, home), f"{ROWS[name].option}: after a reload, the service contains no {wanted}"


@pytest.mark.parametrize("name", ["smtp_connections", "smtp_unknown_recipients", "trace_refusals"])
def test_a_setting_that_needs_a_restart_does_not_change_a_running_service(name, home, tmp_path):
    value, wanted = SETTINGS[name]
    changed = getattr(from_options(**{name: value}), name)
    parts = the_service(tmp_path / "data", then=lambda settings: replace(settings, **{name: changed}))
    assert not has(parts, wanted, home)


@contextmanager
def a_database(name):
    """Yield the setting of a new PostgreSQL database for a test of a database setting, and no setting otherwise."""
    if not name.startswith("database"):
        yield {}
        return
    url = postgresql.new_database()
    yield {"database": url}
    postgresql.drop_database(url)


@pytest.mark.parametrize("name", sorted(DELIVERY))
def test_each_key_of_the_delivery_table_changes_the_service(name, home, by_default, tmp_path):
    value, wanted = DELIVERY[name]
    (tmp_path / "waypost.toml").write_text(f"[delivery]\n{name} = {value}\n")
    given = settings_file.read(tmp_path / "waypost.toml").delivery
    assert has(the_service(tmp_path / "data", given), wanted, home), f"{name}: the service contains no {wanted}"
    assert not has(by_default[False], wanted, home), f"{wanted} exists by default: set another value"


@pytest.mark.parametrize("name", sorted(name for name in DELIVERY if tables.DELIVERY[name].is_reloadable))
def test_each_key_of_the_delivery_table_that_can_be_reloaded_changes_a_running_service(name, home, tmp_path):
    value, wanted = DELIVERY[name]
    (tmp_path / "waypost.toml").write_text(f"[delivery]\n{name} = {value}\n")
    given = settings_file.read(tmp_path / "waypost.toml").delivery
    parts = the_service(tmp_path / "data", then=lambda settings: replace(settings, delivery=given))
    assert has(parts, wanted, home), f"{name}: after a reload, the service contains no {wanted}"


def test_each_setting_is_an_option_of_serve(monkeypatch):
    """The option has the name and the environment variable that the table of settings has."""
    command = dict(parameters.all_commands(program.app))["serve"]
    options = {option.name: (option.opts, option.envvar) for option in command.params}
    del options["ready_json"], options["attached"], options["check"]  # they are about one process, and are no settings
    assert options == {name: ([row.option], row.variable) for name, row in ROWS.items()}


@pytest.mark.parametrize("how", ["command line", "environment", "file"])
def test_serve_passes_each_setting_to_the_service(how, home, tmp_path, monkeypatch):
    given = {name: value.format(home=home, database="postgresql:///x") for name, (value, _) in SETTINGS.items()}
    file = tmp_path / "waypost.toml"
    file.write_text("".join(f"{name} = {json.dumps(given[name])}\n" for name in given) if how == "file" else "")
    arguments = ["waypost", "serve"]
    if how == "command line":
        arguments += [word for name in given for word in (ROWS[name].option, given[name])]
    if how == "environment":
        for name, value in given.items():
            monkeypatch.setenv(ROWS[name].variable, value)
    made = []

    def service(settings, **_):
        made.append(settings)
        raise SystemExit

    monkeypatch.setattr(services, "Service", service)
    monkeypatch.setattr(sys, "argv", [*arguments, "--config", str(file)])
    with pytest.raises(SystemExit):
        cli.main()
    assert made == [from_options(**given, config=str(file))]


def test_each_setting_has_the_same_default_everywhere():
    """The servers for mail and HTTP have defaults too, for code that uses them without settings."""
    settings = Settings()
    assert SmtpLimits() == SmtpLimits(
        connections=settings.smtp_connections,
        connections_each=settings.smtp_connections_each,
        new_connections_a_minute=settings.smtp_new_connections_each,
        messages_a_minute=settings.smtp_messages_each,
        memory=settings.smtp_memory,
        greeting_delay=settings.greeting_delay.total_seconds(),
    )
    assert HttpBounds() == HttpBounds(
        connections=settings.http_connections, connections_each=settings.http_connections_each
    )
    assert settings.delivery.policy == Policy()
    assert settings.delivery.connections == default_of(Dependencies, "connections")
    assert settings.database_connections == store.CONNECTIONS


def default_of(kind, name):
    """Return the default value of a field of a struct."""
    (member,) = (member for member in msgspec.structs.fields(kind) if member.name == name)
    return member.default


@pytest.mark.parametrize(("name", "kind"), [("route", Route), ("rule", Rule), ("rule", FaultRule)])
def test_each_field_of_a_route_or_a_rule_is_used(name, kind):
    elsewhere = [path for path in SOURCES if not {"tables.py", "file.py", "cli"} & set(path.parts)]
    read = {match for path in elsewhere for match in re.findall(rf"\b{name}\.(\w+)", SOURCES[path])}
    unread = set(kind.__struct_fields__) - read
    assert not unread, f"no code reads {unread} of a {name}"


def test_the_keys_of_each_table_match_the_fields_of_its_class():
    """Secrets are an exception, because their keys name a file or a variable that contains the secret."""
    secret = set(tables.SECRETS)
    assert set(tables.ROUTE) - secret | {"secret"} == set(Route.__struct_fields__)
    assert set(tables.RETENTION) == set(Rule.__struct_fields__)
    assert set(tables.FAULT) == set(FaultRule.__struct_fields__)
    assert tables.VIA.keys() <= tables.ROUTE.keys()


# Routes


def test_each_kind_of_route_has_a_transport(by_default):
    (dependencies,) = (part for part in by_default[False] if type(part).__name__ == "Dependencies")
    assert set(dependencies.transports) == set(Protocol)


def test_each_kind_of_route_is_documented():
    """The settings, the help of `waypost routes add`, and the page on routes all describe each kind of target."""
    page = (ROOT / "docs" / "how-to" / "routes.md").read_text(encoding="utf-8")
    add = dict(parameters.all_commands(program.app))["routes add"]
    (to,) = (parameter for parameter in add.params if parameter.name == "to")
    known = {"inbox", "mx", "maildir", *routes._SCHEMES}
    for scheme in known - {"http"}:
        for text in (tables.ROUTE["to"].text, to.help, page):
            assert re.search(rf"\b{scheme}\b", text), f"{scheme} is missing in: {text[:200]}"
    assert "http://" in page


# Events


def kinds_of_events():
    """Return all structs of the module `events`, whether or not its union names them."""
    return [
        kind
        for name, kind in vars(events).items()
        if isinstance(kind, type) and issubclass(kind, Struct) and kind is not Struct and not name.startswith("_")
    ]


def test_each_event_is_in_the_union_of_events():
    assert set(kinds_of_events()) == set(get_args(events.Event))


@pytest.mark.parametrize("kind", kinds_of_events(), ids=lambda kind: kind.__name__)
def test_each_event_is_documented_with_its_fields(kind):
    page = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{logs.name_of(kind)}` |"))
    cells = row.split(" | ")
    # The JSON log has the cause of an incident as the traceback of its exception.
    fields = ["exception" if name == "cause" else name for name in kind.__struct_fields__]
    assert re.findall("`(.*?)`", cells[2]) == fields
    assert len(cells[3]) > 10


def emitted_in(source):
    """Yield the constructor call of each event that a source file emits."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in {"emit", "_emit"}:
            yield from (argument for argument in node.args if isinstance(argument, ast.Call))


def test_no_log_event_contains_the_path_of_a_destination():
    """The path of a destination could contain an email address."""
    found = [
        (path.name, ast.unparse(keyword.value))
        for path, text in SOURCES.items()
        for event in emitted_in(text)
        for keyword in event.keywords
        if keyword.arg == "destination"
    ]
    assert len(found) >= 2
    assert not [(where, value) for where, value in found if not value.startswith("log_destination(")]


def named_in(source):
    """Yield all names and attributes that a source file uses."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id


def test_each_event_is_emitted_somewhere():
    used = {name for path, text in SOURCES.items() if path.name != "events.py" for name in named_in(text)}
    never = {kind.__name__ for kind in kinds_of_events()} - used
    assert not never, f"no code emits {never}"


# Documentation


def test_each_path_of_the_inspection_api_is_documented():
    page = (ROOT / "docs" / "reference" / "inspection-api.md").read_text(encoding="utf-8")
    served = {f"{one.method} {one.path}".replace("{id}", "ID").replace("{number}", "N") for one in OPERATIONS}
    documented = {
        f"{method} {path}" for method, path in re.findall(rf"`(GET|POST|DELETE) {asgi.PREFIX}(/[\w./-]+)[?`]", page)
    }
    assert documented == served


def test_each_event_of_a_trace_is_documented():
    page = (ROOT / "docs" / "reference" / "inspection-api.md").read_text(encoding="utf-8")
    missing = {kind for kind in trace_events.KINDS if f"`{kind}`" not in page}
    assert not missing, f"the page lacks {missing}"


def test_each_environment_variable_is_documented():
    pages = "".join(path.read_text(encoding="utf-8") for path in (*ROOT.glob("docs/**/*.md"), ROOT / "README.md"))
    used = {name for text in SOURCES.values() for name in re.findall(r"WAYPOST_(?!SERVE_)[A-Z_]+", text)}
    missing = {name for name in used if name not in pages}
    assert not missing, f"no page mentions {missing}"
