"""Routes: the route that matches an address, parsed targets, and refused values."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail import routes
from waypost.domain.mail.delivery import Protocol
from waypost.domain.mail.routes import Fault, LineEnds, Route, Target, Tls

SMTP, LMTP, MAILDIR, WEBHOOK = Protocol.SMTP, Protocol.LMTP, Protocol.MAILDIR, Protocol.WEBHOOK
INSTANCE = "11111111-2222-3333-4444-555555555555"
KEY = "0123456789abcdef"


def a_route(to="smtp://mail.example", match="*", **options):
    return Route(match=match, to=to, **options)


@pytest.mark.parametrize(
    ("to", "target"),
    [
        ("smtp://Mail.Example", Target(protocol=SMTP, host="mail.example", port=25)),
        ("smtp://mail.example:2525/", Target(protocol=SMTP, host="mail.example", port=2525)),
        ("smtp://192.0.2.1", Target(protocol=SMTP, host="192.0.2.1", port=25)),
        ("smtp://[2001:db8::1]:26", Target(protocol=SMTP, host="2001:db8::1", port=26)),
        ("smtp://bücher.example", Target(protocol=SMTP, host="xn--bcher-kva.example", port=25)),
        ("smtp://mail_server:1025", Target(protocol=SMTP, host="mail_server", port=1025)),
        ("smtp://_mail._tcp.Example.", Target(protocol=SMTP, host="_mail._tcp.example.", port=25)),
        ("lmtp://dovecot_1.:24", Target(protocol=LMTP, host="dovecot_1.", port=24)),
        ("http://my_service:8080/hook", Target(protocol=WEBHOOK, host="my_service", port=8080)),
        ("smtps://mail.example", Target(protocol=SMTP, host="mail.example", port=465, is_tls=True)),
        ("lmtp://mail.example", Target(protocol=LMTP, host="mail.example", port=24)),
        ("lmtp:///run/dovecot/lmtp", Target(protocol=LMTP, path="/run/dovecot/lmtp")),
        ("mx:", Target(protocol=SMTP, port=25, mx="")),
        ("mx:Example.com", Target(protocol=SMTP, port=25, mx="example.com")),
        ("mx:example.com.", Target(protocol=SMTP, port=25, mx="example.com")),
        ("maildir:/var/mail/support", Target(protocol=MAILDIR, path="/var/mail/support")),
        ("https://hook.example/mail?a=b", Target(protocol=WEBHOOK, host="hook.example", port=443, is_tls=True)),
        ("http://10.0.0.1:8080/", Target(protocol=WEBHOOK, host="10.0.0.1", port=8080)),
    ],
)
def test_a_target_is_parsed(to, target):
    assert routes.parse_target(to) == target
    assert a_route(to).target == target


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("", "is not a target"),
        ("nowhere", "use inbox, smtp://HOST:PORT"),
        ("inbox", "is not a target"),
        ("ftp://mail.example", "is not a target"),
        ("lmtp:/run/lmtp", "needs a host"),
        ("smtp:mail.example", "needs a host, as in smtp://"),
        ("smtp://", "needs a host"),
        ("smtp://:25", "needs a host"),
        ("smtp://mail.example:0", "needs a host"),
        ("smtp://mail.example:65536", "is not a target: Port"),
        ("smtp://mail.example:x", "is not a target: Port"),
        ("smtp://[::1", "is not a target: "),
        ("smtp://-mail", "has no valid host name: '-mail' is not a host name"),
        ("smtp://mail..example", "has no valid host name"),
        ("smtp://.", "has no valid host name"),
        ("mx:my_service", "has no valid domain"),
        ("mx:.", "has no valid domain"),
        ("smtp://me:secret@mail.example", "cannot contain a user or a password"),
        ("smtp://me@mail.example", "cannot contain a user or a password"),
        ("smtp://mail.example/x", "extra text after the host or port"),
        ("smtp://mail.example?x", "extra text after the host or port"),
        ("smtp://mail.example#x", "extra text after the host or port"),
        ("smtp://mail.example\r\nQUIT", "a space or a control character"),
        ("maildir:/var/mail/a b", "a space or a control character"),
        ("maildir:mail", "needs the full path"),
        ("maildir:/" + "x" * routes.TARGET_LIMIT, "at most 1000 bytes"),
        ("mx:-", "has no valid domain"),
        ("maildir:/mail/\ud800", "is not valid text"),
        ("smtp://mail.exa\udfffmple", "is not valid text"),
    ],
)
def test_a_malformed_target_is_refused(to, message):
    with pytest.raises(errors.Invalid) as caught:
        routes.parse_target(to)
    assert message in caught.value.message


@given(st.text())
def test_any_text_is_either_parsed_or_refused_as_a_target(to):
    with suppress(errors.Invalid):
        assert routes.parse_target(to).protocol in Protocol


@pytest.mark.parametrize(
    ("match", "spelled"),
    [
        ("*", "*"),
        ("Support@Example.COM", "support@example.com"),
        ("*@Bücher.example", "*@xn--bcher-kva.example"),
        ("*@example.com.", "*@example.com"),
        (f"instance:{INSTANCE}", f"instance:{INSTANCE}"),
    ],
)
def test_a_match_has_a_canonical_spelling(match, spelled):
    assert routes.checked(a_route(match=match)).match == spelled


@pytest.mark.parametrize("match", ["", "support", "*@", "*@-", "@example.com", "instance:", "instance:x", "**"])
def test_a_malformed_match_is_refused(match):
    with pytest.raises(errors.Invalid):
        routes.checked(a_route(match=match))


GOOD = [
    a_route(),
    a_route("smtps://mail.example", user="me", secret="password", tls=Tls.VERIFY),
    a_route("smtp://mail.example", user="me", secret="password", tls=Tls.VERIFY),
    a_route("smtps://mail.example", tls=Tls.REQUIRE),
    a_route("mx:", allow_private=True),
    a_route("mx:example.com", user="me", secret="password", tls=Tls.VERIFY),
    a_route("https://hook.example", secret=KEY),
    a_route("http://10.0.0.1", secret=KEY, allow_private=True),
    a_route("lmtp:///run/lmtp", keep=True, connections=1, fault=Fault.SLOW),
    a_route("maildir:/mail", connections=1000),
    a_route("maildir:/mail", line_ends=LineEnds.AS_RECEIVED),
    a_route("inbox", match="*@example.com", keep=True),
]


@pytest.mark.parametrize("route", GOOD, ids=lambda route: route.to)
def test_a_valid_route_is_not_changed(route):
    assert routes.checked(route) == route


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (a_route("smtp://mail.example", user="me", tls=Tls.VERIFY), "requires a password"),
        (a_route("lmtp://mail.example", user="me", secret="x", tls=Tls.VERIFY), "`user` is only for smtp"),
        (a_route("smtp://mail.example", user="me", secret="x"), "a password requires tls"),
        (a_route("smtp://mail.example", user="me", secret="x", tls=Tls.REQUIRE), "a password requires tls"),
        (a_route("smtps://mail.example", user="me", secret="x", tls=Tls.NONE), "a password requires tls"),
        (a_route("smtps://mail.example", tls=Tls.NONE), "smtps:// always uses TLS"),
        (a_route("smtp://mail.example", secret="x"), "`secret` is only for a user"),
        (a_route("maildir:/mail", secret="x"), "`secret` is only for a user"),
        (a_route("https://hook.example"), "at least 16 characters"),
        (a_route("https://hook.example", secret=KEY[1:]), "at least 16 characters"),
        (a_route("http://hook.example", secret=KEY), "To use http:// on a private network, add --allow-private"),
        (a_route(connections=0), "from 1 to 1000"),
        (a_route(connections=1001), "from 1 to 1000"),
        (a_route("inbox", user="me"), "cannot have a user, secret, line_ends or fault"),
        (a_route("inbox", secret="x"), "cannot have a user, secret, line_ends or fault"),
        (a_route("inbox", line_ends=LineEnds.AS_RECEIVED), "cannot have a user, secret, line_ends or fault"),
        (a_route("smtp://mail.example", line_ends=LineEnds.AS_RECEIVED), "`line_ends` is only for a Maildir"),
        (a_route("inbox", fault=Fault.SLOW), "cannot have a user, secret, line_ends or fault"),
        (a_route("nowhere"), "is not a target"),
    ],
)
def test_a_route_with_invalid_options_is_refused(route, message):
    with pytest.raises(errors.Invalid) as caught:
        routes.checked(route)
    assert message in caught.value.message


def test_a_route_to_the_inbox_always_keeps_a_copy():
    assert routes.checked(a_route("inbox")) == routes.INBOX_ROUTE
    assert routes.checked(a_route("inbox", match="a@example.com")).keep
    assert routes.INBOX_ROUTE.is_inbox
    assert not a_route().is_inbox


def test_the_repr_of_a_route_has_no_secret():
    assert "password" not in repr(a_route(secret="password"))


SUPPORT = addresses.parse("Support@Example.com")


@pytest.mark.parametrize(
    ("matches", "found"),
    [
        ([], None),
        (["*@other.example", "other@example.com", f"instance:{INSTANCE[::-1]}"], None),
        (["support@example.com", "*"], 0),
        (["*@example.com", "support@example.com"], 0),
        (["*@other.example", f"instance:{INSTANCE}", "*"], 1),
        (["*@example.co", "*"], 1),
    ],
)
def test_the_first_matching_route_is_used(matches, found):
    several = [a_route(f"smtp://mail{number}.example", match=match) for number, match in enumerate(matches)]
    route = routes.find(several, SUPPORT, INSTANCE)
    assert route == (routes.INBOX_ROUTE if found is None else several[found])


@pytest.mark.parametrize(
    ("to", "destination"),
    [
        ("inbox", ""),
        ("smtp://mail.example", "smtp://mail.example"),
        ("mx:", "mx:example.com"),
        ("mx:other.example", "mx:other.example"),
    ],
)
def test_the_destination_of_a_route_names_the_domain_for_mx(to, destination):
    assert routes.destination(a_route(to), SUPPORT) == destination


def test_the_revision_of_routes_changes_with_any_change_of_a_route():
    unchanged = routes.revision([a_route(), a_route("mx:")])
    assert routes.revision([a_route(), a_route("mx:")]) == unchanged
    changed = [
        [],
        [a_route("mx:"), a_route()],
        [a_route(), a_route("mx:", keep=True)],
        [a_route(), a_route("mx:", secret="x")],
        [a_route(), a_route("mx:", secret="y")],
    ]
    assert len({unchanged, *map(routes.revision, changed)}) == 1 + len(changed)


@pytest.mark.parametrize(
    ("matches", "found"),
    [
        ([], None),
        (["a@x.example", "*@x.example", "*"], None),
        (["a@x.example", "b@x.example", "*@y.example", "instance:1"], None),
        (["*", "a@x.example"], (1, 0)),
        (["b@x.example", "*@x.example", "a@x.example"], (2, 1)),
        (["instance:1", "instance:1"], (1, 0)),
        (["*@x.example", "*@x.example"], (1, 0)),
    ],
)
def test_a_route_after_a_route_that_takes_all_its_mail_is_never_used(matches, found):
    assert routes.never_used([Route(match=match, to="smtp://x.example") for match in matches]) == found


@pytest.mark.parametrize("login", [{}, {"user": "me", "secret": "password"}])
def test_smtps_verifies_the_certificate_by_default(login):
    assert routes.checked(a_route("smtps://mail.example", **login)).tls is Tls.VERIFY


@pytest.mark.parametrize(
    ("to", "tls", "in_use"),
    [
        ("smtps://mail.example", Tls.NONE, Tls.VERIFY),
        ("smtps://mail.example", Tls.OPPORTUNISTIC, Tls.VERIFY),
        ("smtps://mail.example", Tls.VERIFY, Tls.VERIFY),
        ("smtps://mail.example", Tls.REQUIRE, Tls.REQUIRE),
        *((to, tls, tls) for to in ("smtp://mail.example", "mx:", "lmtp:///run/lmtp") for tls in Tls),
    ],
)
def test_a_stored_route_has_the_tls_mode_of_its_scheme(to, tls, in_use):
    route = Route(match="*", to=to, tls=tls)
    assert route.tls_in_use is in_use
    assert routes.without_secret(route)["tls"] == in_use


@pytest.mark.parametrize(
    ("destination", "logged"),
    [
        ("smtp://relay.example:2600", "smtp://relay.example:2600"),
        ("smtps://[2001:db8::1]:465", "smtps://[2001:db8::1]:465"),
        ("mx:example.com", "mx:example.com"),
        ("lmtp:///run/mail/support@example.com", "lmtp:..."),
        ("maildir:/var/mail/support@example.com", "maildir:..."),
        ("https://hooks.example/a-key/support@example.com", "https://hooks.example/..."),
        ("https://hooks.example/", "https://hooks.example/"),
        ("https://hooks.example?to=support@example.com", "https://hooks.example/..."),
        ("", ""),
    ],
)
def test_the_log_shows_a_destination_without_its_path(destination, logged):
    assert routes.log_destination(destination) == logged


def test_the_log_name_of_a_route_is_a_digest_of_its_match_and_target():
    route = Route(match="support@example.com", to="smtp://relay.example")
    name = route.log_name
    assert re.fullmatch("[0-9a-f]{12}", name)
    assert replace(route, keep=True, connections=3).log_name == name
    assert replace(route, match="sales@example.com").log_name != name
    assert replace(route, to="smtp://other.example").log_name != name


def test_a_route_is_shown_without_its_secret():
    route = Route(match="*", to="smtp://a", user="me", secret="hush", fault=Fault.DROP_AFTER_DATA)
    assert routes.without_secret(route) == {
        "log_name": route.log_name,
        "match": "*",
        "to": "smtp://a",
        "keep": False,
        "tls": "opportunistic",
        "user": "me",
        "has_secret": True,
        "rewrite_sender": True,
        "allow_private": False,
        "connections": 10,
        "line_ends": "lf",
        "fault": "drop after data",
    }
    assert "hush" not in str(routes.without_secret(route))
    assert routes.without_secret(Route(match="*", to="inbox"))["fault"] is None


# Targets without secrets


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("", ""),
        ("inbox", "inbox"),
        ("mx:example.com", "mx:example.com"),
        ("smtp://mail.example:25", "smtp://mail.example:25"),
        ("maildir:/var/mail/what?#@", "maildir:/var/mail/what?#@"),
        ("lmtp:///run/what?#@", "lmtp:///run/what?#@"),
        ("https://hook.example/a@b/c", "https://hook.example/a@b/c"),
        ("https://hook.example/a?token=x", "https://hook.example/a?…"),
        ("https://hook.example?token=x#y", "https://hook.example?…"),
        ("https://hook.example/#token", "https://hook.example/#…"),
        ("https://hook.example/?", "https://hook.example/?…"),
        ("https://user:word@hook.example/a", "https://…@hook.example/a"),
        ("HTTPS:user:word@hook.example/a?b", "HTTPS:…@hook.example/a?…"),
        ("postgresql://user:word@db.example/x?password=y", "postgresql://…@db.example/x?…"),
    ],
)
def test_a_target_is_shown_without_parts_that_may_be_secret(target, shown):
    assert routes.shown(target) == shown
    assert routes.shown(shown) == shown


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("no hook", "no hook"),
        ("Cannot POST /a?token=s3cret-1&x=%C3%BC-secret", "Cannot POST /a?…"),
        ("the token s3cret-1 is unknown", "the token … is unknown"),
        ("ü-secret, or %C3%BC-secret", "…, or …"),
        ("x and true are words", "x and true are words"),
    ],
)
def test_text_about_a_target_is_shown_without_the_target_s_query(text, safe):
    target = "https://hook.example/a?token=s3cret-1&x=%C3%BC-secret"
    assert routes.without_secrets(text, target) == safe
    assert routes.without_secrets(text, "https://hook.example/a") == text
    assert routes.without_secrets(text, "maildir:/a?token=s3cret-1") == text


@given(st.text(alphabet="abc/?#&=;%@:…", max_size=30), st.text(alphabet="xyz0123456789", min_size=6, max_size=12))
def test_no_part_of_a_query_is_shown(address, secret):
    for mark in "?#":
        target = f"https://hook.example/{address}{mark}key={secret}"
        assert secret not in routes.shown(target)
        assert secret not in routes.without_secrets(f"{target} {secret}", target)
