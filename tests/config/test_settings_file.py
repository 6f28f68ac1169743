"""The settings file: its contents are read, and the message for each mistake is one sentence with file and line."""

import re
from datetime import timedelta
from ipaddress import ip_network

import pytest

from waypost.config import file as settings_file
from waypost.config import sources
from waypost.config.file import SettingsFile
from waypost.config.tables import TABLES, Delivery
from waypost.config.types import BadSetting
from waypost.domain.dsn.notices import Bounces
from waypost.domain.mail.fault_rules import Action, FaultRule, Stage
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Fault, LineEnds, Route, Tls

INSTANCE = "instance:11111111-2222-4333-8444-555555555555"


@pytest.fixture
def read(tmp_path):
    """A function that reads a settings file with a given text."""

    def read(text):
        file = tmp_path / "waypost.toml"
        file.write_text(text, encoding="utf-8")
        return settings_file.read(file)

    return read


@pytest.fixture
def message_for(read, tmp_path):
    """A function that returns the error message for a settings file, without the file name and the line."""

    def message_for(text):
        with pytest.raises(BadSetting) as error:
            read(text)
        message = str(error.value)
        assert message.startswith(f"{tmp_path / 'waypost.toml'}")
        assert "\n" not in message
        message = message.removeprefix(f"{tmp_path / 'waypost.toml'}")
        return re.sub(r"^, line [0-9]+", "", message).removeprefix(": ")

    return message_for


@pytest.fixture
def secret(tmp_path):
    """A function that writes a secret file next to the settings file, which only its owner can access."""

    def secret(octets=b"a secret of some length\n", mode=0o600, name="secret"):
        (tmp_path / name).write_bytes(octets)
        (tmp_path / name).chmod(mode)
        return name

    return secret


def test_an_empty_file_has_no_settings(read):
    assert read("") == read("# nothing\n") == SettingsFile()


def test_settings_of_serve_have_the_form_of_their_options(read, tmp_path):
    found = read(
        """
        hostname = "mail.example.com"
        smtp = "0.0.0.0:25,[::]:25"
        smtp-memory = 256
        tls_required = true
        lmtp = ""
        data = "mail"
        tls_certificate = "/etc/tls/cert.pem"
        tls_key = ""
        account = 123456789012
        """
    )
    assert found.values == {
        "hostname": "mail.example.com",
        "smtp": "0.0.0.0:25,[::]:25",
        "smtp_memory": "256",
        "tls_required": "yes",
        "lmtp": "",
        "data": str(tmp_path / "mail"),
        "tls_certificate": "/etc/tls/cert.pem",
        "tls_key": "",
        "account": "123456789012",
    }
    assert sources.read({}, {}, found).smtp_memory == 256 * 2**20
    assert read('tls_required = "no"').values == read("tls_required = false").values == {"tls_required": "no"}


def test_the_password_of_a_database_is_not_shown(read):
    assert "hunter2" not in repr(read('database = "postgresql://me:hunter2@db.example/waypost"'))


def test_the_value_self_signed_of_a_certificate_is_not_a_path(read):
    assert read('tls_certificate = "self-signed"').values == {"tls_certificate": "self-signed"}


def test_routes_are_read_in_the_order_of_the_file(read, secret):
    secret()
    secret(b"hunter2", name="password", mode=0o400)
    found = read(
        f"""
        [[route]]
        match = "Support@Example.com"
        to = "inbox"

        [[route]]
        match = "*@Bücher.example"
        to = "smtps://relay.example.net"
        keep = true
        tls = "verify"
        user = "waypost"
        password_file = "password"
        rewrite-sender = false
        connections = 3

        [[route]]
        match = "{INSTANCE}"
        to = "https://hooks.example.net/mail"
        secret_file = "secret"
        allow_private = true
        fault = "drop-after-data"

        [[route]]
        match = "*"
        to = "maildir:/var/mail/all"
        line_ends = "as-received"
        fault = "slow"
        """
    )
    assert found.routes == (
        Route(match="support@example.com", to="inbox", keep=True),
        Route(
            match="*@xn--bcher-kva.example",
            to="smtps://relay.example.net",
            keep=True,
            tls=Tls.VERIFY,
            user="waypost",
            secret="hunter2",
            rewrite_sender=False,
            connections=3,
        ),
        Route(
            match=INSTANCE,
            to="https://hooks.example.net/mail",
            secret="a secret of some length",
            allow_private=True,
            fault=Fault.DROP_AFTER_DATA,
        ),
        Route(match="*", to="maildir:/var/mail/all", line_ends=LineEnds.AS_RECEIVED, fault=Fault.SLOW),
    )
    assert "hunter2" not in repr(found)


