"""Tests of the slow validation pass, which reports every invalid member with AWS's messages."""

import re

import pytest

from waypost.api.wire import constraints, shapes

MODEL = shapes.load()
SHAPES = MODEL.shapes
CONSTRAINTS = constraints.Constraints(MODEL)


def texts(operation, **members):
    """Return the messages for a call with these members, in which all other members are valid."""
    valid = {
        "CreateEmailAddress": {"InstanceId": "i", "EmailAddress": "a@b.example"},
        "CreateInstance": {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": True},
        "AssociateEmailAddressAlias": {
            "InstanceId": "i",
            "EmailAddressId": "e",
            "AliasConfiguration": {"EmailAddressId": "a"},
        },
        "ListInstances": {},
        "SearchEmailAddresses": {"InstanceId": "i"},
        "UntagResource": {"resourceArn": "arn", "tagKeys": ["k"]},
    }[operation]
    broken = CONSTRAINTS.broken(MODEL.operations[operation].input.shape, {**valid, **members})
    return [violation.text for violation in broken]


FAILED = "failed to satisfy constraint: Member must"
COMPARISONS = "enum value set: [STARTS_WITH, CONTAINS, EXACT]"
FIRST = "searchCriteria.andConditions.1.member"
DIRECTORY_TYPES = "enum value set: [SAML, CONNECT_MANAGED, EXISTING_DIRECTORY]"
TEXTS = {
    "absent": (
        "AssociateEmailAddressAlias",
        {"AliasConfiguration": None},
        f"Value null at 'aliasConfiguration' {FAILED} not be null",
    ),
    "absent-in-a-structure": (
        "AssociateEmailAddressAlias",
        {"AliasConfiguration": {}},
        f"Value null at 'aliasConfiguration.emailAddressId' {FAILED} not be null",
    ),
    "empty": (
        "CreateEmailAddress",
        {"InstanceId": ""},
        f"Value '' at 'instanceId' {FAILED} have length greater than or equal to 1",
    ),
    "too-long": (
        "CreateEmailAddress",
        {"InstanceId": "i" * 101},
        f"Value '{'i' * 101}' at 'instanceId' {FAILED} have length less than or equal to 100",
    ),
    "enum": (
        "CreateInstance",
        {"IdentityManagementType": "NONE"},
        f"Value 'NONE' at 'identityManagementType' {FAILED} satisfy {DIRECTORY_TYPES}",
    ),
    "pattern": (
        "CreateInstance",
        {"DirectoryId": "d-XXXXXXXXXX"},
        f"Value 'd-XXXXXXXXXX' at 'directoryId' {FAILED} satisfy regular expression pattern: ^d-[0-9a-f]{{10}}$",
    ),
    "too-low": (
        "ListInstances",
        {"MaxResults": 0},
        f"Value '0' at 'maxResults' {FAILED} have value greater than or equal to 1",
    ),
    "too-high": (
        "ListInstances",
        {"MaxResults": 11},
        f"Value '11' at 'maxResults' {FAILED} have value less than or equal to 10",
    ),
    "key": (
        "CreateEmailAddress",
        {"Tags": {"aws:x": "v"}},
        f"Value 'aws:x' at 'tags.key' {FAILED} satisfy regular expression pattern: {SHAPES['TagKey']['pattern']}",
    ),
    "value": (
        "CreateEmailAddress",
        {"Tags": {"k": "v" * 257}},
        f"Value '{'v' * 257}' at 'tags.k.value' {FAILED} have length less than or equal to 256",
    ),
    "too-few": (
        "CreateEmailAddress",
        {"Tags": {}},
        f"Value '{{}}' at 'tags' {FAILED} have length greater than or equal to 1",
    ),
    "item": (
        "UntagResource",
        {"tagKeys": ["k", ""]},
        f"Value '' at 'tagKeys.2.member' {FAILED} have length greater than or equal to 1",
    ),
    "boolean": (
        "CreateInstance",
        {"InboundCallsEnabled": "true"},
        "Value at 'inboundCallsEnabled' must be a JSON boolean",
    ),
    "structure": (
        "AssociateEmailAddressAlias",
        {"AliasConfiguration": "a"},
        "Value at 'aliasConfiguration' must be a JSON object",
    ),
    "string": ("AssociateEmailAddressAlias", {"ClientToken": 1}, "Value at 'clientToken' must be a JSON string"),
    "integer": ("ListInstances", {"MaxResults": True}, "Value at 'maxResults' must be a JSON integer"),
    "list": ("UntagResource", {"tagKeys": "k"}, "Value at 'tagKeys' must be a JSON array"),
    "fraction": ("ListInstances", {"MaxResults": 1.0}, "Value at 'maxResults' must be a JSON integer"),
    "null-in-a-list": (
        "UntagResource",
        {"tagKeys": ["k", None]},
        f"Value null at 'tagKeys.2.member' {FAILED} not be null",
    ),
    "null-in-a-map": (
        "CreateEmailAddress",
        {"Tags": {"k": None}},
        f"Value null at 'tags.k.value' {FAILED} not be null",
    ),
    "nul": (
        "AssociateEmailAddressAlias",
        {"ClientToken": "a\0b"},
        f"Value at 'clientToken' {FAILED} not contain the character NUL",
    ),
    "nul-in-a-key": (
        "CreateEmailAddress",
        {"Tags": {"k\0": "v"}},
        f"Value at 'tags.key' {FAILED} not contain the character NUL",
    ),
    "condition": (
        "SearchEmailAddresses",
        {"SearchCriteria": {"AndConditions": [{"OrConditions": [{}, {"StringCondition": {"Value": 1}}]}]}},
        f"Value at '{FIRST}.orConditions.2.member.stringCondition.value' must be a JSON string",
    ),
    "comparison": (
        "SearchEmailAddresses",
        {"SearchCriteria": {"AndConditions": [{"StringCondition": {"ComparisonType": "LIKE"}}]}},
        f"Value 'LIKE' at '{FIRST}.stringCondition.comparisonType' {FAILED} satisfy {COMPARISONS}",
    ),
    "tag-condition": (
        "SearchEmailAddresses",
        {"SearchFilter": {"TagFilter": {"OrConditions": [[{"TagKey": "k"}], [None]]}}},
        f"Value null at 'searchFilter.tagFilter.orConditions.2.member.1.member' {FAILED} not be null",
    ),
}


@pytest.mark.parametrize(("operation", "members", "text"), TEXTS.values(), ids=TEXTS)
def test_the_message_for_an_invalid_member_is_that_of_aws(operation, members, text):
    assert texts(operation, **members) == [text]


def test_all_invalid_members_are_reported_in_the_order_of_the_model():
    found = texts("CreateEmailAddress", InstanceId="", EmailAddress=None, Tags={"k": 1}, ClientToken="t" * 501)
    named = [re.search(r" at '([a-zA-Z.]+)'", text).group(1) for text in found]
    assert named == ["instanceId", "emailAddress", "tags.k.value", "clientToken"]


def test_at_most_a_hundred_invalid_members_are_reported():
    found = texts("SearchEmailAddresses", SearchCriteria={"OrConditions": [1] * 100_000})
    assert len(found) == constraints.NAMED_LIMIT
    assert found[-1].startswith("Value at 'searchCriteria.orConditions.100.member'")


def test_a_single_invalid_condition_among_many_empty_conditions_is_reported():
    """So many conditions once took 90 ms, although empty conditions need no check. `tests/work` limits the work."""
    (found,) = texts("SearchEmailAddresses", SearchCriteria={"OrConditions": [{}] * 60_000 + [1]})
    assert "searchCriteria.orConditions.60001.member" in found


def test_a_long_key_is_cut_in_the_message():
    found = texts("CreateEmailAddress", Tags={"k" * 100_000: 1})
    assert max(map(len, found)) < 2 * constraints.QUOTED_LIMIT


@pytest.mark.parametrize("member", ["EmailAddress", "DisplayName", "Description"])
def test_a_sensitive_value_is_never_shown(member):
    secret = "sensitive@" + "x" * 5000
    (text,) = texts("CreateEmailAddress", **{member: secret})
    assert "sensitive@" not in text
    assert text.startswith(f"Value at '{member[0].lower()}{member[1:]}' failed to satisfy constraint")


def test_the_message_for_an_address_without_an_at_sign_does_not_show_it():
    assert texts("CreateEmailAddress", EmailAddress="sensitive") == [
        f"Value at 'emailAddress' {FAILED} satisfy regular expression pattern: {SHAPES['EmailAddress']['pattern']}"
    ]


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("CreateInstance", {"DirectoryId": "d-012345678\n"}),
        ("CreateInstance", {"InstanceAlias": "alias\n"}),
        ("CreateEmailAddress", {"Tags": {"key\n": "v"}}),
    ],
    ids=["directory", "alias", "tag"],
)
def test_the_end_of_a_pattern_does_not_match_before_a_final_newline(operation, members):
    (text,) = texts(operation, **members)
    assert "satisfy regular expression pattern" in text


def test_a_text_that_is_too_long_is_not_matched_with_its_pattern():
    (text,) = texts("CreateInstance", InstanceAlias="a" * 1_000_000 + "!")
    assert "have length less than or equal to 45" in text


def model_of(**shapes_of_it):
    operation = {"method": "PUT", "uri": "/", "input": "In", "output": None, "errors": []}
    return shapes.Model({"operations": {"Op": operation}, "shapes": shapes_of_it})


def test_a_list_or_map_of_sensitive_values_is_never_shown():
    model = model_of(
        In={"type": "structure", "members": {"Secrets": {"shape": "Secrets"}, "Named": {"shape": "Named"}}},
        Secrets={"type": "list", "member": {"shape": "Secret"}, "max": 1},
        Named={"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Box"}, "min": 2},
        Box={"type": "structure", "members": {"Secret": {"shape": "Secret"}}},
        Name={"type": "string"},
        Secret={"type": "string", "sensitive": True},
    )
    members = {"Secrets": ["hidden", "hidden"], "Named": {"k": {"Secret": "hidden"}}}
    found = constraints.Constraints(model).broken(model.operations["Op"].input.shape, members)
    assert len(found) == 2
    assert not [violation for violation in found if "hidden" in violation.text]
