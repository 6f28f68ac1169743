"""Short forms of the most frequent calls in the contract tests. Each call is a separate write or read."""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from tests.kit.values import NOW, TENANT, an_email_address
from waypost.app import ports
from waypost.app.directory import aliases, email_addresses, idempotency, instances
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.search import Every

OTHERS = (Tenant("111111111111", "us-east-1"), Tenant("000000000000", "eu-west-1"))
EVERYTHING = Every(())
RETENTION = timedelta(days=7)


def create(store, *names, instance_id="i", **options):
    for name in names:
        store.write(creating(name, instance_id, **options))


def creating(name, instance_id="i", tenant=TENANT, **options):
    """Return the use case that creates an email address."""
    new = an_email_address(name, instance_id, tenant.account)
    return lambda tx: email_addresses.create(tx, tenant, new, **{"tags": {}} | options)


def associate(store, primary, alias, **options):
    store.write(associating(primary, alias, **options))


def associating(primary, alias, *, instance_id="i", tenant=TENANT, call=None):
    return lambda tx: aliases.associate(tx, tenant, instance_id, primary_id=primary, alias_id=alias, now=NOW, call=call)


def disassociate(store, primary, alias, **options):
    store.write(disassociating(primary, alias, **options))


def disassociating(primary, alias, *, instance_id="i", tenant=TENANT, call=None):
    return lambda tx: aliases.disassociate(
        tx, tenant, instance_id, primary_id=primary, alias_id=alias, now=NOW, call=call
    )


class Described(NamedTuple):
    """An email address with its alias link and its tags."""

    email_address: EmailAddress
    link: AliasLink | None
    tags: Mapping[str, str]


def describe(store, name, instance_id="i"):
    """Return an email address, and check that all queries about it agree."""

    def use_case(tx):
        found = email_addresses.describe(tx, TENANT, instance_id, name)
        email_address, link = tx.email_address_by_id(name), tx.links_of([name]).get(name)
        assert (found.address, found.display_name, found.description, found.created_at, found.modified_at) == (
            email_address.address.text,
            email_address.display_name,
            email_address.description,
            email_address.created_at,
            email_address.modified_at,
        )
        assert found.alias_id == (link.alias_of(name) if link else None)
        return Described(email_address, link, found.tags)

    return store.read(use_case)


def delete(store, *names, instance_id="i"):
    for name in names:
        store.write(deleting(name, instance_id))


def deleting(name, instance_id="i"):
    return lambda tx: email_addresses.delete(tx, TENANT, instance_id, name)


def deleting_instance(instance_id="i", tenant=TENANT):
    return lambda tx: instances.delete(tx, tenant, instance_id, now=NOW)


def ids(store, instance_id="i"):
    """Return the ids of all email addresses that a search without a condition finds."""
    page = store.long_read(
        email_addresses.search_page, TENANT, instance_id, EVERYTHING, after=None, limit=1000, count_up_to=1000
    )
    return [found.id for found, _ in page.found]


def tokened(fingerprint=b"same", token="t", retention=RETENTION):
    return idempotency.TokenedCall(ports.CallKey(TENANT, "Create", "i", token), fingerprint, retention)


def kinds(outcomes):
    """Return the number of outcomes of each kind. The kind of a refusal is the name of its exception."""
    names = [type(outcome).__name__ if isinstance(outcome, BaseException) else "done" for outcome in outcomes]
    return {name: names.count(name) for name in sorted(names)}


def check_invariants(store):
    """Check that the tables contain no remains of deleted resources, and no incomplete resources."""
    there = "(SELECT id FROM email_addresses)"
    for what, query in {
        "a link with only one end": "SELECT * FROM alias_link_ends AS l WHERE NOT EXISTS (SELECT 1 FROM alias_link_ends"
        " AS o WHERE o.email_address_id = l.other_id AND o.other_id = l.email_address_id AND o.side = l.other_side)",
        "a link of a missing address": f"SELECT * FROM alias_link_ends WHERE email_address_id NOT IN {there}",
        "a search entry of a missing address": f"SELECT * FROM search_entries WHERE email_address_id NOT IN {there}",
        "an address without a search entry": "SELECT * FROM email_addresses WHERE id NOT IN"
        " (SELECT email_address_id FROM search_entries)",
        "a tag of a missing resource": f"SELECT * FROM tags WHERE resource_id NOT IN {there}"
        " AND resource_id NOT IN (SELECT id FROM instances)",
        "an address without an instance": "SELECT * FROM email_addresses WHERE instance_id NOT IN"
        " (SELECT id FROM instances)",
    }.items():
        assert store.rows(query) == [], what


def all_deliveries_of(tx, message_id):
    """The deliveries of a message, of all accounts, in the order of the email addresses' ids."""
    return [tx.delivery(message_id, email_address_id) for email_address_id in tx.recipients_of(message_id)]
