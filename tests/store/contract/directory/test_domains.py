"""A domain belongs to the account that has email addresses in it, on both stores and in concurrent calls."""

import psycopg
import pytest
from msgspec.structs import replace

from tests.kit.stores.both_stores import Handle
from tests.kit.stores.calls import OTHERS, check_invariants, create, creating, deleting, deleting_instance, kinds
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import TENANT, an_email_address, make_instance
from tests.store.contract.test_schema import set_known  # noqa: F401 - a fixture
from tests.store.contract.test_waiting import while_held
from waypost.app.directory import email_addresses
from waypost.app.directory.email_addresses import Domains
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.store import migrations, sql

OTHER_TENANT, ELSEWHERE = OTHERS
SHARED = Domains(shared=frozenset({"example.com"}))


@pytest.fixture
def two_accounts(store, instance):
    """A store with two accounts, which have the instances i and j."""
    store.write(make_instance, "j", OTHER_TENANT)
    return store


def creating_at(text, instance_id="i", tenant=TENANT, **options):
    new = replace(an_email_address("x", instance_id, tenant.account), id=text, address=addresses.parse(text))
    return lambda tx: email_addresses.create(tx, tenant, new, **{"tags": {}} | options)


def creating_for_other(text, **options):
    return creating_at(text, "j", OTHER_TENANT, **options)


def test_another_account_cannot_use_a_domain_that_belongs_to_an_account(two_accounts):
    two_accounts.write(creating_at("support@example.com"))
    for text in ("other@example.com", "support@example.com", "support+x@example.com", "OTHER@EXAMPLE.COM"):
        with pytest.raises(errors.Conflict, match=r"Domain example\.com belongs to another account"):
            two_accounts.write(creating_for_other(text))
    two_accounts.write(creating_at("more@example.com"))
    check_invariants(two_accounts)


@pytest.mark.parametrize(
    "text", ["a@sub.example.com", "a@ample.com", "a@com", "a@example.org", "example.com@x.example"]
)
def test_a_parent_domain_or_subdomain_is_a_different_domain(two_accounts, text):
    two_accounts.write(creating_at("support@example.com"))
    assert two_accounts.write(creating_for_other(text))


def test_domains_are_compared_as_a_labels(two_accounts):
    two_accounts.write(creating_at("a@bücher.example"))
    with pytest.raises(errors.Conflict):
        two_accounts.write(creating_for_other("b@XN--BCHER-KVA.example"))


def test_a_domain_belongs_to_the_account_in_all_its_regions_and_instances(two_accounts):
    two_accounts.write(make_instance, "k", ELSEWHERE)
    two_accounts.write(make_instance, "l")
    two_accounts.write(creating_at("a@example.com"))
    two_accounts.write(creating_at("b@example.com", "k", ELSEWHERE))
    two_accounts.write(creating_at("c@example.com", "l"))


def test_a_domain_is_free_when_its_last_address_is_deleted(two_accounts):
    two_accounts.write(creating_at("a@example.com"))
    two_accounts.write(creating_at("b@example.com"))
    two_accounts.write(deleting("a@example.com"))
    with pytest.raises(errors.Conflict):
        two_accounts.write(creating_for_other("a@example.com"))
    two_accounts.write(deleting_instance())
    two_accounts.write(creating_for_other("a@example.com"))
    two_accounts.write(make_instance, "i2")
    with pytest.raises(errors.Conflict):
        two_accounts.write(creating_at("b@example.com", "i2"))


@pytest.mark.parametrize("shared", ["example.com", "*"])
def test_every_account_can_use_a_shared_domain(two_accounts, shared):
    domains = Domains(shared=frozenset({shared}))
    two_accounts.write(creating_at("a@example.com", domains=domains))
    two_accounts.write(creating_for_other("b@example.com", domains=domains))
    with pytest.raises(errors.Duplicate):
        two_accounts.write(creating_for_other("a@example.com", domains=domains))
    two_accounts.write(creating_at("a@example.org", domains=SHARED))
    with pytest.raises(errors.Conflict):
        two_accounts.write(creating_for_other("b@example.org", domains=SHARED))


