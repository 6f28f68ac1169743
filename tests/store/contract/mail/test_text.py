"""Unusual text on both stores: it is stored and found exactly, or refused without any change."""

import random

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import Described, associating, check_invariants, create, describe, tokened
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from tests.store.contract.directory.test_access_keys import a_key
from tests.store.contract.mail.test_mail import accepting
from tests.store.contract.mail.test_refusals import a_refusal
from waypost.app import ports
from waypost.app.directory import access_keys, email_addresses, idempotency, instances, tags
from waypost.app.mail import trace
from waypost.domain import errors
from waypost.domain.directory import addresses, search
from waypost.domain.directory.addresses import Address
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.search import Comparison, Field, Tagged
from waypost.domain.mail.routes import Route
from waypost.domain.mail.trace_events import AcceptedEvent

EVERY_PLANE = "".join(chr((plane << 16) + offset) for plane in range(17) for offset in (0x21, 0xFFFD, 0xFFFE, 0xFFFF))
UNUSUAL = {
    "every plane": EVERY_PLANE,
    "ends of ranges": "\x01\x1f\x7f\x80\x9f\xa0\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff",
    "combining": "e\u0301 \u0301 é A\u030a\u0323 A\u0323\u030a \u1112\u1161\u11ab",
    "folds to more": "ß ẞ ﬁ İ ı ŉ ΐ ΰ ǰ ſ ς Σ \u0345",
    "right to left": "\u202eabc\u202c \u05d0\u05d1 \u200f\u200d\ufeff",
    "SQL": """'; DROP TABLE instances; -- "'" \\' $1 ? ?1 :a @b %s %(x)s {} $$ /* */""",
    "patterns": "% _ \\% \\_ * ? [a-z] ^ $ .* (",
    "JSON": '{"a": [null, "\\u0000", "\\ud800"]} \\n \\"',
    "JSON in an array": '["a","b"]',
    "arrays": '{a,b} {"a"} {NULL} NULL \\N',
    "space": " \t\r\n\x0b\x0c\x85\u2028\u3000 ",
    "octets": "\\x00 \\000 \\xdeadbeef",
    "empty": "",
}
texts = pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL)


def long_text(length, seed=1):
    """Return a random text of characters that take four bytes in UTF-8, which can hardly be compressed."""
    chance = random.Random(seed)
    return "".join(chr(chance.randrange(0x10000, 0x110000)) for _ in range(length))


def found(store, condition):
    page = store.long_read(email_addresses.search_page, TENANT, "i", condition, after=None, limit=9, count_up_to=9)
    return [each.id for each, _ in page.found]


@texts
def test_unusual_text_of_email_addresses_and_tags_is_stored_and_found_exactly(store, instance, text):
    created = replace(an_email_address("a"), display_name=text, description=text + text)
    given = {text: text, text + "k": "v"}
    store.write(email_addresses.create, TENANT, created, tags=given)
    create(store, "b")
    assert describe(store, "a") == describe(store.another(), "a") == Described(created, None, given)
    texts = {"display_name": text + ".", "description": text, "now": NOW}
    store.write(email_addresses.update_metadata, TENANT, "i", "a", **texts)
    assert describe(store, "a").email_address == created.with_texts(**texts)
    assert found(store, search.text(Field.DISPLAY_NAME, Comparison.EXACT, text + ".")) == ["a"]
    assert found(store, Tagged(text, text)) == ["a"]
    if text:
        for comparison in Comparison:
            assert found(store, search.text(Field.DESCRIPTION, comparison, text)) == ["a"]
    store.write(tags.remove, TENANT, tags.Resource("i", "a"), [text])
    assert describe(store, "a").tags == {text + "k": "v"}


@texts
def test_unusual_text_of_instances_is_stored_exactly(store, text):
    made = replace(store.write(make_instance, "j"), id=f"i{text}", alias=text, directory_id=text)
    store.write(instances.create, made, tags={text: text})
    assert store.read(instances.describe, TENANT, f"i{text}") == (made, {text: text})
    assert store.read(lambda tx: tx.has_instance_alias(text)) is bool(text)
    store.write(instances.delete, TENANT, f"i{text}", now=NOW)
    assert store.count("instances", "tags") == {"instances": 1, "tags": 0}


@texts
def test_unusual_text_of_tokens_mail_and_access_keys_is_stored_exactly(store, instance, text):
    key = ports.CallKey(Tenant(text, text), text, text, text)
    call = ports.RememberedCall(b"print", text, NOW)
    store.write(lambda tx: tx.remember_call(key, call))
    assert store.write(lambda tx: tx.claim_call(key)) == call

    create(store, "x")
    message = store.write(accepting("x", sender=text, helo=text, peer=text, protocol=text, recipients=(text, "x")))
    details = store.long_read(trace.message_details, TENANT.account, "m1")
    assert details.message == message
    assert details.events[0].detail == AcceptedEvent(
        sender=text, peer=text, helo=text, protocol=text, size=message.size
    )

    store.write(access_keys.create, a_key(secret=text))
    assert store.read(access_keys.find, "AKIA1").secret == text
    assert store.write(lambda tx: (tx.first_time(text), tx.first_time(text), tx.hold(text))) == (True, False, None)


