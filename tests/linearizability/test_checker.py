"""The checker of linearizability finds an order if and only if there is one."""

import dataclasses
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.values import NOW
from tests.linearizability import checker
from tests.linearizability.checker import Operation, check, render
from waypost.domain import errors
from waypost.domain.directory import aliases

properties = settings(max_examples=examples(60), deadline=None, database=None)


def call(kind, arguments, outcome, began, ended, *, by="one"):
    return Operation(process=by, kind=kind, arguments=arguments, outcome=outcome, invoked_at=began, returned_at=ended)


def associate(primary, alias, outcome, began, ended=None, *, by="one"):
    return call("associate", (primary, alias), outcome, began, ended, by=by)


def disassociate(primary, alias, outcome, began, ended=None, *, by="one"):
    return call("disassociate", (primary, alias), outcome, began, ended, by=by)


def describe(described, outcome, began, ended=None, *, by="one"):
    return call("describe", (described,), outcome, began, ended, by=by)


def create(one, address, outcome, began, ended=None, *, by="one"):
    return call("create", (one, address), outcome, began, ended, by=by)


def delete(one, outcome, began, ended=None, *, by="one"):
    return call("delete", (one,), outcome, began, ended, by=by)


def tag(one, pair, outcome, began, ended=None, *, by="one"):
    return call("tag", (one, *pair.split("=")), outcome, began, ended, by=by)


def untag(one, key, outcome, began, ended=None, *, by="one"):
    return call("untag", (one, key), outcome, began, ended, by=by)


def tags(one, outcome, began, ended=None, *, by="one"):
    return call("tags", (one,), outcome, began, ended, by=by)


class System:
    """The real rules, called sequentially, to which the checker's own model is compared."""

    def __init__(self, ids):
        self.links = {}
        self.addresses = dict.fromkeys(ids)
        self.tagged = {one: {} for one in ids}

    def ask(self, kind, arguments):
        try:
            self.refuse_missing(kind, arguments)
            return getattr(self, kind)(*arguments)
        except errors.Conflict:
            return "conflict"
        except errors.NotFound:
            return "not found"

    def refuse_missing(self, kind, arguments):
        named = arguments if kind in {"associate", "disassociate"} else arguments[:1]
        if kind != "create" and not self.addresses.keys() >= set(named):
            raise errors.NotFound("missing")

    def create(self, one, address):
        if one in self.addresses or address in self.addresses.values():
            return "duplicate"
        self.addresses[one], self.tagged[one] = address, {}
        return "ok"

    def delete(self, one):
        del self.addresses[one], self.tagged[one]
        if link := self.links.pop(one, None):
            del self.links[link.alias_id if link.primary_id == one else link.primary_id]
        return "ok"

    def tag(self, one, key, value):
        self.tagged[one][key] = value
        return "ok"

    def untag(self, one, key):
        self.tagged[one].pop(key, None)
        return "ok"

    def tags(self, one):
        return tuple(sorted(f"{key}={value}" for key, value in self.tagged[one].items()))

    def associate(self, primary, alias):
        of_primary, of_alias = self.links.get(primary), self.links.get(alias)
        link = aliases.associate(primary, alias, link_of_primary=of_primary, link_of_alias=of_alias, now=NOW)
        self.links |= {primary: link, alias: link}
        return "ok"

    def disassociate(self, primary, alias):
        link = aliases.disassociate(primary, alias, link_of_primary=self.links.get(primary))
        del self.links[link.primary_id], self.links[link.alias_id]
        return "ok"

    def describe(self, described):
        link = self.links.get(described)
        alias = link and link.alias_of(described)
        return (alias,) if alias else ()


def some_order_explains(history):
    """Apply the definition of linearizability to every order. A call that never took effect can come last."""
    return any(respects_real_time(order) and explains(order) for order in itertools.permutations(history))


def respects_real_time(order):
    return not any(
        later.returned_at is not None and later.returned_at < earlier.invoked_at
        for earlier, later in itertools.combinations(order, 2)
    )


