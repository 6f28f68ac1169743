"""Whose a domain is: it belongs to the account that has email addresses in it, on both stores, and in races."""

from dataclasses import replace

import psycopg
import pytest

from tests.kit.stores.both_stores import Handle
from tests.kit.stores.calls import OTHERS, check_invariants, create, creating, deleting, deleting_instance, kinds
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import TENANT, an_email_address, make_instance
from tests.store.contract.test_schema import knowing  # noqa: F401 - a fixture
from tests.store.contract.test_waiting import while_held
from waypost.app.directory import email_addresses
from waypost.app.directory.email_addresses import Domains
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.store import migrations, sql

STRANGER, ELSEWHERE = OTHERS
SHARED = Domains(shared=frozenset({"example.com"}))


@pytest.fixture
def two(store, instance):
    """Two accounts, with the instances i and j."""
    store.write(make_instance, "j", STRANGER)
    return store


def creating_at(text, instance_id="i", tenant=TENANT, **options):
    new = replace(an_email_address("x", instance_id, tenant.account), id=text, address=addresses.parse(text))
    return lambda tx: email_addresses.create(tx, tenant, new, **{"tags": {}} | options)


def strangers(text, **options):
    return creating_at(text, "j", STRANGER, **options)


def test_another_account_cannot_come_into_a_domain_that_is_used(two):
    two.write(creating_at("support@example.com"))
    for text in ("other@example.com", "support@example.com", "support+x@example.com", "OTHER@EXAMPLE.COM"):
        with pytest.raises(errors.Conflict, match=r"Domain example\.com belongs to another account"):
            two.write(strangers(text))
    two.write(creating_at("more@example.com"))
    check_invariants(two)


@pytest.mark.parametrize(
    "text", ["a@sub.example.com", "a@ample.com", "a@com", "a@example.org", "example.com@x.example"]
)
def test_a_domain_above_or_below_is_another_one(two, text):
    two.write(creating_at("support@example.com"))
    assert two.write(strangers(text))


def test_a_domain_is_compared_as_a_labels(two):
    two.write(creating_at("a@bücher.example"))
    with pytest.raises(errors.Conflict):
        two.write(strangers("b@XN--BCHER-KVA.example"))


def test_a_domain_is_of_the_account_in_all_its_regions_and_instances(two):
    two.write(make_instance, "k", ELSEWHERE)
    two.write(make_instance, "l")
    two.write(creating_at("a@example.com"))
    two.write(creating_at("b@example.com", "k", ELSEWHERE))
    two.write(creating_at("c@example.com", "l"))


def test_a_domain_is_free_when_its_last_address_is_deleted(two):
    two.write(creating_at("a@example.com"))
    two.write(creating_at("b@example.com"))
    two.write(deleting("a@example.com"))
    with pytest.raises(errors.Conflict):
        two.write(strangers("a@example.com"))
    two.write(deleting_instance())
    two.write(strangers("a@example.com"))
    two.write(make_instance, "i2")
    with pytest.raises(errors.Conflict):
        two.write(creating_at("b@example.com", "i2"))


@pytest.mark.parametrize("shared", ["example.com", "*"])
def test_every_account_may_come_into_a_shared_domain(two, shared):
    domains = Domains(shared=frozenset({shared}))
    two.write(creating_at("a@example.com", domains=domains))
    two.write(strangers("b@example.com", domains=domains))
    with pytest.raises(errors.Duplicate):
        two.write(strangers("a@example.com", domains=domains))
    two.write(creating_at("a@example.org", domains=SHARED))
    with pytest.raises(errors.Conflict):
        two.write(strangers("b@example.org", domains=SHARED))


def test_accounts_that_shared_a_domain_before_keep_it_and_others_stay_out(two):
    for text, make in (("a@example.com", creating_at), ("b@example.com", strangers)):
        two.write(make(text, domains=SHARED))
    two.write(creating_at("c@example.com"))
    two.write(strangers("d@example.com"))
    third = replace(TENANT, account="333333333333")
    two.write(make_instance, "k", third)
    with pytest.raises(errors.Conflict):
        two.write(creating_at("e@example.com", "k", third))