def test_the_settings_of_delivery_are_read(read):
    found = read(
        """
        [delivery]
        retry_schedule = ["30s", "5m"]
        expire = "12h"
        bounces = "never"
        bounces_via = "smtp://relay.example.net:25"
        confirm_outside = true
        delay_warning = "4h"
        srs_domain = "Bounces.example.com."
        own_domains = ["example.com", "Bücher.example"]
        connections = 7
        """
    )
    assert found.delivery == Delivery(
        retry_schedule=(timedelta(seconds=30), timedelta(minutes=5)),
        expire=timedelta(hours=12),
        bounces=Bounces.NEVER,
        bounces_via=Route(match="*", to="smtp://relay.example.net:25"),
        confirm_outside=True,
        delay_warning=timedelta(hours=4),
        srs_domain="bounces.example.com",
        own_domains=frozenset({"example.com", "xn--bcher-kva.example"}),
        connections=7,
    )


def test_the_route_for_notices_may_have_a_password(read, monkeypatch):
    monkeypatch.setenv("RELAY_PASSWORD", "hunter2")
    found = read(
        """
        [delivery.bounces_via]
        to = "smtp://relay.example.net"
        tls = "verify"
        user = "waypost"
        secret_env = "RELAY_PASSWORD"
        """
    )
    assert found.delivery.bounces_via == Route(
        match="*", to="smtp://relay.example.net", tls=Tls.VERIFY, user="waypost", secret="hunter2"
    )


def test_the_fault_rules_are_read(read):
    found = read(
        """
        testing = true

        [[fault]]
        stage = "message"
        action = "delay"
        sender = "*@Shop.example"
        source = "127.0.0.0/8"
        larger-than = "1MiB"
        probability = 0.25
        times = 3
        delay = "5s"

        [[fault]]
        stage = "rcpt"
        action = "refuse"
        recipient = "busy@example.com"
        reply = "550 5.2.0 No"
        """
    )
    assert found.faults == (
        FaultRule(
            stage=Stage.MESSAGE,
            action=Action.DELAY,
            sender="*@shop.example",
            source=ip_network("127.0.0.0/8"),
            larger_than=2**20,
            probability=0.25,
            times=3,
            delay=timedelta(seconds=5),
        ),
        FaultRule(stage=Stage.RCPT, action=Action.REFUSE, recipient="busy@example.com", reply="550 5.2.0 No"),
    )


def test_the_rules_of_retention_are_read(read):
    found = read(
        """
        [[retention]]
        match = "*@Example.com"
        age = "30d"
        size = "1GiB"

        [[retention]]
        match = "*"
        size = 1000
        """
    )
    assert found.retention == (
        Rule("*@example.com", timedelta(days=30), 2**30),
        Rule("*", None, 1000),
    )


def test_the_defaults_in_the_reference_are_the_real_defaults(read, monkeypatch):
    monkeypatch.setenv("SECRET", "a secret of some length")

    def written(table, name):
        """Return the key with its default as the reference shows it."""
        return f"{name} = {TABLES[table][name].default}\n" if TABLES[table][name].default else ""

    route = '[[route]]\nmatch = "*"\nto = "https://hooks.example.net"\nsecret_env = "SECRET"\n'
    assert read(route + "".join(written("[[route]]", name) for name in TABLES["[[route]]"])) == read(route)
    delivery = "".join(written("[delivery]", name) for name in TABLES["[delivery]"])
    assert "retry_schedule" in delivery
    assert read("[delivery]\n" + delivery) == SettingsFile()


