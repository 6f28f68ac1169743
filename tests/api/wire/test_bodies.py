"""Tests of the parser for request bodies, with valid and invalid bodies."""

import pytest

from waypost.api.errors import ApiError
from waypost.api.wire import bodies

INVALID_BODIES = {
    "invalid-utf-8-inside": b'{"ClientToken":"\xff"}',
    "not-json": b"EmailAddressId=a",
    "half-an-object": b'{"AliasConfiguration":',
    "two-objects": b"{}{}",
    "spaces": b"  ",
    "array": b"[]",
    "string": b'"AliasConfiguration"',
    "number": b"1",
    "null": b"null",
    "long-number": b"1" * 1000,
    "long-string": b'"' + b"1" * 1000 + b'"',
    "nan": b'{"ClientToken":NaN}',
    "infinity": b'{"ClientToken":Infinity}',
    "latin-1": "ü".encode("latin-1"),
    "utf-16": '{"ClientToken":"t"}'.encode("utf-16"),
    "nan-as-a-number": b'{"Unknown":-NaN}',
    "number-out-of-range": b'{"Unknown":1e400}',
    "integer-out-of-range": b'{"Unknown":1' + b"0" * 5000 + b"}",
    "byte-order-mark": b'\xef\xbb\xbf{"ClientToken":"t"}',
    "raw-control-character": b'{"ClientToken":"a\nb"}',
    "raw-nul": b'{"ClientToken":"a\0b"}',
    "overlong-nul": b'{"ClientToken":"\xc0\x80"}',
    "single-quotes": b"{'ClientToken':'t'}",
    "comment": b'{"ClientToken":"t"/**/}',
    "final-comma": b'{"ClientToken":"t",}',
    "low-surrogate": b'{"ClientToken":"\\udc00 and more"}',
    "high-surrogate": b'{"ClientToken":"\\ud800"}',
    "surrogate-in-a-key": b'{"\\ud800":"t"}',
    "surrogate-as-utf-8": b'{"ClientToken":"\xed\xa0\x80"}',
    "thousands-of-arrays": b'{"ClientToken":' + b"[" * 100_000,
    "one-mebibyte-of-arrays": b"[" * 1024 * 1024,
    "one-mebibyte-of-objects": b'{"a":' * (1024 * 1024 // 5),
    "closed-arrays": b'{"Unknown":' + b"[" * 400_000 + b"]" * 400_000 + b"}",
}


@pytest.mark.parametrize("body", INVALID_BODIES.values(), ids=INVALID_BODIES)
def test_a_body_that_is_not_a_json_object_is_refused(body):
    with pytest.raises(ApiError, match="The request body ") as caught:
        bodies.members(body)
    assert (caught.value.code, caught.value.status) == ("InvalidRequestException", 400)
    assert len(caught.value.message) < 200


def test_an_empty_body_is_an_object_without_members():
    assert bodies.members(b"") == bodies.members(b"{}") == bodies.members(b" {\r\n\t} ") == {}


def test_the_last_value_of_a_repeated_member_is_used():
    assert bodies.members(b'{"a":1,"b":{"c":1,"c":2},"a":null}') == {"a": None, "b": {"c": 2}}


def test_every_character_may_be_escaped():
    assert bodies.members(b'{"\\u0061":"\\ud83d\\ude00\\u0000\\/"}') == {"a": "\U0001f600\0/"}


@pytest.mark.parametrize("unit", [b"[%s]", b'{"a":%s}'])
def test_a_body_may_have_a_hundred_levels(unit):
    def nested(depth):
        value = b"1"
        for _ in range(depth - 1):
            value = unit.replace(b"%s", value)
        return b'{"wide":[' + b"[]," * 1000 + b'0],"deep":' + value + b"}"

    assert "deep" in bodies.members(nested(bodies.DEPTH_LIMIT))
    with pytest.raises(ApiError, match="more than 100 levels of nested arrays and objects"):
        bodies.members(nested(bodies.DEPTH_LIMIT + 1))
