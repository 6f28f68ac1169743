"""Tests of the authorization of calls: the values of a call's condition keys, and the message of a refusal."""

import json
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from tests.kit.values import NOW, TENANT, TERMS, an_email_address
from waypost.api.access import policy
from waypost.api.errors import ApiError
from waypost.api.operations.calls import Call, Source
from waypost.api.wire.http import Request
from waypost.app.directory import email_addresses
from waypost.app.directory.tags import Resource
from waypost.domain.iam import decisions
from waypost.domain.iam.access_keys import AccessKey

REQUEST = Request("GET", "/", "", (), b"")
ARN = "arn:aws:connect:us-east-1:000000000000:instance/i"


def a_call(operation="DescribeEmailAddress", key=None, **members):
    key = key or AccessKey("AKID", "secret", TENANT.account, user_name="ann")
    return Call(operation, TENANT, key, Source("192.0.2.1", False), REQUEST, SimpleNamespace(**members), NOW, TERMS)


def a_filter(**kinds):
    empty = {"or_conditions": None, "and_conditions": None, "tag_condition": None}
    return SimpleNamespace(tag_filter=SimpleNamespace(**{**empty, **kinds}))


def tag(key, value=None):
    return SimpleNamespace(tag_key=key, tag_value=value)


BLUE, RED, OTHER = tag("team", "blue"), tag("team", "red"), tag("cost", "9")
FACTS = {
    "instance": ("connect:instanceid", {}, ("i",)),
    "tag of the resource": ("aws:resourcetag/team", {}, ("blue",)),
    "tag in another case": ("aws:resourcetag/TEAM", {}, ("blue",)),
    "tags that differ in case": ("aws:resourcetag/Cost", {}, ("capital", "small")),
    "no such tag": ("aws:resourcetag/x", {}, None),
    "tag in the request": ("aws:requesttag/a", {"tags": {"a": "b"}}, ("b",)),
    "no tags in the request": ("aws:requesttag/a", {"tags": None}, None),
    "keys of tags to add": ("aws:tagkeys", {"tags": {"a": "b", "c": ""}}, ("a", "c")),
    "keys of tags to remove": ("aws:tagkeys", {"tag_keys": ["a"]}, ("a",)),
    "no keys": ("aws:tagkeys", {}, None),
    "searched": ("connect:searchtag/team", {"search_filter": a_filter(tag_condition=BLUE)}, ("blue",)),
    "searched, any value": ("connect:searchtag/x", {"search_filter": a_filter(tag_condition=tag("x"))}, ("",)),
    "searched, all of": (
        "connect:searchtag/team",
        {"search_filter": a_filter(and_conditions=[BLUE, OTHER])},
        ("blue",),
    ),
    "searched, either of": (
        "connect:searchtag/team",
        {"search_filter": a_filter(or_conditions=[[RED, OTHER], [BLUE]])},
        ("blue", "red"),
    ),
    "searched, not in all alternatives": (
        "connect:searchtag/team",
        {"search_filter": a_filter(or_conditions=[[BLUE], [OTHER]])},
        None,
    ),
    "searched, with an empty alternative": (
        "connect:searchtag/team",
        {"search_filter": a_filter(or_conditions=[[BLUE], []])},
        None,
    ),
    "no filter": ("connect:searchtag/team", {"search_filter": None}, None),
    "no tag filter": ("connect:searchtag/team", {"search_filter": SimpleNamespace(tag_filter=None)}, None),
    "tag of the principal": ("aws:principaltag/team", {}, None),
    "global key": ("aws:sourceip", {}, ("192.0.2.1",)),
    "global key without a value": ("aws:useragent", {}, None),
    "unknown key": ("aws:x", {}, None),
}


@pytest.mark.parametrize(("key", "members", "values"), FACTS.values(), ids=FACTS)
def test_a_condition_key_has_the_value_from_the_call_or_its_resource(tx, instance, key, members, values):
    tags = {"cost": "small", "Cost": "capital", "team": "blue"}
    email_addresses.create(tx, TENANT, an_email_address("e"), tags=tags)
    facts = policy._Facts(tx, a_call(**members), Resource("i", "e"))
    assert facts.look_up(key) == values


def test_a_resource_that_does_not_exist_has_no_tags(tx, instance):
    assert policy._Facts(tx, a_call(), Resource("i", "nobody")).look_up("aws:resourcetag/team") is None


def test_a_call_without_a_resource_has_no_instance_and_no_tags(tx):
    facts = policy._Facts(tx, a_call(), None)
    assert facts.look_up("connect:instanceid") is facts.look_up("aws:resourcetag/team") is None


WHO = (
    "User: arn:aws:iam::000000000000:user/ann is not authorized to perform: connect:DescribeEmailAddress on resource: "
)
DENIED = {
    "no statement allows it": ('{"Statement": []}', None, f"{WHO}* because no identity-based policy allows"),
    "a statement denies it": (
        '{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}',
        Resource("i"),
        f"{WHO}{ARN} with an explicit deny in an identity-based policy",
    ),
    "the policy does not parse": (
        "{",
        Resource("i", "e"),
        f"{WHO}{ARN}/email-address/e because no identity-based policy",
    ),
}


@pytest.mark.parametrize(("document", "resource", "says"), DENIED.values(), ids=DENIED)
def test_a_denial_names_the_user_the_action_and_the_resource(tx, document, resource, says):
    key = AccessKey("AKID", "secret", TENANT.account, user_name="ann", document=document)
    with pytest.raises(ApiError, match="AccessDeniedException") as caught:
        policy.authorise(tx, a_call(key=key), resource)
    assert caught.value.message.startswith(says)


def test_a_policy_is_evaluated_again_for_another_action_resource_or_policy_and_if_it_has_a_condition(tx, monkeypatch):
    evaluated = []

    def decide(*arguments, **named):
        evaluated.append(named)
        return decisions.decide(*arguments, **named)

    def is_allowed(operation, instance_id, statement, ip="192.0.2.1"):
        key = AccessKey("AKID", "secret", TENANT.account, document=json.dumps({"Statement": [statement]}))
        try:
            policy.authorise(tx, replace(a_call(operation, key), source=Source(ip, False)), Resource(instance_id))
        except ApiError:
            return False
        return True

    monkeypatch.setattr(policy, "decisions", SimpleNamespace(decide=decide))
    arn = ARN.replace("/i", "/evaluated-once")
    only = {"Effect": "Allow", "Action": "connect:DescribeInstance", "Resource": arn}
    for _ in range(2):
        assert is_allowed("DescribeInstance", "evaluated-once", only)
        assert not is_allowed("DescribeInstance", "other", only)
        assert not is_allowed("DeleteInstance", "evaluated-once", only)
        assert not is_allowed("DescribeInstance", "evaluated-once", only | {"Effect": "Deny"})
    assert len(evaluated) == 4
    here = only | {"Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.1"}}}
    for _ in range(2):
        assert is_allowed("DescribeInstance", "evaluated-once", here)
        assert not is_allowed("DescribeInstance", "evaluated-once", here, ip="192.0.2.2")
    assert len(evaluated) == 8