ROUTE = '[[route]]\nmatch = "*"\nto = "smtp://a"\n'
WEBHOOK = '[[route]]\nmatch = "*"\nto = "https://a/b"\n'
A_VALUE = "must be a string or a number; several values are one string, with commas, not"
A_SIZE = "must be a number with KiB, MiB or GiB, as in 256MiB, or a number of bytes, more than 0, not"
MISTAKES = {
    # Names
    "hostnam = 1": "there is no key `hostnam`; did you mean `hostname`?",
    "[deliver]": "there is no table `deliver`; did you mean `delivery`?",
    "[[routes]]": "there is no table `routes`; did you mean `route`?",
    '[[route]]\nmatch = "*"\nt = "inbox"': "route 1: there is no key `t`; did you mean `to`?",
    f"{ROUTE}{ROUTE}password = 'hunter2'": "route 2: `password`: the file may not have secrets; use `secret_file` or ",
    f"{WEBHOOK}secret = 'hunter2'": "route 1: `secret`: the file may not have secrets; use `secret_file` or ",
    "[[retention]]\nsecret = 'a'": "retention 1: there is no key `secret`; ",
    "expire = '5d'": "`expire` must be below the line [delivery]",
    "retry-schedule = ['1m']": "`retry_schedule` must be below the line [delivery]",
    "[delivery]\nexpires = '5d'": "delivery: there is no key `expires`; did you mean `expire`?",
    "[delivery]\nzzz = 1": "delivery: there is no key `zzz`; the valid names are retry_schedule, expire, ",
    "[[retention]]\nages = 1": "retention 1: there is no key `ages`; did you mean `age`?",
    "[delivery.bounces_via]\nkeep = true": "delivery.bounces_via: there is no key `keep`; ",
    f"{ROUTE}hostname = 'a'": "route 1: `hostname` is a setting of `waypost serve`, which must be above ",
    "tls-key = 'a'\ntls_key = 'a'": "`tls_key` is given twice, with a hyphen and with an underscore",
    # Tables
    "[route]": "`route` must be written [[route]] above its keys, once for each table",
    "route = 1": "`route` must be written [[route]] above its keys, once for each table",
    "route = [1]": "`route` must be written [[route]] above its keys, once for each table",
    "[retention]": "`retention` must be written [[retention]] above its keys, once for each table",
    "[[delivery]]": "`delivery` must be written [delivery] above its keys, only once",
    # Types
    "hostname = true": f"`hostname` {A_VALUE} true",
    "smtp = ['a:1']": f'`smtp` {A_VALUE} ["a:1"]',
    "tls_required = []": "`tls_required` must be true or false, not []",
    "data = 2026-11-22": f"`data` {A_VALUE} a date or a time",
    "[http]": f"`http` {A_VALUE} a table",
    f"{ROUTE}keep = 'yes'": 'route 1: `keep` must be true or false, not "yes"',
    f"{ROUTE}keep = 1": "route 1: `keep` must be true or false, not 1",
    f"{ROUTE}user = 1": "route 1: `user` must be a string that is not empty, not 1",
    f"{ROUTE}connections = 'ten'": 'route 1: `connections` must be a number from 1 to 1000, not "ten"',
    f"{ROUTE}connections = true": "route 1: `connections` must be a number from 1 to 1000, not true",
    f"{ROUTE}connections = 0": "route 1: `connections` must be a number from 1 to 1000, not 0",
    f"{ROUTE}connections = 1001": "route 1: `connections` must be a number from 1 to 1000, not 1001",
    f"{ROUTE}tls = 'yes'": 'route 1: `tls` must be "none", "opportunistic", "require" or "verify", not "yes"',
    f"{ROUTE}tls = false": 'route 1: `tls` must be "none", "opportunistic", "require" or "verify", not false',
    f"{ROUTE}fault = 'crash'": 'route 1: `fault` must be "tempfail", "permfail", "slow" or "drop after data", ',
    "[[route]]\nmatch = 1\nto = 'inbox'": "route 1: `match` must be a string, not 1",
    "[[route]]\nmatch = '*'\nto = ''": 'route 1: `to` must be a string, not ""',
    "[delivery]\nexpire = 5": "delivery: `expire` must be a string: a number with d, h, m or s, as in 7d, ",
    "[delivery]\nexpire = '5 d'": "delivery: `expire` must be a string: a number with d, h, m or s, as in 7d, ",
    "[delivery]\nexpire = '0d'": (
        "delivery: `expire` must be a string: a number with d, h, m or s, as in 7d, more than 0 and at most 3650d, not "
    ),
    "[delivery]\nretry_schedule = []": 'delivery: `retry_schedule` must be an array of durations, as in ["1m", "5m", ',
    "[delivery]\nretry_schedule = '1m'": "delivery: `retry_schedule` must be an array of durations, ",
    "[delivery]\nretry_schedule = ['1m', 2]": (
        'delivery: `retry_schedule` must be an array of durations, as in ["1m", "5m", "1h"]; '
        "its 2nd, 2, must be a string: a number with d, h, m or s, as in 7d, more than 0 and at most 3650d"
    ),
    "[delivery]\nretry_schedule = ['0s']": 'delivery: `retry_schedule` must be an array of durations, as in ["1m", ',
    "[delivery]\nbounces = 'all'": 'delivery: `bounces` must be "always", "authenticated" or "never", not "all"',
    "[delivery]\nbounces_via = 1": "delivery: `bounces_via` must be a string or a table, not 1",
    "[delivery]\nsrs_domain = 'a b'": 'delivery: `srs_domain` must be a domain, as in example.com, not "a b"',
    "[delivery]\nown_domains = 'a'": 'delivery: `own_domains` must be an array of domains, as in ["example.com"], not',
    "[delivery]\nown_domains = ['@a']": (
        'delivery: `own_domains` must be an array of domains, as in ["example.com"]; '
        'its 1st, "@a", must be a domain, as in example.com'
    ),
    "[delivery]\nconnections = 10001": "delivery: `connections` must be a number from 1 to 10000, not 10001",
    "[[retention]]\nmatch = '*'\nage = 30": "retention 1: `age` must be a string: a number with d, h, m or s, ",
    "[[retention]]\nmatch = '*'\nsize = '1GB'": f'retention 1: `size` {A_SIZE} "1GB"',
    "[[retention]]\nmatch = '*'\nsize = 0": f"retention 1: `size` {A_SIZE} 0",
    "[[retention]]\nmatch = '*'\nsize = true": f"retention 1: `size` {A_SIZE} true",
    "[[retention]]\nmatch = '*'\nsize = -1": f"retention 1: `size` {A_SIZE} -1",
    # Required keys, and keys that contradict each other
    "[[route]]\nto = 'inbox'": "route 1: `match` is missing",
    "[[route]]\nmatch = '*'": "route 1: `to` is missing",
    "[delivery.bounces_via]\ntls = 'none'": "delivery.bounces_via: `to` is missing",
    "[[retention]]\nage = '1d'": "retention 1: `match` is missing",
    "[[retention]]\nmatch = '*'": "retention 1: `age`, `size` or both must be given",
    "[delivery]\nbounces_via = 'inbox'": "delivery.bounces_via: `to` must be outside this server, ",
    "[delivery]\ndelay_warning = '5d'": "delivery: `delay_warning` must be shorter than `expire`, or no warning ",
    # The rules of routes
    "[[route]]\nmatch = 'a@'\nto = 'inbox'": "route 1: `match`: 'a@' is not an email address: use ",
    "[[route]]\nmatch = '@a.example'\nto = 'inbox'": (
        "route 1: `match`: '@a.example' matches nothing; '*@a.example' matches all addresses in the domain"
    ),
    "[[route]]\nmatch = 'instance:1'\nto = 'inbox'": "route 1: `match`: 'instance:1' must be 'instance:' followed by ",
    f"{ROUTE}[[route]]\nmatch = '*'\nto = 'gopher://a'": "route 2: `to`: 'gopher://a' is not a target: use inbox, ",
    "[delivery]\nbounces_via = 'nowhere'": "delivery.bounces_via: `to`: 'nowhere' is not a target: ",
    "testing = true\n[[fault]]\nstage = 'rcpt'": "fault 1: `action` is missing",
    "[[fault]]\nstage = 'rset'\naction = 'defer'": 'fault 1: `stage` must be "connect", "mail", "rcpt", "data" or ',
    "[[fault]]\nstage = 'mail'\naction = 'cut'\nrecipient = '*@x.example'": "fault 1: a rule with the stage ",
    "[[retention]]\nmatch = '@'\nage = '1d'": "retention 1: `match`: '@' is not an email address: use ",
    f"{ROUTE}user = 'me'": "route 1: `user` is only for smtp, smtps and mx, and requires a password",
    WEBHOOK: "route 1: A webhook needs a secret of at least 16 characters. Name the file ",
    # TOML
    "a = 1\nb = = 2": " is not valid TOML: Invalid value (at line 2, column 5)",
    "a = 1\nb = [1,\n2": " is not valid TOML: Unclosed array (at line 3, the end of the file)",
    "data = 'a'\ndata = 'b'": " is not valid TOML: Cannot overwrite a value (at line 2, ",
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.items(), ids=lambda value: re.sub(r"\s+", " ", value)[:60])
def test_the_message_for_a_mistake_names_the_table_and_the_key(message_for, text, expected):
    assert message_for(text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"{ROUTE}\n{ROUTE}connections = 0", "line 8: route 2"),
        (f"{ROUTE}\n[[route]]\nmatch = '*@example.com'", "line 5: route 2"),
        (f"{ROUTE}\n{ROUTE}", "line 5"),
        ("[delivery]\n# expire\nexpire = 5", "line 3: delivery"),
        ("[delivery]\nbounces_via = { to = 'inbox' }", "line 2: delivery.bounces_via"),
        ("\n\nhostnam = 1", "line 3"),
    ],
)
def test_the_message_for_a_mistake_names_the_line(read, tmp_path, text, place):
    with pytest.raises(BadSetting, match=re.escape(f"{tmp_path / 'waypost.toml'}, {place}: ")):
        read(text)