def test_accounts_that_shared_a_domain_before_can_keep_using_it_but_others_cannot(two_accounts):
    for text, make in (("a@example.com", creating_at), ("b@example.com", creating_for_other)):
        two_accounts.write(make(text, domains=SHARED))
    two_accounts.write(creating_at("c@example.com"))
    two_accounts.write(creating_for_other("d@example.com"))
    third = replace(TENANT, account="333333333333")
    two_accounts.write(make_instance, "k", third)
    with pytest.raises(errors.Conflict):
        two_accounts.write(creating_at("e@example.com", "k", third))


def test_an_account_cannot_take_the_subaddresses_of_another_account_in_a_shared_domain(two_accounts):
    domains = replace(SHARED, subaddressed=frozenset({"example.com"}))
    two_accounts.write(creating_at("support@example.com", domains=domains))
    with pytest.raises(errors.Conflict, match=r"Mail for support\+x@example\.com goes to another account"):
        two_accounts.write(creating_for_other("support+x@example.com", domains=domains))
    two_accounts.write(creating_at("support+x@example.com", domains=domains))
    two_accounts.write(creating_for_other("sales+x@example.com", domains=domains))
    two_accounts.write(creating_for_other("sales@example.com", domains=domains))
    with pytest.raises(errors.Conflict, match=r"Mail for support\+y@example\.com goes to another account"):
        two_accounts.write(creating_for_other("support+y@example.com", domains=replace(domains, shared=frozenset())))


@pytest.mark.parametrize("shared", [(), ("*",)], ids=["by default", "if all domains are shared"])
def test_a_domain_of_the_server_itself_belongs_to_the_servers_owner(two_accounts, shared):
    """Bounces to rewritten senders and replies to notices arrive in these domains, so an address would get them."""
    of_server = frozenset({"bounces.example", "mail.example"})
    domains = Domains(owner=TENANT.account, of_server=of_server, shared=frozenset(shared))
    for text in ("srs0=abcd=2026=example.org=ann@bounces.example", "postmaster@mail.example"):
        with pytest.raises(errors.Conflict, match="belongs to this server"):
            two_accounts.write(creating_for_other(text, domains=domains))
        two_accounts.write(creating_at(text, domains=domains))
    two_accounts.write(creating_for_other("a@example.com", domains=domains))


def test_an_account_can_keep_a_domain_of_the_server_and_such_a_domain_can_be_shared_by_name(two_accounts):
    two_accounts.write(creating_for_other("a@mail.example"))
    domains = Domains(owner=TENANT.account, of_server=frozenset({"mail.example", "bounces.example"}))
    two_accounts.write(creating_for_other("b@mail.example", domains=domains))
    shared_by_name = replace(domains, shared=frozenset({"bounces.example"}))
    two_accounts.write(creating_for_other("c@bounces.example", domains=shared_by_name))


def test_only_one_of_concurrent_accounts_gets_a_new_domain(two_accounts, race):
    outcomes = race(*((creating_for_other if n % 2 else creating_at)(f"e{n}@example.com") for n in range(10)))
    assert kinds(outcomes) == {"Conflict": 5, "done": 5}
    assert len(set(two_accounts.rows("SELECT account FROM email_addresses"))) == 1


def test_an_account_keeps_its_domain_while_its_last_address_is_replaced(two_accounts, race):
    two_accounts.write(creating_at("a@example.com"))
    outcomes = race(
        deleting("a@example.com"),
        *(creating_at(f"own{n}@example.com") for n in range(4)),
        *(creating_for_other(f"b{n}@example.com") for n in range(4)),
    )
    assert set(kinds(outcomes)) <= {"done", "Conflict"}
    assert len(set(two_accounts.rows("SELECT account FROM email_addresses"))) == 1
    check_invariants(two_accounts)


def test_creates_and_the_deletion_of_their_instance_do_not_deadlock(two_accounts, race):
    create(two_accounts, *"abc")
    outcomes = race(deleting_instance(), *(creating(f"e{n}") for n in range(6)))
    assert set(kinds(outcomes)) <= {"done", "NotFound"}
    check_invariants(two_accounts)