def explains(order):
    system = System(checker.start_of(order).ids)
    return all(
        operation.outcome == "busy"
        or system.ask(operation.kind, operation.arguments) == operation.outcome
        or operation.outcome is None
        for operation in order
    )


# The numbers are the times at which a call began and ended. If there is no end, the outcome of the call is unknown.
RIGHT = {
    "no calls": [],
    "sequential calls": [
        associate("P", "A", "ok", 0, 1),
        describe("P", ("A",), 2, 3),
        describe("A", (), 2, 3),
        associate("P", "B", "conflict", 4, 5),
        associate("B", "P", "conflict", 4, 5),
        associate("A", "B", "conflict", 4, 5),
        disassociate("A", "P", "not found", 6, 7),
        disassociate("P", "A", "ok", 8, 9),
        describe("P", (), 10, 11),
    ],
    "of two calls for the same alias, the first to begin fails": [
        associate("P", "A", "conflict", 0, 9),
        associate("Q", "A", "ok", 1, 8),
    ],
    "of two calls for the same alias, the first to end fails": [
        associate("P", "A", "conflict", 1, 2),
        associate("Q", "A", "ok", 0, 9),
    ],
    "a description during an association sees nothing": [
        associate("P", "A", "ok", 0, 9),
        describe("P", (), 4, 5),
    ],
    "a description during an association sees the alias": [
        associate("P", "A", "ok", 0, 9),
        describe("P", ("A",), 4, 5),
    ],
    "descriptions during an association see nothing and then the alias": [
        associate("P", "A", "ok", 0, 9),
        describe("P", (), 1, 2),
        describe("P", ("A",), 3, 4),
    ],
    "of two associations, the first to begin takes effect last": [
        associate("P", "A", "ok", 0, 9),
        associate("Q", "B", "ok", 1, 8),
        describe("Q", ("B",), 2, 3),
        describe("P", (), 4, 5),
    ],
    "a call that begins when another call ends may come before it": [
        associate("P", "A", "ok", 0, 1),
        describe("P", (), 1, 2),
    ],
    "calls that did not get a lock, without a visible reason": [
        associate("P", "A", "busy", 0, 1),
        associate("P", "A", "ok", 2, 3),
        associate("P", "A", "busy", 4, 5),
        describe("P", ("A",), 6, 7),
    ],
    "two ends of one link, with an association between them": [
        associate("P", "A", "ok", 0, 1),
        disassociate("P", "A", "ok", 2, 9),
        disassociate("P", "A", "ok", 2, 9),
        associate("P", "A", "ok", 4, 5),
    ],
    "an unknown association took effect immediately": [
        associate("P", "A", None, 0),
        describe("P", ("A",), 1, 2),
    ],
    "an unknown association took effect later": [
        associate("P", "A", None, 0),
        describe("P", (), 1, 2),
        describe("P", ("A",), 3, 4),
    ],
    "an unknown association took effect when it was no longer blocked": [
        associate("P", "B", "ok", 0, 1),
        associate("P", "A", None, 2),
        describe("P", ("B",), 3, 4),
        disassociate("P", "B", "ok", 5, 6),
        describe("P", ("A",), 7, 8),
    ],
    "an unknown association never took effect": [
        associate("P", "A", None, 0),
        associate("Q", "A", "ok", 1, 2),
        describe("P", (), 3, 4),
    ],
    "an unknown end took effect between two descriptions": [
        associate("P", "A", "ok", 0, 1),
        disassociate("P", "A", None, 2),
        describe("P", ("A",), 3, 4),
        describe("P", (), 5, 6),
    ],
    "two equal unknown associations took effect one after the other": [
        associate("P", "A", None, 0),
        associate("P", "A", None, 1),
        disassociate("P", "A", "ok", 2, 3),
        describe("P", ("A",), 4, 5),
        describe("P", ("A",), 6, 7),
    ],
    "of two unknown associations, the second took effect": [
        associate("P", "A", None, 0),
        associate("Q", "A", None, 1),
        describe("Q", ("A",), 2, 3),
    ],
    "an unknown description has no effect": [
        associate("P", "A", "ok", 0, 1),
        describe("P", None, 0),
    ],
    "an email address that is created, deleted and created again": [
        create("one", "a@", "ok", 0, 1),
        create("two", "a@", "duplicate", 2, 3),
        delete("one", "ok", 4, 5),
        describe("one", "not found", 6, 7),
        create("two", "a@", "ok", 8, 9),
        describe("two", (), 10, 11),
        delete("one", "not found", 12, 13),
    ],
    "of two calls that create one address, the first to begin fails": [
        create("one", "a@", "duplicate", 0, 9),
        create("two", "a@", "ok", 1, 8),
        associate("P", "one", "not found", 10, 11),
    ],
    "a deletion ends the link of either side": [
        associate("P", "A", "ok", 0, 1),
        delete("A", "ok", 2, 3),
        describe("P", (), 4, 5),
        associate("P", "B", "ok", 6, 7),
        delete("P", "ok", 8, 9),
        associate("Q", "B", "ok", 10, 11),
    ],
    "an association during a deletion, in either order": [
        delete("A", "ok", 0, 9),
        associate("P", "A", "ok", 1, 2),
        disassociate("P", "A", "not found", 10, 11),
    ],
    "an unknown deletion took effect later": [
        delete("P", None, 0),
        describe("P", (), 1, 2),
        describe("P", "not found", 3, 4),
    ],
    "an unknown creation never took effect": [
        create("one", "a@", None, 0),
        create("two", "a@", "ok", 1, 2),
        tags("one", "not found", 3, 4),
    ],
    "tags that are replaced and removed": [
        tag("P", "k=1", "ok", 0, 1),
        tag("P", "l=1", "ok", 2, 3),
        tag("P", "k=2", "ok", 4, 5),
        tags("P", ("k=2", "l=1"), 6, 7),
        untag("P", "k", "ok", 8, 9),
        untag("P", "k", "ok", 10, 11),
        tags("P", ("l=1",), 12, 13),
    ],
    "a tag that is set again while it is removed": [
        tag("P", "k=1", "ok", 0, 1),
        tag("P", "k=1", "ok", 2, 9),
        untag("P", "k", "ok", 3, 8),
        tags("P", ("k=1",), 10, 11),
    ],
    "a tag that is removed while it is set": [
        tag("P", "k=1", "ok", 0, 9),
        untag("P", "k", "ok", 1, 8),
        tags("P", (), 10, 11),
    ],
    "an email address that is created again has no tags": [
        create("one", "a@", "ok", 0, 1),
        tag("one", "k=1", "ok", 2, 3),
        delete("one", "ok", 4, 5),
        create("two", "a@", "ok", 6, 7),
        tags("two", (), 8, 9),
    ],
    "changes that did not get a lock": [
        create("one", "a@", "busy", 0, 1),
        delete("P", "busy", 2, 3),
        tag("P", "k=1", "busy", 4, 5),
        untag("P", "k", "busy", 6, 7),
        tags("P", (), 8, 9),
    ],
}