@pytest.mark.parametrize("name", ["a@example.com", "*@example.com", "*"])
def test_the_message_does_not_repeat_a_secret_in_the_file(message_for, name):
    message = message_for(f'[[route]]\nmatch = "{name}"\nto = "smtp://a"\nsecret = "hunter2"\n')
    assert "`secret`: the file may not have secrets" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620, 0o601])
def test_a_secret_file_that_other_users_can_access_is_refused(message_for, secret, tmp_path, mode):
    message = message_for(f'{WEBHOOK}secret_file = "{secret(mode=mode)}"')
    path = tmp_path / "secret"
    assert message == (
        f"route 1: `secret_file`: other users can access {path} (mode {mode:04o}). Run: chmod 600 {path}"
    )


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_secret_is_the_one_line_of_its_file(read, secret, ending):
    (route,) = read(f'{WEBHOOK}secret_file = "{secret("mit Ümlaut und Leerzeichen ".encode() + ending)}"').routes
    assert route.secret == "mit Ümlaut und Leerzeichen "


@pytest.mark.parametrize("octets", [b"", b"\n", b"two\nlines of some length\n", b"some\0length, and a zero"])
def test_a_secret_that_is_not_exactly_one_line_is_refused(message_for, secret, octets):
    message = message_for(f'{WEBHOOK}secret_file = "{secret(octets)}"')
    assert message == "route 1: `secret_file`: the secret in secret must be exactly one line of text"


