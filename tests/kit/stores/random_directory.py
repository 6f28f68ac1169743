"""Random email addresses with a history of changes, and the expected results of searches for them."""

import random
import uuid
from dataclasses import dataclass, field

from hypothesis import strategies as st
from msgspec.structs import replace

from tests.kit import reference_search
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from waypost.app import ports
from waypost.app.directory import aliases, email_addresses, tags
from waypost.app.directory.email_addresses import ANY, Domains
from waypost.domain.directory import addresses, search
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.search import Comparison, Either, Every, Field, Tagged

OTHER_TENANT = Tenant("111111111111", "us-east-1")
INSTANCES = {"i": TENANT, "j": TENANT, "k": OTHER_TENANT}
ALL = 1_000_000

LONG = "x" * 63
FRAGMENTS = [
    *("support", "Help", "HELP", "a", "ab", "abc", "Straße", "STRASSE", "İstanbul", "ΣΊΣΥΦΟΣ", "ς", "e\u0301", "É"),
    *("'", '"', '""', "%", "_", "*", " NEAR ", "AND", " OR ", "NOT", "(", ")", ":", "^", "-", "--", ";", "\\", "?1"),
    *("😀", "\u0301", "\ud7ff", "\ue000", "\ufffd", "\U0010ffff", "\U0010ffff\U0010ffff", "\n", " ", "{}", "\x01"),
    *(LONG, f"{LONG}x", f"{LONG}xy", f"{LONG}xz", f"{LONG}\U0010ffffa"),
]
LOCAL_PARTS = ["support", "Help", "o'brien", "straße", "100%", "a_b", "x*y", "e\u0301", "and", "not", "abc", "😀"]
LOCAL_PARTS += [LONG[:50]]
DOMAINS = ["example.com", "EXAMPLE.org", "bücher.example", f"{LONG}.example", f"{LONG}.{LONG}.example"]
KEYS = ["team", "Team", "cost", "", "a'b", "ü"]
VALUES = ["", "blue", "Blue", "%", "😀"]


@dataclass
class Directory:
    """The email addresses of a store, in one transaction."""

    tx: ports.WriteTx
    chance: random.Random
    there: dict = field(default_factory=dict)
    """The email addresses and their tags, by id."""

    def on(self, tx, chance=None):
        """Return the same email addresses in another transaction, which may change them."""
        return Directory(tx, chance or self.chance, dict(self.there))

    def create(self, address=None):
        chance = self.chance
        instance_id = chance.choice("iiijk") if address is None else "i"
        local, domain = chance.choice(LOCAL_PARTS), chance.choice(DOMAINS)
        new = replace(
            an_email_address("x", instance_id, INSTANCES[instance_id].account),
            id=str(uuid.UUID(int=chance.getrandbits(128))),
            address=address or addresses.parse(f"{local}{chance.randrange(10**6)}@{domain}"),
            display_name=chance.choice([None, self.text(), self.text()]),
            description=chance.choice([None, self.text(), self.text()]),
        )
        given_tags = {key: chance.choice(VALUES) for key in chance.sample(KEYS, chance.randrange(3))}
        self.add(new, given_tags)
        return new

    def add(self, new, given_tags=None):
        shared = Domains(shared=frozenset({ANY}))
        email_addresses.create(self.tx, INSTANCES[new.instance_id], new, tags=given_tags or {}, domains=shared)
        self.there[new.id] = (new, given_tags or {})

    def text(self):
        return "".join(self.chance.choices(FRAGMENTS, k=self.chance.randrange(4)))

    def update(self, email_address_id):
        before, own_tags = self.there[email_address_id]
        texts = {name: self.chance.choice([None, "", self.text()]) for name in ("display_name", "description")}
        tenant = INSTANCES[before.instance_id]
        email_addresses.update_metadata(self.tx, tenant, before.instance_id, before.id, **texts, now=NOW)
        self.there[email_address_id] = (before.with_texts(**texts, now=NOW), own_tags)

    def tag(self, email_address_id):
        found, own_tags = self.there[email_address_id]
        resource, tenant = tags.Resource(found.instance_id, found.id), INSTANCES[found.instance_id]
        new, gone = {self.chance.choice(KEYS): self.chance.choice(VALUES)}, self.chance.choice(KEYS)
        tags.add(self.tx, tenant, resource, new)
        tags.remove(self.tx, tenant, resource, [gone])
        self.there[email_address_id] = (found, {k: v for k, v in {**own_tags, **new}.items() if k != gone})

    def delete(self, email_address_id):
        found, _ = self.there.pop(email_address_id)
        email_addresses.delete(self.tx, INSTANCES[found.instance_id], found.instance_id, found.id)
        return found

    def delete_and_create_again(self, email_address_id):
        gone = self.delete(email_address_id)
        if gone.instance_id == "i":
            self.create(gone.address)

    def ids(self, instance_id="i"):
        return [key for key, (found, _) in self.there.items() if found.instance_id == instance_id]

    def matching(self, condition, instance_id="i"):
        return {key for key in self.ids(instance_id) if reference_search.matches(condition, *self.there[key])}

    def page(self, condition, *, after=None, limit=ALL, instance_id="i"):
        return email_addresses.search_page(
            self.tx, INSTANCES[instance_id], instance_id, condition, after=after, limit=limit, count_up_to=ALL
        )

    def found(self, condition):
        return {found.id for found, _ in self.page(condition).found}

    def walked(self, condition, sizes, between=lambda: None, instance_id="i"):
        """Return the ids of all pages of a search, in their order."""
        ids, after = [], None
        while True:
            page = self.page(condition, after=after, limit=sizes.randint(1, 9), instance_id=instance_id)
            ids += [found.id for found, _ in page.found]
            after = page.next_after
            if after is None:
                return ids
            between()