# Each history has the text of a call that cannot come next in the longest order that explains the rest.
WRONG = {
    "two associations of one alias": (
        [associate("P", "A", "ok", 0, 9), associate("Q", "A", "ok", 0, 9)],
        "associate(Q, A) → ok, but the result would be conflict",
    ),
    "two aliases of one primary, the first lost": (
        [associate("P", "A", "ok", 0, 9), associate("P", "B", "ok", 0, 9), describe("P", ("B",), 10, 11)],
        "associate(P, B) → ok, but the result would be conflict",
    ),
    "a chain of two links": (
        [associate("P", "A", "ok", 0, 9), associate("A", "B", "ok", 0, 9)],
        "associate(A, B) → ok, but the result would be conflict",
    ),
    "a description without an acknowledged association": (
        [associate("P", "A", "ok", 0, 1), describe("P", (), 2, 3)],
        "describe(P) → no alias, but the result would be A",
    ),
    "a description without an acknowledged association, during a long call": (
        [associate("P", "A", "ok", 0, 1), describe("Q", (), 0, 9), describe("P", (), 2, 3)],
        "describe(P) → no alias, but the result would be A",
    ),
    "a description with a link that an acknowledged call has ended": (
        [associate("P", "A", "ok", 0, 1), disassociate("P", "A", "ok", 2, 3), describe("P", ("A",), 4, 5)],
        "describe(P) → A, but the result would be no alias",
    ),
    "descriptions during an association that see the alias and then nothing": (
        [associate("P", "A", "ok", 0, 9), describe("P", ("A",), 1, 2), describe("P", (), 3, 4)],
        "describe(P) → no alias, but the result would be A",
    ),
    "two callers that see two associations in opposite orders": (
        [
            associate("P", "A", "ok", 0, 9),
            associate("Q", "B", "ok", 0, 9),
            describe("P", ("A",), 1, 2, by="one"),
            describe("Q", (), 3, 4, by="one"),
            describe("Q", ("B",), 1, 2, by="two"),
            describe("P", (), 3, 4, by="two"),
        ],
        "but the result would be",
    ),
    "an alias that was never associated": (
        [describe("P", ("A",), 0, 1)],
        "describe(P) → A, but the result would be no alias",
    ),
    "an alias whose description shows its primary as its alias": (
        [associate("P", "A", "ok", 0, 1), describe("A", ("P",), 2, 3)],
        "describe(A) → P, but the result would be no alias",
    ),
    "two ends of one link, with no association between them": (
        [associate("P", "A", "ok", 0, 1), disassociate("P", "A", "ok", 2, 9), disassociate("P", "A", "ok", 2, 9)],
        "disassociate(P, A) → ok, but the result would be not found",
    ),
    "the end of a link with primary and alias exchanged": (
        [associate("P", "A", "ok", 0, 1), disassociate("A", "P", "ok", 2, 3)],
        "disassociate(A, P) → ok, but the result would be not found",
    ),
    "an acknowledged association that was lost": (
        [associate("P", "A", "ok", 0, 1), disassociate("P", "A", "not found", 2, 3)],
        "disassociate(P, A) → not found, but the result would be ok",
    ),
    "an acknowledged end that was lost": (
        [associate("P", "A", "ok", 0, 1), disassociate("P", "A", "ok", 2, 3), associate("Q", "A", "conflict", 4, 5)],
        "associate(Q, A) → conflict, but the result would be ok",
    ),
    "a conflict without a conflicting link": (
        [associate("P", "A", "conflict", 0, 1)],
        "associate(P, A) → conflict, but the result would be ok",
    ),
    "a call that was busy, but took effect": (
        [associate("P", "A", "busy", 0, 1), describe("P", ("A",), 2, 3)],
        "describe(P) → A, but the result would be no alias",
    ),
    "the effect of an unknown association, seen and then lost": (
        [associate("P", "A", None, 0), describe("P", ("A",), 1, 2), describe("P", (), 3, 4)],
        "describe(P) → no alias, but the result would be A",
    ),
    "the effect of an unknown end, seen and then lost": (
        [
            associate("P", "A", "ok", 0, 1),
            disassociate("P", "A", None, 2),
            describe("P", (), 3, 4),
            describe("P", ("A",), 5, 6),
        ],
        "describe(P) → A, but the result would be no alias",
    ),
    "an unknown association that took effect twice": (
        [
            associate("P", "A", None, 0),
            describe("P", ("A",), 1, 2),
            disassociate("P", "A", "ok", 3, 4),
            describe("P", ("A",), 5, 6),
        ],
        "describe(P) → A, but the result would be no alias",
    ),
    "an unknown association that took effect before it began": (
        [describe("P", ("A",), 0, 1), associate("P", "A", None, 2)],
        "describe(P) → A, but the result would be no alias",
    ),
    "a description of a later association": (
        [describe("P", ("A",), 0, 1), associate("P", "A", "ok", 2, 3)],
        "describe(P) → A, but the result would be no alias",
    ),
    "two creations of one address": (
        [create("one", "a@", "ok", 0, 9), create("two", "a@", "ok", 0, 9)],
        "but the result would be duplicate",
    ),
    "an acknowledged creation that was lost": (
        [create("one", "a@", "ok", 0, 1), describe("one", "not found", 2, 3)],
        "describe(one) → not found, but the result would be no alias",
    ),
    "a duplicate without an address": (
        [create("one", "a@", "duplicate", 0, 1)],
        "create(one, a@) → duplicate, but the result would be ok",
    ),
    "a deletion that was lost": (
        [delete("P", "ok", 0, 1), describe("P", (), 2, 3)],
        "describe(P) → no alias, but the result would be not found",
    ),
    "two deletions of one email address": (
        [delete("P", "ok", 0, 9), delete("P", "ok", 0, 9)],
        "delete(P) → ok, but the result would be not found",
    ),
    "a link with an email address that was deleted": (
        [delete("A", "ok", 0, 1), associate("P", "A", "ok", 2, 3)],
        "associate(P, A) → ok, but the result would be not found",
    ),
    "half a link that is left after a deletion": (
        [associate("P", "A", "ok", 0, 1), delete("A", "ok", 2, 3), associate("P", "B", "conflict", 4, 5)],
        "associate(P, B) → conflict, but the result would be ok",
    ),
    "the effect of an unknown creation, seen and then lost": (
        [create("one", "a@", None, 0), describe("one", (), 1, 2), describe("one", "not found", 3, 4)],
        "describe(one) → not found, but the result would be no alias",
    ),
    "a tag that was lost": (
        [tag("P", "k=1", "ok", 0, 1), tags("P", (), 2, 3)],
        "tags(P) → no alias, but the result would be k=1",
    ),
    "a tag of another email address": (
        [tag("P", "k=1", "ok", 0, 1), tags("Q", ("k=1",), 2, 3)],
        "tags(Q) → k=1, but the result would be no alias",
    ),
    "a tag that was removed, but is there": (
        [tag("P", "k=1", "ok", 0, 1), untag("P", "k", "ok", 2, 3), tags("P", ("k=1",), 4, 5)],
        "tags(P) → k=1, but the result would be no alias",
    ),
    "a change of tags that came before a change that ended first": (
        [tag("P", "k=1", "ok", 0, 1), tag("P", "k=2", "ok", 2, 3), tags("P", ("k=1",), 4, 5)],
        "tags(P) → k=1, but the result would be k=2",
    ),
    "tags of an earlier email address with the same address": (
        [
            create("one", "a@", "ok", 0, 1),
            tag("one", "k=1", "ok", 2, 3),
            delete("one", "ok", 4, 5),
            create("two", "a@", "ok", 6, 7),
            tags("two", ("k=1",), 8, 9),
        ],
        "tags(two) → k=1, but the result would be no alias",
    ),
    "a conflict with a later association": (
        [associate("Q", "A", "conflict", 0, 1), associate("P", "A", "ok", 2, 3)],
        "associate(Q, A) → conflict, but the result would be ok",
    ),
}


