"""Queries to a DNS server that is slow, broken or unreachable."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.peers.dns_server import SERVFAIL, SILENT, Zone
from waypost.domain.mailauth.verdicts import Answer
from waypost.mailauth.places import AT_ONCE
from waypost.mailauth.resolver import NotAnswered, Questions, Resolver, Unanswered


@pytest.fixture
def zone():
    records = {
        "a.example": {"TXT": ["one", "two " * 100]},
        "large.example": {"TXT": ["x" * 3_000]},
        "alias.example": {"CNAME": ["a.example."]},
        "below.empty.example": {"TXT": ["x"]},
        "broken.example": SERVFAIL,
        "silent.example": SILENT,
    }
    with Zone(records) as zone:
        yield zone


def questions(zone, seconds=PATIENCE):
    return Questions(Resolver([zone.address]), seconds)


@pytest.mark.parametrize("name", ["a.example", "A.Example.", "alias.example"])
def test_the_strings_of_a_txt_record_are_joined(zone, name):
    assert set(questions(zone).texts(name)) == {b"one", b"two " * 100}


def test_a_query_with_a_truncated_answer_is_repeated_over_tcp(zone):
    assert questions(zone).texts("large.example") == [b"x" * 3_000]
    assert [transport for *_, transport in zone.questions] == ["udp", "tcp"]


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("nowhere.example", False),
        ("empty.example", True),
        ("a..example", False),
        ("a" * 64 + ".example", False),
        ("a." * 200, False),
        ("\\999", False),
        ("\ud800.example", False),
    ],
)
def test_a_name_without_txt_records_has_an_empty_answer(zone, name, exists):
    assert questions(zone).answer(name) == Answer((), exists)


def test_an_answer_is_cached_for_its_ttl(zone):
    resolver = Resolver([zone.address])
    for _ in range(5):
        Questions(resolver, PATIENCE).texts("a.example")
    assert zone.asked("a.example") == 1
    zone.ttl = 0
    for _ in range(3):
        Questions(resolver, PATIENCE).texts("below.empty.example")
    assert zone.asked("below.empty.example") == 3


def test_a_server_that_reports_a_failure_is_not_silent(zone):
    asked = questions(zone)
    with pytest.raises(NotAnswered):
        asked.texts("broken.example")
    assert not asked.silent


def test_the_wait_for_a_silent_server_ends_at_the_time_limit(zone):
    asked = questions(zone, 1.0)
    with pytest.raises(NotAnswered):
        asked.texts("silent.example")
    assert zone.asked("silent.example") == 1  # there is no time for a second try
    assert asked.silent
    with pytest.raises(NotAnswered):
        questions(zone, 0).texts("a.example")


def test_a_server_that_has_answered_once_is_not_silent(zone):
    asked = questions(zone, 1.0)
    asked.texts("a.example")
    with pytest.raises(NotAnswered):
        asked.texts("silent.example")
    assert not asked.silent


def test_the_dns_works_while_a_server_answers_for_the_root(zone):
    resolver = Resolver([zone.address])
    assert resolver.works(PATIENCE)
    zone.silent = True
    assert not resolver.works(0.15)
    with Zone() as other:
        pass
    assert not Resolver([other.address]).works(0.15)


def test_no_query_is_answered_on_a_system_without_resolvers(monkeypatch):
    def unreadable(*_, **__):
        raise OSError

    monkeypatch.setattr("dns.resolver.Resolver.read_resolv_conf", unreadable)
    assert not Resolver().works(0.15)
    with pytest.raises(NotAnswered):
        Resolver().ask("a.example", "TXT", 1.0)


def test_an_answer_that_is_too_long_is_not_read():
    """Reading its records would take time from the checks of other messages."""
    texts = {f"{count}.example": [f"{number:0>60}" for number in range(count)] for count in (100, 400)}
    with Zone({name: {"TXT": found} for name, found in texts.items()}) as zone:
        assert len(questions(zone).texts("100.example")) == 100
        with pytest.raises(NotAnswered):
            questions(zone).texts("400.example")
        assert ("400.example", "TXT", "tcp") in zone.questions


def many(resolver, names, seconds):
    """The results of queries that are made at the same time."""

    def ask(name):
        try:
            return resolver.ask(name, "TXT", seconds)
        except NotAnswered as error:
            return str(error)

    with ThreadPoolExecutor(len(names)) as threads:
        return list(threads.map(ask, names))


TOO_MANY = "too many queries for this domain are unanswered"


@pytest.mark.slow
def test_names_below_a_silent_domain_occupy_a_share_of_the_threads_and_later_one_thread():
    with Zone({"example.net": {"TXT": ["x"]}}) as zone:
        zone.silent_below = "slow.example"
        resolver = Resolver([zone.address])
        names = [f"{number}.slow.example" for number in range(AT_ONCE)]
        found = many(resolver, names, PATIENCE)
        assert set(found) == {TOO_MANY, "DNS did not answer"}
        tries = [zone.asked(name) for name in names]
        assert 0 < tries.count(3) < AT_ONCE
        assert set(many(resolver, [f"more{number}.slow.example" for number in range(5)], PATIENCE)) == set(found)
        assert sum(zone.asked(f"more{number}.slow.example") > 0 for number in range(5)) == 1
        assert resolver.ask("example.net", "TXT", PATIENCE).records


@pytest.mark.slow
def test_a_domain_that_answers_again_is_queried_as_before():
    with Zone({"a.slow.example": {"TXT": ["x"]}}) as zone:
        resolver = Resolver([zone.address])
        zone.silent = True
        with pytest.raises(NotAnswered):
            resolver.ask("slow.example", "TXT", PATIENCE)
        zone.silent = False
        with resolver._unanswered.asking("b.slow.example"), pytest.raises(NotAnswered, match=TOO_MANY):
            resolver.ask("a.slow.example", "TXT", PATIENCE)
        assert resolver.ask("a.slow.example", "TXT", PATIENCE).records
        with resolver._unanswered.asking("b.slow.example"):
            assert not resolver.ask("c.slow.example", "TXT", PATIENCE).exists


def test_cached_answers_for_a_silent_domain_are_still_returned():
    with Zone({"a.slow.example": {"TXT": ["x"]}}) as zone:
        resolver = Resolver([zone.address])
        assert resolver.ask("a.slow.example", "TXT", PATIENCE).records
        resolver._unanswered = Unanswered(0)
        zone.silent = True
        assert resolver.ask("a.slow.example", "TXT", PATIENCE).records
        with pytest.raises(NotAnswered, match=TOO_MANY):
            resolver.ask("c.slow.example", "TXT", PATIENCE)
        assert not zone.asked("c.slow.example")


def test_the_number_of_domains_marked_as_silent_is_limited(monkeypatch):
    monkeypatch.setattr("waypost.mailauth.resolver.KNOWN_SILENT", 2)
    unanswered = Unanswered()
    for name in ("a.example", "b.example", "c.example"):
        with unanswered.counting(name):
            pass
    assert list(unanswered._silent_until) == ["b.example", "c.example"]


def test_a_domain_that_is_silent_again_gets_a_new_mark(monkeypatch):
    monkeypatch.setattr("waypost.mailauth.resolver.KNOWN_SILENT", 2)
    unanswered = Unanswered()
    for name in ("a.example", "b.example", "a.example", "c.example"):
        with unanswered.counting(name):
            pass
    assert list(unanswered._silent_until) == ["a.example", "c.example"]