def test_texts_that_look_the_same_are_different_values(store, instance):
    for name, text in (("a", "e\u0301"), ("b", "é"), ("c", "E\u0301")):
        new = replace(an_email_address(name), address=Address(f"{text}@example.com", f"{text}@example.com"))
        store.write(email_addresses.create, TENANT, new, tags={text: text})
    assert found(store, Tagged("é", "é")) == ["b"]
    assert store.read(lambda tx: tx.email_address_by_key("e\u0301@example.com")).id == "a"
    assert found(store, search.text(Field.ADDRESS, Comparison.STARTS_WITH, "É@")) == ["a", "b", "c"]


def test_an_address_with_combining_characters_has_one_owner(store, instance):
    first = replace(an_email_address("a"), address=addresses.parse("e\u0301A\u030a@Bücher.example"))
    store.write(email_addresses.create, TENANT, first, tags={})
    again = replace(an_email_address("b"), address=addresses.parse("ÉÅ@xn--bcher-kva.example"))
    with pytest.raises(errors.Duplicate):
        store.write(email_addresses.create, TENANT, again, tags={})
    assert describe(store, "a").email_address == first
    store.write(accepting(again.address))
    ((delivery, _),) = store.long_read(trace.inbox, TENANT.account, again.address, after=None, limit=9)
    assert (delivery.address, delivery.sent_to) == (first.address, again.address.text)


def test_the_longest_texts_are_stored_and_found(store, instance):
    display_name, description = long_text(256), long_text(4096, seed=2)
    created = replace(an_email_address("a"), display_name=display_name, description=description)
    keys = [long_text(128, seed=n) for n in range(3, 53)]
    given = {key: long_text(256, seed=keys.index(key)) for key in keys}
    store.write(email_addresses.create, TENANT, created, tags=given)
    other = replace(an_email_address("b"), description=f"{description[:-1]}a", display_name=display_name[:-1])
    store.write(email_addresses.create, TENANT, other, tags={})

    assert describe(store, "a") == Described(created, None, given)
    for condition in (
        search.text(Field.DESCRIPTION, Comparison.EXACT, description),
        search.text(Field.DESCRIPTION, Comparison.STARTS_WITH, description),
        search.text(Field.DESCRIPTION, Comparison.CONTAINS, description[1:]),
        search.text(Field.DISPLAY_NAME, Comparison.STARTS_WITH, display_name),
        Tagged(keys[0], given[keys[0]]),
        Tagged(keys[-1], None),
    ):
        assert found(store, condition) == ["a"]
    assert found(store, search.text(Field.DESCRIPTION, Comparison.STARTS_WITH, description[:-1])) == ["a", "b"]


def test_the_longest_client_tokens_are_distinguished(store):
    token, scope = long_text(500), long_text(100, seed=2)
    for last in "ab":
        key = ports.CallKey(TENANT, "AssociateEmailAddressAlias", scope, token[:-1] + last)
        call = idempotency.TokenedCall(key, last.encode(), tokened().retention)
        for _ in range(2):
            assert store.write(idempotency.once, call, now=NOW, effect=lambda last=last: last) == last


def test_the_owner_of_the_longest_address_is_found(store, instance):
    local, domain = "é" * 32, ".".join(["x" * 63] * 3 + ["y" * 61])
    created = replace(an_email_address("a"), address=addresses.parse(f"{local}@{domain}"))
    store.write(email_addresses.create, TENANT, created, tags={})
    assert store.read(lambda tx: tx.email_address_by_key(created.address.key)) == created
    assert found(store, search.text(Field.ADDRESS, Comparison.EXACT, created.address.text)) == ["a"]