def test_in_a_shared_domain_nobody_takes_the_subaddresses_of_another_account(two):
    domains = replace(SHARED, subaddressed=frozenset({"example.com"}))
    two.write(creating_at("support@example.com", domains=domains))
    with pytest.raises(errors.Conflict, match=r"Mail for support\+x@example\.com goes to another account"):
        two.write(strangers("support+x@example.com", domains=domains))
    two.write(creating_at("support+x@example.com", domains=domains))
    two.write(strangers("sales+x@example.com", domains=domains))
    two.write(strangers("sales@example.com", domains=domains))
    with pytest.raises(errors.Conflict, match=r"Mail for support\+y@example\.com goes to another account"):
        two.write(strangers("support+y@example.com", domains=replace(domains, shared=frozenset())))


@pytest.mark.parametrize("shared", [(), ("*",)], ids=["by default", "where all others are shared"])
def test_a_domain_of_the_server_itself_is_its_owner_s(two, shared):
    """Bounces for rewritten senders come there, and answers to notices: an address there would take them."""
    of_server = frozenset({"bounces.example", "mail.example"})
    domains = Domains(owner=TENANT.account, of_server=of_server, shared=frozenset(shared))
    for text in ("srs0=abcd=2026=example.org=ann@bounces.example", "postmaster@mail.example"):
        with pytest.raises(errors.Conflict, match="belongs to this server"):
            two.write(strangers(text, domains=domains))
        two.write(creating_at(text, domains=domains))
    two.write(strangers("a@example.com", domains=domains))


def test_an_account_that_is_in_a_domain_of_the_server_keeps_it_and_one_may_be_shared_by_name(two):
    two.write(strangers("a@mail.example"))
    domains = Domains(owner=TENANT.account, of_server=frozenset({"mail.example", "bounces.example"}))
    two.write(strangers("b@mail.example", domains=domains))
    two.write(strangers("c@bounces.example", domains=replace(domains, shared=frozenset({"bounces.example"}))))


def test_of_accounts_that_come_into_a_domain_at_once_one_gets_it(two, race):
    outcomes = race(*((strangers if n % 2 else creating_at)(f"e{n}@example.com") for n in range(10)))
    assert kinds(outcomes) == {"Conflict": 5, "done": 5}
    assert len(set(two.rows("SELECT account FROM email_addresses"))) == 1


def test_who_has_a_domain_keeps_it_while_its_last_address_goes_and_a_new_one_comes(two, race):
    two.write(creating_at("a@example.com"))
    outcomes = race(
        deleting("a@example.com"),
        *(creating_at(f"own{n}@example.com") for n in range(4)),
        *(strangers(f"b{n}@example.com") for n in range(4)),
    )
    assert set(kinds(outcomes)) <= {"done", "Conflict"}
    assert len(set(two.rows("SELECT account FROM email_addresses"))) == 1
    check_invariants(two)


def test_creates_and_the_end_of_their_instance_wait_for_each_other_in_no_circle(two, race):
    create(two, *"abc")
    outcomes = race(deleting_instance(), *(creating(f"e{n}") for n in range(6)))
    assert set(kinds(outcomes)) <= {"done", "NotFound"}
    check_invariants(two)


REFUSED_BEFORE = """
INSERT INTO instances (id, account, region, identity_management_type, inbound_calls_enabled, outbound_calls_enabled,
                       created_at) VALUES ('i', '000000000000', 'us-east-1', 'SAML', {true}, {true}, 5);
INSERT INTO email_addresses (id, instance_id, account, address, address_key, created_at, modified_at)
VALUES ('a', 'i', '000000000000', 'a@example.com', 'a@example.com', 50, 50);
INSERT INTO refusals (at, peer, helo, sender, recipient, recipient_key, stage, reply, detail)
VALUES (49, '', '', '', 'a@example.com', 'a@example.com', 'rcpt', 'before', '{{}}'),
       (50, '', '', '', 'a@example.com', 'a@example.com', 'message', 'while', '{{}}'),
       (51, '', '', '', 'b@example.com', 'b@example.com', 'rcpt', 'nobody', '{{}}')
"""


