"""Tests of the types that are compiled from the model: the fast and the slow validation pass agree."""

import re
import unicodedata

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.examples import examples
from waypost.api.wire import constraints, shapes

MODEL = shapes.load()
SHAPES = MODEL.shapes
CONSTRAINTS = constraints.Constraints(MODEL)

WRONG_TYPES = st.sampled_from([0, 1.0, 1.5, True, "", "1", [], {}, [None], {"a": None}, None, 10**30, float("inf")])
# Letters, marks, spaces and line ends that a wrong pattern could confuse.
CHARACTERS = st.sampled_from("aZ09-_.:/=+@ \n\t\u00a0\u2028\u00fc\u0301\u0661\u4e2d\U0001f600")


def text_of(shape):
    """Return a strategy for texts that match or break the pattern, with lengths inside and outside the limits."""
    least, most = shape.get("min", 0), shape.get("max", 40)
    edges = st.sampled_from(sorted({max(least - 1, 0), least, least + 1, most - 1, most, most + 1}))
    texts = [st.text(CHARACTERS, max_size=8), st.builds(lambda c, n: c * n, CHARACTERS, edges)]
    if "enum" in shape:
        texts.append(st.sampled_from(shape["enum"]))
    if "pattern" in shape:
        fitting = st.from_regex(shapes.python_pattern(shape["pattern"]))
        texts += [fitting, st.builds("{}{}".format, fitting, CHARACTERS)]
    # The character NUL is refused in a later step, which has its own tests.
    return st.one_of(texts).filter(lambda text: "\0" not in text)


def structure_of(shape, depth=0):
    """Return a strategy for structures: with some members missing or null, or with an unknown member."""
    members = {name: value_of(reference["shape"], depth + 1) for name, reference in shape["members"].items()}
    required = {name: members.pop(name) for name in shape.get("required", ())}
    others = {name: value | st.none() for name, value in members.items()}
    return st.fixed_dictionaries(required, optional={**others, "Unknown": st.integers()}).flatmap(_perhaps_without_one)


def _perhaps_without_one(value):
    return st.sampled_from([None, None, None, *value]).map(lambda gone: {n: v for n, v in value.items() if n != gone})


def size_of(shape):
    """Return a strategy for numbers of items: a few, and if there is a limit, the limit and one more."""
    return st.sampled_from([0, 1, 2] + ([shape["max"], shape["max"] + 1] if "max" in shape else []))


def value_of(name, depth):
    shape = SHAPES[name]
    match shape["type"]:
        case "structure":
            # Search conditions can be nested without limit.
            right = st.just({}) if depth > 6 else structure_of(shape, depth)
        case "list":
            items = value_of(shape["member"]["shape"], depth + 1)
            right = size_of(shape).flatmap(lambda size: st.lists(items, min_size=min(size, 2), max_size=min(size, 2)))
            right |= size_of(shape).flatmap(lambda size: items.map(lambda item: [item] * size))
        case "map":
            key, value = (value_of(shape[part]["shape"], depth) for part in ("key", "value"))
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
    """Return members without null values, because both passes treat a null member as absent."""
    return {name: value for name, value in members.items() if value is not None}


def fast_pass_refuses(operation, members):
    try:
        msgspec.convert(members, operation.input_type)
    except msgspec.ValidationError:
        return True
    return False


@pytest.mark.parametrize("name", MODEL.operations)
@settings(max_examples=examples(15), deadline=None, database=None)
@given(data=st.data())
def test_the_fast_pass_refuses_a_request_exactly_if_the_slow_pass_finds_an_error(name, data):
    operation = MODEL.operations[name]
    members = without_nulls(data.draw(structure_of(operation.input.shape)))
    violations = CONSTRAINTS.broken(operation.input.shape, members)
    assert fast_pass_refuses(operation, members) == bool(violations), violations


def search(**members):
    return msgspec.convert({"InstanceId": "i", **members}, MODEL.operations["SearchEmailAddresses"].input_type)


def test_search_conditions_are_structures_at_every_depth():
    condition = {"FieldName": "EmailAddress", "Value": "support", "ComparisonType": "STARTS_WITH"}
    criteria = {"OrConditions": [{"AndConditions": [{"StringCondition": condition}]}]}
    inner = search(SearchCriteria=criteria).search_criteria.or_conditions[0].and_conditions[0]
    assert (inner.or_conditions, inner.and_conditions) == (None, None)
    found = inner.string_condition
    assert (found.field_name, found.value, found.comparison_type) == ("EmailAddress", "support", "STARTS_WITH")


def test_tag_filters_are_structures():
    tag = {"TagKey": "team", "TagValue": "support"}
    filters = {"OrConditions": [[tag], []], "AndConditions": [tag], "TagCondition": tag}
    found = search(SearchFilter={"TagFilter": filters}).search_filter.tag_filter
    assert found.or_conditions == [[found.tag_condition], []]
    assert found.and_conditions == [found.tag_condition]
    assert (found.tag_condition.tag_key, found.tag_condition.tag_value) == ("team", "support")


def test_replaced_unicode_properties_match_the_same_characters():
    allowed = re.compile(shapes.python_pattern(SHAPES["TagKey"]["pattern"]))
    # The test covers the first two planes. The other planes only have more ideographs and unassigned code points.
    for character in map(chr, range(0x20000)):
        expected = unicodedata.category(character)[0] in "LNZ" or character in "_.:/=+-@"
        assert bool(allowed.search(character)) == expected, hex(ord(character))


@pytest.mark.parametrize(
    ("member", "attribute"),
    [("EmailAddressId", "email_address_id"), ("tagKeys", "tag_keys"), ("resourceArn", "resource_arn")],
)
def test_the_name_of_a_member_is_converted_to_an_attribute_name(member, attribute):
    assert shapes.snake_case(member) == attribute


def model_of(**shapes_of_it):
    operation = {"method": "PUT", "uri": "/", "input": "In", "output": None, "errors": []}
    return shapes.Model({"operations": {"Op": operation}, "shapes": shapes_of_it})


def test_a_model_with_an_unsupported_type_is_refused_when_it_is_compiled():
    with pytest.raises(LookupError, match="the shape Photo has an unsupported type: blob"):
        model_of(In={"type": "structure", "members": {"Photo": {"shape": "Photo"}}}, Photo={"type": "blob"})