@pytest.mark.parametrize("history", RIGHT.values(), ids=RIGHT.keys())
def test_a_history_that_an_order_explains_is_linearizable(history):
    assert check(history) is None


@pytest.mark.parametrize(("history", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_history_that_no_order_explains_is_a_violation_that_names_the_call(history, message):
    assert message in str(check(history))


@pytest.mark.parametrize(("history", "message"), WRONG.values(), ids=WRONG.keys())
def test_the_sequence_in_which_calls_were_recorded_does_not_matter(history, message):
    assert check(history[::-1]) is not None


@pytest.mark.parametrize(("history", "message"), WRONG.values(), ids=WRONG.keys())
def test_no_order_explains_the_examples_of_violations(history, message):
    assert not some_order_explains(history)


def test_a_violation_is_rendered_as_readable_text():
    history = [
        associate("P", "A", "ok", 1_000, 12_000, by="one"),
        describe("P", ("A",), 3_000, 4_500, by="two"),
        associate("Q", "A", None, 2_000, by="three"),
        describe("P", (), 5_000, 6_000, by="two"),
    ]
    assert str(check(history)).splitlines() == [
        "No order of these calls explains their results:",
        "      0 … 11000  one: associate(P, A) → ok",
        "   1000 … ?      three: associate(Q, A) → unknown",
        "   2000 … 3500   two: describe(P) → A",
        "   4000 … 5000   two: describe(P) → no alias",
        "The longest order that explains its results:",
        "  one: associate(P, A) → ok",
        "  two: describe(P) → A",
        "The links are then: A is the alias of P",
        "None of these calls can come next, regardless of calls with unknown outcome:",
        "  two: describe(P) → no alias, but the result would be A",
    ]


def test_a_violation_by_the_first_call_is_rendered_as_readable_text():
    assert str(check([disassociate("P", "A", "ok", 0.1, 0.3)])).splitlines() == [
        "No order of these calls explains their results:",
        "    0 … 0.2  one: disassociate(P, A) → ok",
        "The longest order that explains its results:",
        "  (nothing)",
        "The links are then: none",
        "None of these calls can come next:",
        "  one: disassociate(P, A) → ok, but the result would be not found",
    ]


def test_a_call_of_unknown_outcome_that_must_have_taken_effect_is_part_of_the_order():
    unknown, seen, lost = associate("P", "A", None, 0), describe("P", ("A",), 1, 2), describe("P", (), 3, 4)
    assert check([unknown, seen, lost]).order == (unknown, seen)


def test_an_empty_history_is_rendered_as_nothing():
    assert render([]) == ""


SLIPS = {
    "an outcome without an end": (lambda: associate("P", "A", "ok", 0), "both an outcome and a time"),
    "an end without an outcome": (lambda: associate("P", "A", None, 0, 1), "both an outcome and a time"),
    "an end before the beginning": (lambda: associate("P", "A", "ok", 1, 0), "returned before it was invoked"),
    "an address and itself": (lambda: associate("P", "P", "ok", 0, 1), "takes 2 different email addresses"),
    "an unknown result": (lambda: associate("P", "A", "OK", 0, 1), "associate never returns 'OK'"),
    "the result of another kind": (lambda: disassociate("P", "A", "conflict", 0, 1), "never returns 'conflict'"),
    "aliases as the result of an association": (lambda: associate("P", "A", ("A",), 0, 1), "associate never returns"),
    "a creation without an address": (lambda: call("create", ("one",), "ok", 0, 1), "create takes 2 arguments"),
    "aliases as the result of a deletion": (lambda: delete("P", ("A",), 0, 1), "delete never returns"),
    "a word as the result of a description": (lambda: describe("P", "ok", 0, 1), "describe never returns 'ok'"),
}


@pytest.mark.parametrize(("record", "message"), SLIPS.values(), ids=SLIPS.keys())
def test_an_invalid_record_raises_an_error(record, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        record()


NEW = ("X", "Y")
"""Ids that a history may create, with the same address."""

LINKS = ["associate", "associate", "disassociate", "describe"]
ALL = [*LINKS, "create", "create", "delete", "tag", "untag", "tags"]
READS = {"describe", "tags"}


@st.composite
def really_run(draw, least, most, addresses, kinds=LINKS):
    """Generate a history of calls that each took effect at one time between their beginning and their end.

    The calls took effect in the order of the list. Each call has a separate process, so that all calls may overlap.
    """
    named = [*addresses, *(NEW if "create" in kinds else ())]
    one, two = st.sampled_from(named), st.permutations(named).map(lambda shuffled: tuple(shuffled[:2]))
    arguments_of = {
        "associate": two,
        "disassociate": two,
        "create": st.sampled_from([(new, "a@") for new in NEW]),
        "tag": st.tuples(one, st.just("k"), st.sampled_from("12")),
        "untag": st.tuples(one, st.just("k")),
    }
    fates = st.sampled_from(["answered"] * 6 + ["busy", "request lost", "answer lost"])
    spans = st.tuples(st.integers(0, 4), st.integers(0, 4))
    history, drawn = [], []
    for kind, fate, span in draw(
        st.lists(st.tuples(st.sampled_from(kinds), fates, spans), min_size=least, max_size=most)
    ):
        drawn.append((kind, draw(arguments_of.get(kind, st.tuples(one))), fate, span))
    created = {arguments[0] for kind, arguments, _, _ in drawn if kind == "create"}
    system = System({*named} - created)
    for moment, (kind, arguments, fate, (before, after)) in enumerate(drawn):
        outcome, ended = None, None
        if fate == "busy" and kind not in READS:
            outcome, ended = "busy", moment + after
        elif fate == "answer lost":
            system.ask(kind, arguments)
        elif fate != "request lost":
            outcome, ended = system.ask(kind, arguments), moment + after
        history.append(call(kind, arguments, outcome, moment - before, ended, by=f"process {moment}"))
    return history


@st.composite
def told_one_lie(draw, least, most, addresses, kinds=LINKS):
    """Generate a history from a real run, but with one changed result, which another order may or may not explain."""
    runs = really_run(least, most, addresses, kinds)
    history = draw(runs.filter(lambda run: any(each.outcome is not None for each in run)))
    i = draw(st.sampled_from([i for i, each in enumerate(history) if each.outcome is not None]))
    told = history[i]
    others = [*addresses, *(NEW if "create" in kinds else ())]
    answers = {
        "describe": [(), "not found", *((each,) for each in others if each != told.arguments[0])],
        "tags": [(), "not found", ("k=1",), ("k=2",)],
    }.get(told.kind) or sorted(checker._KINDS[told.kind][1])
    lie = draw(st.sampled_from([each for each in answers if each != told.outcome]))
    return [*history[:i], dataclasses.replace(told, outcome=lie), *history[i + 1 :]]


@properties
@given(really_run(10, 20, "ABCD"))
def test_a_history_of_a_real_run_is_linearizable(history):
    assert check(history) is None


@properties
@given(really_run(10, 20, "AB", ALL))
def test_a_history_of_a_real_run_with_all_kinds_of_calls_is_linearizable(history):
    assert check(history) is None


@properties
@given(told_one_lie(3, 6, "AB", ALL))
def test_with_a_changed_result_of_any_kind_the_checker_agrees_with_an_exhaustive_search(history):
    assert (check(history) is None) == some_order_explains(history)


@properties
@given(told_one_lie(3, 6, "ABC"))
def test_with_a_changed_result_the_checker_agrees_with_an_exhaustive_search(history):
    assert (check(history) is None) == some_order_explains(history)


def rounds(how_many, processes=6):
    """Return a history in which each process makes or ends a separate link in each round, all at the same time."""
    return [
        (disassociate if i % 2 else associate)(f"P{each}", f"A{each}", "ok", 2 * i, 2 * i + 1, by=f"process {each}")
        for i in range(how_many)
        for each in range(processes)
    ]


def test_the_time_of_the_checker_does_not_grow_with_the_number_of_orders(monkeypatch):
    # There are 720 orders in each of ten rounds. The test counts steps, because a time would depend on the machine.
    steps = itertools.count()

    def counted(state, operation, step=checker.step):
        assert next(steps) < 10_000
        return step(state, operation)

    monkeypatch.setattr(checker, "step", counted)
    assert check([*rounds(10), describe("P0", ("A0",), 100, 101)]) is not None


def test_a_long_history_does_not_exceed_the_recursion_limit():
    history = rounds(200, processes=3)
    assert check(history) is None
    assert len(check([*history, describe("P0", ("A0",), 1000, 1001)]).order) == 600
