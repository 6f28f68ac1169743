"""The model as types: the fast pass and the slow one agree, and the slow one speaks as AWS does."""

import re
import unicodedata

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.api import shapes

MODEL = shapes.load()
SHAPES = MODEL._shapes
RECURSIVE = "EmailAddressSearchCriteria"

WRONG_TYPES = st.sampled_from([0, 1.0, 1.5, True, "", "1", [], {}, [None], {"a": None}, None, 10**30, float("inf")])
# Of letters, marks, spaces and line ends, what a pattern could take for something else.
CHARACTERS = st.sampled_from("aZ09-_.:/=+@ \n\t\u00a0\u2028\u00fc\u0301\u0661\u4e2d\U0001f600")


def text_of(shape):
    """Texts that fit the pattern, and others, of a length inside, at and just outside the limits."""
    least, most = shape.get("min", 0), shape.get("max", 40)
    edges = st.sampled_from(sorted({max(least - 1, 0), least, least + 1, most - 1, most, most + 1}))
    texts = [st.text(CHARACTERS, max_size=8), st.builds(lambda c, n: c * n, CHARACTERS, edges)]
    if "enum" in shape:
        texts.append(st.sampled_from(shape["enum"]))
    if "pattern" in shape:
        fitting = st.from_regex(shapes.python_pattern(shape["pattern"]))
        texts += [fitting, st.builds("{}{}".format, fitting, CHARACTERS)]
    return st.one_of(texts)


def structure_of(shape):
    """With and without each member, or with another that the model does not know, or with null."""
    members = {name: value_of(reference["shape"]) for name, reference in shape["members"].items()}
    required = {name: members.pop(name) for name in shape.get("required", ())}
    others = {name: value | st.none() for name, value in members.items()}
    return st.fixed_dictionaries(required, optional={**others, "Unknown": st.integers()}).flatmap(_perhaps_without_one)


def _perhaps_without_one(value):
    return st.sampled_from([None, None, None, *value]).map(lambda gone: {n: v for n, v in value.items() if n != gone})


def size_of(shape):
    """The numbers of items to try: few, and where there is a limit, just above it."""
    return st.sampled_from([0, 1, 2] + ([shape["max"], shape["max"] + 1] if "max" in shape else []))


def value_of(name):
    shape = SHAPES[name]
    match shape["type"]:
        case "structure":
            # The fast pass leaves conditions inside conditions to the slow one, which only runs when it refuses:
            # so for what is below a search's criteria there is nothing to compare.
            right = st.just({}) if name == RECURSIVE else structure_of(shape)
        case "list":
            items = value_of(shape["member"]["shape"])
            right = size_of(shape).flatmap(lambda size: st.lists(items, min_size=min(size, 2), max_size=min(size, 2)))
            right |= size_of(shape).flatmap(lambda size: items.map(lambda item: [item] * size))
        case "map":
            key, value = value_of(shape["key"]["shape"]), value_of(shape["value"]["shape"])
            right = st.dictionaries(key.filter(lambda k: isinstance(k, str)), value, max_size=2)
            right |= size_of(shape).map(lambda size: {f"k{number}": "v" for number in range(size)})
        case "string":
            right = text_of(shape)
        case "boolean":
            right = st.booleans()
        case _:
            edges = {shape.get("min", 0) - 1, shape.get("min", 0), shape.get("max", 9), shape.get("max", 9) + 1}
            right = st.sampled_from(sorted(edges)) | st.integers()
    return st.integers(0, 9).flatmap(lambda choice: WRONG_TYPES if choice == 9 else right)


def without_nulls(members):
    """As `Protocol.parse` gives members to both passes: a member that is null is absent."""
    return {name: value for name, value in members.items() if value is not None}


def fast_pass_refuses(operation, members):
    try:
        msgspec.convert(members, operation.input_type)
    except msgspec.ValidationError:
        return True
    return False


@pytest.mark.parametrize("name", MODEL.operations)
@settings(max_examples=80, deadline=None, database=None)
@given(data=st.data())
def test_the_fast_pass_refuses_exactly_what_the_slow_pass_can_explain(name, data):
    operation = MODEL.operations[name]
    members = without_nulls(data.draw(structure_of(operation.input_shape)))
    violations = MODEL.broken_members(operation, members)
    assert fast_pass_refuses(operation, members) == bool(violations), violations


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
        "UntagResource": {"resourceArn": "arn", "tagKeys": ["k"]},
    }[operation]
    broken = MODEL.broken_members(MODEL.operations[operation], without_nulls({**right, **members}))
    return [violation.text for violation in broken]


FAILED = "failed to satisfy constraint: Member must"
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
}


@pytest.mark.parametrize(("operation", "members", "text"), TEXTS.values(), ids=TEXTS)
def test_a_broken_member_is_named_in_the_words_of_aws(operation, members, text):
    assert texts(operation, **members) == [text]


def test_all_broken_members_are_named_in_the_order_of_the_model():
    found = texts("CreateEmailAddress", InstanceId="", EmailAddress=None, Tags={"k": 1}, ClientToken="t" * 501)
    named = [re.search(r" at '([a-zA-Z.]+)'", text).group(1) for text in found]
    assert named == ["instanceId", "emailAddress", "tags.k.value", "clientToken"]


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


def test_unicode_properties_mean_what_unicode_says():
    allowed = re.compile(shapes.python_pattern(SHAPES["TagKey"]["pattern"]))
    # In the first two planes; behind them are only more ideographs, and what is unassigned.
    for character in map(chr, range(0x20000)):
        expected = unicodedata.category(character)[0] in "LNZ" or character in "_.:/=+-@"
        assert bool(allowed.search(character)) == expected, hex(ord(character))


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


@pytest.mark.parametrize(
    ("member", "attribute"),
    [("EmailAddressId", "email_address_id"), ("tagKeys", "tag_keys"), ("resourceArn", "resource_arn")],
)
def test_members_are_attributes_with_python_names(member, attribute):
    assert shapes.snake_case(member) == attribute


def test_a_type_that_no_request_has_yet_is_named_at_the_start():
    operation = {"method": "PUT", "uri": "/", "input": "In", "output": None, "errors": []}
    shapes_of_it = {"In": {"type": "structure", "members": {"Rate": {"shape": "Rate"}}}, "Rate": {"type": "float"}}
    with pytest.raises(LookupError, match="Rate has a type that no request of ours has yet: float"):
        shapes.Model({"operations": {"Op": operation}, "shapes": shapes_of_it})