def uses_of(bad):
    """Return writes and queries that use a string that a database cannot store, by the role of the string."""
    at = {"display_name": bad, "description": bad, "now": NOW}
    either = {"a": "fine", bad: bad}
    return {
        "display name": creating_with(display_name=bad),
        "description": creating_with(description=bad),
        "id": creating_with(id=bad),
        "tag of a new email address": lambda tx: email_addresses.create(tx, TENANT, an_email_address("b"), tags=either),
        "changed texts": lambda tx: email_addresses.update_metadata(tx, TENANT, "i", "a", **at),
        "tag key": lambda tx: tags.add(tx, TENANT, tags.Resource("i", "a"), {"a": "", bad: ""}),
        "tag value": lambda tx: tags.add(tx, TENANT, tags.Resource("i"), {"a": bad}),
        "tag key to remove": lambda tx: tags.remove(tx, TENANT, tags.Resource("i"), ["kept", bad]),
        "instance id": lambda tx: instances.get(tx, TENANT, bad),
        "instance alias": lambda tx: make_instance(tx, "j", alias=bad),
        "new instance id": lambda tx: make_instance(tx, bad),
        "region": lambda tx: instances.page(tx, Tenant(TENANT.account, bad), after="", limit=1),
        "page of instances": lambda tx: instances.page(tx, TENANT, after=bad, limit=1),
        "email address id": lambda tx: email_addresses.describe(tx, TENANT, "i", bad),
        "key": lambda tx: tx.email_address_by_key(bad),
        "token": lambda tx: idempotency.once(tx, tokened(token=bad), now=NOW, effect=lambda: ""),
        "answer": lambda tx: idempotency.once(tx, tokened(), now=NOW, effect=lambda: bad),
        "sender": accepting("a", sender=bad),
        "greeting": accepting("a", helo=bad),
        "message id": accepting("a", message_id=bad),
        "inbox": lambda tx: trace.inbox(tx, TENANT.account, Address(bad, bad), after=None, limit=1),
        "cursor of an inbox": lambda tx: tx.deliveries_at(TENANT.account, "a@example.com", after=bad, limit=1),
        "trace": lambda tx: trace.message_details(tx, TENANT.account, bad),
        "octets": lambda tx: tx.octets(bad, start=0, limit=1),
        "mark": lambda tx: tx.first_time(bad),
        "name": lambda tx: (tx.hold(bad), tx.access_keys()),
        "key id": lambda tx: tx.add_access_key(a_key(bad)),
        "Message-ID": lambda tx: tx.messages_with_header_id(TENANT.account, bad, limit=1),
        "destination": lambda tx: tx.claim(bad, claim="c", now=NOW, lease_until=NOW, limit=1),
        "claim": lambda tx: tx.release(bad, due_at=NOW),
        "cursor of the queue": lambda tx: tx.queue(TENANT.account, destination=None, after=f"m.{bad}", limit=1),
        "route": lambda tx: (tx.put_routes([Route(match=bad, to="inbox")], revision="r"), tx.access_keys()),
        "refusal": lambda tx: (tx.add_refusals([a_refusal(sender=bad)]), tx.access_keys()),
    }


def uses_in_lists_of(bad):
    """Return writes and queries that use the string in lists and searches."""
    return {
        "deleted": lambda tx: email_addresses.delete(tx, TENANT, "i", bad),
        "primary": associating(bad, "a"),
        "alias": associating("a", bad),
        "links": lambda tx: tx.links_of([bad]),
        "owners": lambda tx: tx.owners(["a@example.com", bad]),
        "exact text": looking_for(search.text(Field.DESCRIPTION, Comparison.EXACT, bad)),
        "start": looking_for(search.text(Field.ADDRESS, Comparison.STARTS_WITH, bad)),
        "part": looking_for(search.text(Field.DISPLAY_NAME, Comparison.CONTAINS, bad)),
        "id in a search": looking_for(search.text(Field.ID, Comparison.EXACT, bad)),
        "tag in a search": looking_for(Tagged(bad, None)),
        "tag's value in a search": looking_for(Tagged("k", bad)),
    }


def creating_with(**fields):
    new = replace(an_email_address("b"), **fields)
    return lambda tx: email_addresses.create(tx, TENANT, new, tags={"k": "v"}, call=tokened())


def looking_for(condition):
    return lambda tx: tx.search(TENANT, "i", condition, after=None, limit=1, count_up_to=1)


@pytest.fixture
def system(store, instance):
    create(store, "a")
    store.write(tags.add, TENANT, tags.Resource("i"), {"kept": ""})
    before = everything(store)
    yield store
    assert everything(store) == before
    check_invariants(store)


def everything(store):
    tables = ("instances", "email_addresses", "tags", "remembered_calls", "messages", "message_bodies", "deliveries")
    tables += ("queue", "refusals", "routes")
    marks = store.rows("SELECT name FROM deployment_marks ORDER BY name")
    return [store.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables], marks


NUL, HALF_A_PAIR = "x\0y", "x\ud800y"


def not_refused(store, attempts, *, as_):
    """Run each attempt after another change. Return the outcomes of attempts that do not raise one of these errors."""
    found = {}
    for what, attempt in attempts.items():

        def after_something_else(tx, attempt=attempt):
            tx.put_tags("a", {"new": "rolled back"})
            attempt(tx)
            raise errors.NotFound("nothing was found")

        (outcome,) = store.concurrently(after_something_else)
        if not isinstance(outcome, as_):
            found[what] = outcome
    return found


def test_a_string_with_a_nul_is_refused_and_changes_nothing(system):
    assert not_refused(system, uses_of(NUL), as_=errors.Invalid) == {}


def test_a_string_with_a_nul_is_refused_in_lists_and_searches_too(system):
    assert not_refused(system, uses_in_lists_of(NUL), as_=errors.Invalid) == {}


def test_half_a_surrogate_pair_is_refused_or_not_found_and_changes_nothing(system):
    attempts = uses_of(HALF_A_PAIR) | uses_in_lists_of(HALF_A_PAIR)
    assert not_refused(system, attempts, as_=(UnicodeEncodeError, errors.NotFound)) == {}


def test_a_nul_inside_json_is_stored(store, instance):
    create(store, "x")
    message = store.write(accepting("x", recipients=("a\0b",)))
    assert store.long_read(trace.message_details, TENANT.account, "m1").message == message