def test_the_path_of_a_secret_may_be_relative_or_absolute(read, secret, tmp_path, monkeypatch):
    name = secret()
    monkeypatch.chdir("/")
    for path in (name, f"../{tmp_path.name}/{name}", tmp_path / name):
        assert read(f'{WEBHOOK}secret_file = "{path}"').routes[0].secret == "a secret of some length"


def test_the_message_for_a_missing_secret_names_its_file_or_variable(message_for, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH", raising=False)
    monkeypatch.setenv("EMPTY", "")
    path = tmp_path / "none"
    message = message_for(f'{WEBHOOK}secret_file = "none"')
    assert message == f"route 1: `secret_file`: {path} cannot be read: No such file or directory"
    assert message_for(f'{WEBHOOK}password_file = "."').endswith("cannot be read: Is a directory")
    message = message_for(f'{WEBHOOK}secret_env = "NO_SUCH"')
    assert message == "route 1: `secret_env`: NO_SUCH is not in the environment"
    message = message_for(f'{WEBHOOK}secret_env = "EMPTY"')
    assert message == "route 1: `secret_env`: the secret in EMPTY must be exactly one line of text"


def test_the_message_does_not_repeat_a_secret_that_is_given_as_the_name_of_a_variable(message_for):
    message = message_for(f'{WEBHOOK}secret_env = "hunter-2 hunter-2"')
    assert message == "route 1: `secret_env` must be the name of an environment variable"


def test_a_secret_cannot_be_given_twice(message_for):
    message = message_for(f'{WEBHOOK}secret_file = "a"\nsecret_env = "b"')
    assert message == "route 1: `secret_file` and `secret_env` cannot be given together: a route has one secret"


def test_the_message_for_an_unreadable_settings_file_has_the_reason(tmp_path):
    (tmp_path / "latin").write_bytes(b"hostname = '\xe4'")
    for name, message in {
        "none": " cannot be read: No such file or directory",
        ".": " cannot be read: Is a directory",
        "latin": " is not UTF-8 text",
    }.items():
        with pytest.raises(BadSetting) as error:
            settings_file.read(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}{message}"


def test_the_message_for_a_route_on_the_command_line_names_no_file():
    with pytest.raises(BadSetting) as error:
        settings_file.route({"match": "*", "to": "smtp://a", "connections": 0})
    assert str(error.value) == "`connections` must be a number from 1 to 1000, not 0"
    assert settings_file.route({"match": "*", "to": "smtp://a"}) == Route(match="*", to="smtp://a")


@pytest.mark.parametrize(
    ("place", "message"), [(1, "1st"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (22, "22nd")]
)
def test_the_message_for_a_wrong_element_has_its_position(message_for, place, message):
    assert f"; its {message}, 7, must be " in message_for(f"[delivery]\nretry_schedule = {['1m'] * (place - 1) + [7]}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("smtp_connections = " + "9" * 5000, "has a number with too many digits"),
        ("smtp_connections = 0x" + "f" * 5000, "has a number of more than 64 bits"),
        ("[delivery]\nretry_schedule = [1, 0x" + "f" * 40 + "]", "has a number of more than 64 bits"),
        ("smtp = " + "[" * 5000, "has arrays or tables nested too deeply"),
        ('data = "a\\u0000b"', "has a NUL character in a string"),
        ('"a\\u0000b" = 1', "has a NUL character in a string"),
    ],
)
def test_the_message_for_a_value_that_no_setting_can_have_is_one_sentence(tmp_path, text, why):
    path = tmp_path / "waypost.toml"
    path.write_text(text)
    with pytest.raises(BadSetting) as refused:
        settings_file.read(path)
    assert str(refused.value) == f"{path} {why}"