def build(tx, seed):
    """Return a directory with about thirty random email addresses that were changed, tagged and deleted."""
    chance = random.Random(seed)
    directory = Directory(tx, chance)
    for instance_id, tenant in INSTANCES.items():
        make_instance(tx, instance_id, tenant)
        tags.add(tx, tenant, tags.Resource(instance_id), {"team": "blue", "cost": ""})
    for _ in range(34):
        directory.create()
    for change in (directory.update, directory.tag, directory.delete_and_create_again, directory.update, directory.tag):
        for email_address_id in chance.sample(sorted(directory.there), 6):
            change(email_address_id)
    for email_address_id in chance.sample(sorted(directory.there), 4):
        directory.delete(email_address_id)
    linked = sorted(directory.ids())[:2]
    aliases.associate(tx, TENANT, "i", primary_id=linked[0], alias_id=linked[1], now=NOW)
    return directory


def conditions(directory):
    """Return a strategy for trees of conditions, on values that this directory has and on other values."""
    parts = st.builds(
        _part,
        st.sampled_from(_folded_texts(directory)),
        st.just(0) | st.integers(0, 200),
        st.integers(0, 4) | st.just(5000),
        st.sampled_from([str, str.upper]),
    )
    values = parts | st.sampled_from(["", *FRAGMENTS]) | st.tuples(parts, st.sampled_from(FRAGMENTS)).map("".join)
    texts = st.builds(search.text, st.sampled_from(Field), st.sampled_from(Comparison), values)
    tagged = st.builds(Tagged, st.sampled_from(KEYS), st.none() | st.sampled_from(VALUES))

    def groups(inner):
        return st.builds(
            lambda kind, of: kind(tuple(of)), st.sampled_from([Every, Either]), st.lists(inner, max_size=3)
        )

    return st.recursive(texts | texts | tagged, groups, max_leaves=6)


def _folded_texts(directory):
    return sorted({read(found) for found, _ in directory.there.values() for read in reference_search.TEXTS.values()})


def _part(text, start, length, change):
    start %= len(text) + 1
    return change(text[start : start + length])
