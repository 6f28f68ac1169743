"""What the slow pass says: every broken member, in the words of AWS."""

import re

import pytest

from waypost.api.wire import constraints, shapes

MODEL = shapes.load()
SHAPES = MODEL.shapes
CONSTRAINTS = constraints.Constraints(MODEL)


def texts(operation, **members):
    """What is wrong with these members, where everything else is right."""
    right = {
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
    broken = CONSTRAINTS.broken(MODEL.operations[operation].input.shape, {**right, **members})
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
    "absent-inside": (
        "AssociateEmailAddressAlias",
        {"AliasConfiguration": {}},
        f"Value null at 'aliasConfiguration.emailAddressId' {FAILED} not be null",
    ),
    "empty": (
        "CreateEmailAddress",
        {"InstanceId": ""},
        f"Value '' at 'instanceId' {FAILED} have length greater than or equal to 1",
    ),
    "long": (
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
    "low": (
        "ListInstances",
        {"MaxResults": 0},
        f"Value '0' at 'maxResults' {FAILED} have value greater than or equal to 1",
    ),
    "high": (
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
    "few": (
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
def test_a_broken_member_is_named_in_the_words_of_aws(operation, members, text):
    assert texts(operation, **members) == [text]


def test_all_broken_members_are_named_in_the_order_of_the_model():
    found = texts("CreateEmailAddress", InstanceId="", EmailAddress=None, Tags={"k": 1}, ClientToken="t" * 501)
    named = [re.search(r" at '([a-zA-Z.]+)'", text).group(1) for text in found]
    assert named == ["instanceId", "emailAddress", "tags.k.value", "clientToken"]


def test_of_many_broken_members_the_first_hundred_are_named():
    found = texts("SearchEmailAddresses", SearchCriteria={"OrConditions": [1] * 100_000})
    assert len(found) == constraints.NAMED_LIMIT
    assert found[-1].startswith("Value at 'searchCriteria.orConditions.100.member'")


def test_the_only_broken_one_of_many_empty_conditions_is_named():
    """So many took 90 ms, though there is nothing to check in most of them; the table in `tests/work` has the time."""
    (found,) = texts("SearchEmailAddresses", SearchCriteria={"OrConditions": [{}] * 60_000 + [1]})
    assert "searchCriteria.orConditions.60001.member" in found


def test_a_long_key_is_not_quoted_whole():
    found = texts("CreateEmailAddress", Tags={"k" * 100_000: 1})
    assert max(map(len, found)) < 2 * constraints.QUOTED_LIMIT


@pytest.mark.parametrize("member", ["EmailAddress", "DisplayName", "Description"])
def test_a_sensitive_value_is_never_shown(member):
    secret = "sensitive@" + "x" * 5000
    (text,) = texts("CreateEmailAddress", **{member: secret})
    assert "sensitive@" not in text
    assert text.startswith(f"Value at '{member[0].lower()}{member[1:]}' failed to satisfy constraint")


def test_an_address_without_an_at_is_refused_without_showing_it():
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
def test_the_end_of_a_pattern_is_not_before_a_final_newline(operation, members):
    (text,) = texts(operation, **members)
    assert "satisfy regular expression pattern" in text


def test_a_text_that_is_too_long_is_not_held_against_its_pattern():
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