OLD_REFUSALS = """
INSERT INTO instances (id, account, region, identity_management_type, inbound_calls_enabled, outbound_calls_enabled,
                       created_at) VALUES ('i', '000000000000', 'us-east-1', 'SAML', {true}, {true}, 5);
INSERT INTO email_addresses (id, instance_id, account, address, address_key, created_at, modified_at)
VALUES ('a', 'i', '000000000000', 'a@example.com', 'a@example.com', 50, 50);
INSERT INTO refusals (at, peer, helo, sender, recipient, recipient_key, stage, reply, detail)
VALUES (49, '', '', '', 'a@example.com', 'a@example.com', 'rcpt', 'before', '{{}}'),
       (50, '', '', '', 'a@example.com', 'a@example.com', 'message', 'while', '{{}}'),
       (51, '', '', '', 'b@example.com', 'b@example.com', 'rcpt', 'nobody', '{{}}')
"""


def test_old_refusals_belong_to_the_account_that_owned_the_address_at_that_time(engine, empty, set_known):  # noqa: F811
    names = [step.name for step in migrations.known(engine.name)]
    set_known(names.index("tenants"))
    engine.migrate(empty)
    statements = OLD_REFUSALS.format(true={"sqlite": "1", "postgres": "true"}[engine.name])
    engine.execute(empty, *statements.split(";"))
    set_known(None)
    handle = Handle(engine, empty)
    try:
        assert handle.rows("SELECT reply, account FROM refusals ORDER BY at") == [
            ("before", ""),
            ("while", "000000000000"),
            ("nobody", ""),
        ]
    finally:
        handle.close()


def test_an_account_keeps_a_domain_in_which_it_has_an_address(two_accounts):
    two_accounts.write(creating_at("a@example.com"))
    two_accounts.write(lambda tx: tx.hold("n"))
    assert two_accounts.write(lambda tx: tx.keep_domain(TENANT.account, "example.com", name="n"))
    assert not two_accounts.write(lambda tx: tx.keep_domain(OTHER_TENANT.account, "example.com", name="n"))
    assert not two_accounts.write(lambda tx: tx.keep_domain(TENANT.account, "example.org", name="n"))


@pytest.mark.usefixtures("_needs_concurrent_writers")
def test_creates_of_the_owner_share_a_domain_and_another_account_waits_for_them(two_accounts, monkeypatch):
    two_accounts.write(creating_at("a@example.com"))
    set_limits(monkeypatch, held_row=0.02)
    impatient_store = two_accounts.a_new_one()
    first, second = while_held(impatient_store, creating_at("b@example.com"), creating_at("c@example.com"))
    assert (first, second) == ("b@example.com", "c@example.com")
    first, second = while_held(impatient_store, creating_at("d@example.com"), creating_for_other("e@example.com"))
    assert first == "d@example.com"
    assert isinstance(second, errors.Busy)


@pytest.mark.usefixtures("_needs_concurrent_writers")
def test_the_second_of_two_accounts_that_create_in_a_new_domain_waits_for_the_first(two_accounts, monkeypatch):
    set_limits(monkeypatch, held_row=0.02)
    impatient_store = two_accounts.a_new_one()
    outcomes = while_held(impatient_store, creating_at("a@example.com"), creating_for_other("b@example.com"))
    assert outcomes[0] == "a@example.com"
    assert isinstance(outcomes[1], errors.Busy)


@pytest.mark.usefixtures("_needs_concurrent_writers")
def test_a_named_lock_that_is_held_or_was_never_acquired_keeps_no_domain(two_accounts):
    two_accounts.write(creating_at("a@example.com"))

    def keeps(tx):
        return tx.keep_domain(TENANT.account, "example.com", name="n")

    assert two_accounts.write(keeps) is False
    assert while_held(two_accounts, lambda tx: (tx.hold("n"), tx.access_keys()), keeps)[1] is False
    assert two_accounts.write(keeps) is True


@pytest.mark.usefixtures("_needs_concurrent_writers")
@pytest.mark.parametrize("name", ["has_address_in", "keep_domain", "others_have_address_in"])
def test_postgresql_finds_the_owner_of_a_domain_with_an_index(two_accounts, name):
    def plan(tx):
        query = sql.load("postgres")[name].sql
        given = ["example.com", TENANT.account, "n"][: query.count("$3") + 2]
        tx.connection.execute("SET LOCAL enable_seqscan = off")  # PostgreSQL would scan a small table
        return [row[0] for row in psycopg.RawCursor(tx.connection).execute(f"EXPLAIN {query}", given).fetchall()]

    steps = two_accounts.write(plan)
    scans = [one for one in steps if "email_addresses" in one]
    assert scans
    assert all("email_addresses_by_domain" in one for one in scans), steps
