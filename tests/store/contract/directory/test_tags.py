"""Tests of the tags of instances and email addresses on both stores."""

import pytest

from tests.kit.stores.calls import create, describe
from tests.kit.values import TENANT, make_instance
from waypost.app.directory import tags
from waypost.domain import errors
from waypost.domain.directory import tags as rules

OF_INSTANCE, OF_EMAIL_ADDRESS = tags.Resource("i"), tags.Resource("i", "a")
BOTH = pytest.mark.parametrize("resource", [OF_INSTANCE, OF_EMAIL_ADDRESS], ids=["instance", "email address"])


@pytest.fixture(autouse=True)
def system(store, instance):
    create(store, "a", "b")


def add(store, resource, **new):
    store.write(tags.add, TENANT, resource, new)


def of(store, resource):
    return store.long_read(tags.of, TENANT, resource)


@BOTH
def test_tags_are_added_changed_and_removed(store, resource):
    add(store, resource, k="1", other="2")
    add(store, resource, k="3", K="4")
    assert of(store, resource) == of(store.another(), resource) == {"K": "4", "k": "3", "other": "2"}
    store.write(tags.remove, TENANT, resource, ["k", "was never there", "k"])
    assert of(store, resource) == {"K": "4", "other": "2"}
    store.write(tags.remove, TENANT, resource, [])
    add(store, resource)
    assert of(store, resource) == {"K": "4", "other": "2"}


@BOTH
def test_the_tags_of_a_resource_are_separate_from_other_resources(store, resource):
    add(store, resource, k="v")
    others = {OF_INSTANCE, OF_EMAIL_ADDRESS, tags.Resource("i", "b")} - {resource}
    assert [of(store, other) for other in others] == [{}, {}]
    store.write(tags.remove, TENANT, tags.Resource("i", "b"), ["k"])
    assert of(store, resource) == {"k": "v"}


@BOTH
def test_tags_are_returned_in_the_order_of_their_code_points(store, resource):
    keys = ["", "-", "9", "A", "Z", "_", "a", "b", "e\u0301", "é", "\uffff", "😀"]
    add(store, resource, **dict.fromkeys(keys[::-1], ""))
    assert list(of(store, resource)) == keys == sorted(keys)


@BOTH
def test_a_resource_has_at_most_fifty_tags_and_an_existing_key_counts_once(store, resource):
    full = {f"k{n}": "" for n in range(rules.MAX_TAGS)}
    add(store, resource, **full)
    add(store, resource, k0="new")
    with pytest.raises(
        errors.Invalid, match=r"at most 50 tags\. This resource has 50 tags, and would have 51 with the new"
    ):
        add(store, resource, k0="newer", one_more="")
    assert of(store, resource) == full | {"k0": "new"}
    store.write(tags.remove, TENANT, resource, ["k1"])
    add(store, resource, one_more="")
    assert len(of(store, resource)) == rules.MAX_TAGS


@BOTH
def test_a_reserved_key_is_refused_with_all_other_tags_of_the_call(store, resource):
    with pytest.raises(errors.Invalid, match="'aws:k' is reserved"):
        store.write(tags.add, TENANT, resource, {"fine": "", "aws:k": ""})
    assert of(store, resource) == {}


def test_the_error_names_the_missing_instance_or_email_address(store):
    store.write(make_instance, "j")
    for resource, sentence in (
        (tags.Resource("k"), "Instance k was not found"),
        (tags.Resource("k", "a"), "Instance k was not found"),
        (tags.Resource("i", "c"), "Email address c was not found in instance i"),
        (tags.Resource("j", "a"), "Email address a was not found in instance j"),
    ):
        for attempt in (
            lambda tx, of=resource: tags.of(tx, TENANT, of),
            lambda tx, of=resource: tags.add(tx, TENANT, of, {"k": "v"}),
            lambda tx, of=resource: tags.remove(tx, TENANT, of, ["k"]),
        ):
            with pytest.raises(errors.NotFound, match=sentence):
                store.write(attempt)
    assert store.count("tags") == {"tags": 0}
    assert describe(store, "a").tags == {}