def test_refusals_of_before_are_of_the_account_that_owned_the_address_then(engine, empty, knowing):  # noqa: F811
    names = [step.name for step in migrations.known(engine.name)]
    knowing(names.index("tenants"))
    engine.migrate(empty)
    statements = REFUSED_BEFORE.format(true={"sqlite": "1", "postgres": "true"}[engine.name])
    engine.execute(empty, *statements.split(";"))
    knowing(None)
    handle = Handle(engine, empty)
    try:
        assert handle.rows("SELECT reply, account FROM refusals ORDER BY at") == [
            ("before", ""),
            ("while", "000000000000"),
            ("nobody", ""),
        ]
    finally:
        handle.close()


def test_an_account_keeps_a_domain_that_it_is_in(two):
    two.write(creating_at("a@example.com"))
    two.write(lambda tx: tx.hold("n"))
    assert two.write(lambda tx: tx.keep_domain(TENANT.account, "example.com", name="n"))
    assert not two.write(lambda tx: tx.keep_domain(STRANGER.account, "example.com", name="n"))
    assert not two.write(lambda tx: tx.keep_domain(TENANT.account, "example.org", name="n"))


@pytest.mark.usefixtures("_side_by_side")
def test_a_domain_is_kept_by_many_at_once_and_a_newcomer_waits_for_them(two, monkeypatch):
    two.write(creating_at("a@example.com"))
    set_limits(monkeypatch, held_row=0.02)
    impatient = two.a_new_one()
    first, second = while_held(impatient, creating_at("b@example.com"), creating_at("c@example.com"))
    assert (first, second) == ("b@example.com", "c@example.com")
    first, second = while_held(impatient, creating_at("d@example.com"), strangers("e@example.com"))
    assert first == "d@example.com"
    assert isinstance(second, errors.Busy)


@pytest.mark.usefixtures("_side_by_side")
def test_of_two_that_come_into_a_domain_the_second_waits_for_the_first(two, monkeypatch):
    set_limits(monkeypatch, held_row=0.02)
    impatient = two.a_new_one()
    outcomes = while_held(impatient, creating_at("a@example.com"), strangers("b@example.com"))
    assert outcomes[0] == "a@example.com"
    assert isinstance(outcomes[1], errors.Busy)


@pytest.mark.usefixtures("_side_by_side")
def test_a_name_that_is_held_or_was_never_held_keeps_no_domain(two):
    two.write(creating_at("a@example.com"))

    def keeps(tx):
        return tx.keep_domain(TENANT.account, "example.com", name="n")

    assert two.write(keeps) is False
    assert while_held(two, lambda tx: (tx.hold("n"), tx.access_keys()), keeps)[1] is False
    assert two.write(keeps) is True


@pytest.mark.usefixtures("_side_by_side")
@pytest.mark.parametrize("name", ["has_address_in", "keep_domain", "others_have_address_in"])
def test_postgresql_can_find_whose_a_domain_is_by_an_index(two, name):
    def plan(tx):
        query = sql.load("postgres")[name].sql
        given = ["example.com", TENANT.account, "n"][: query.count("$3") + 2]
        tx.connection.execute("SET LOCAL enable_seqscan = off")  # of a small table it reads all
        return [row[0] for row in psycopg.RawCursor(tx.connection).execute(f"EXPLAIN {query}", given).fetchall()]

    steps = two.write(plan)
    scans = [one for one in steps if "email_addresses" in one]
    assert scans
    assert all("email_addresses_by_domain" in one for one in scans), steps
