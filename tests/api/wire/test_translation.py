"""Tests of rest-json features that Amazon Connect does not use: values as text, headers, payloads, JSON names."""

import json
import math

import msgspec
import pytest

from waypost.api.errors import ApiError
from waypost.api.wire import protocol, shapes, texts
from waypost.api.wire.http import Request

BOOLEAN, INTEGER, FLOAT, STRING = ({"type": name} for name in ("boolean", "integer", "float", "string"))
MOMENT = {"type": "timestamp"}
SECONDS, HTTP_DATE, ISO = ({**MOMENT, "timestampFormat": form} for form in ("unixTimestamp", "rfc822", "iso8601"))
DATE = "Mon, 16 Dec 2019 23:48:18 GMT"

READ = [
    (STRING, "true", "true"),
    (BOOLEAN, "true", True),
    (BOOLEAN, "false", False),
    (BOOLEAN, "True", "True"),
    (INTEGER, "-7", -7),
    (INTEGER, "1.0", "1.0"),
    (INTEGER, "٧", "٧"),
    (INTEGER, "9" * 19, "9" * 19),
    (FLOAT, "1.5e3", 1500.0),
    (FLOAT, "-Infinity", -math.inf),
    (FLOAT, "1_0", "1_0"),
    (FLOAT, "inf", "inf"),
    (MOMENT, "2019-12-16T23:48:18Z", 1576540098),
    (ISO, "2019-12-17T00:48:18.5+01:00", 1576540098.5),
    (ISO, "2019-12-16T23:48:18", "2019-12-16T23:48:18"),
    (ISO, "yesterday", "yesterday"),
    (HTTP_DATE, DATE, 1576540098),
    (HTTP_DATE, "yesterday", "yesterday"),
    (SECONDS, "1576540098.25", 1576540098.25),
    (SECONDS, "soon", "soon"),
]


@pytest.mark.parametrize(("shape", "text", "value"), READ)
def test_a_text_is_parsed_by_its_shape_or_returned_unchanged(shape, text, value):
    assert texts.read(shape, text, texts.ISO_8601) == value
    assert type(texts.read(shape, text, texts.ISO_8601)) in (type(value), float)


WRITTEN = [
    (STRING, "ü", "ü"),
    (BOOLEAN, True, "true"),
    (BOOLEAN, False, "false"),
    (INTEGER, 7, "7"),
    (FLOAT, 1.5, "1.5"),
    (FLOAT, math.nan, "NaN"),
    (FLOAT, math.inf, "Infinity"),
    (FLOAT, -math.inf, "-Infinity"),
    (MOMENT, 1576540098, DATE),
    (ISO, 1576540098.0, "2019-12-16T23:48:18Z"),
    (ISO, 1576540098.123, "2019-12-16T23:48:18.123Z"),
    (SECONDS, 1576540098.0, "1576540098"),
    (SECONDS, 1576540098.25, "1576540098.25"),
]


@pytest.mark.parametrize(("shape", "value", "text"), WRITTEN)
def test_a_value_is_written_as_text(shape, value, text):
    assert texts.write(shape, value, texts.RFC_822) == text


def in_(location, shape, name=None, **more):
    return {"shape": shape, "location": location, **({"locationName": name} if name else {}), **more}


def structure(*, payload=None, **members):
    return {"type": "structure", "members": members, **({"payload": payload} if payload else {})}


SHAPES = {
    "String": STRING,
    "Integer": INTEGER,
    "Float": FLOAT,
    "Moment": MOMENT,
    "HttpDate": HTTP_DATE,
    "Strings": {"type": "list", "member": {"shape": "String"}},
    "Moments": {"type": "list", "member": {"shape": "Moment"}},
    "Texts": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "String"}},
    "Lists": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "Strings"}},
    "Tree": structure(Value={"shape": "Float", "locationName": "v"}, Trees={"shape": "Trees"}),
    "Trees": {"type": "list", "member": {"shape": "Tree"}},
    "Forest": {"type": "map", "key": {"shape": "String"}, "value": {"shape": "Tree"}},
    "Document": {**structure(), "document": True},
    "Empty": structure(),
    "Outside": structure(
        Number=in_("uri", "Integer", "n"),
        All=in_("querystring", "Lists"),
        First=in_("querystring", "Texts"),
        Text=in_("header", "String", "X-Text"),
        List=in_("header", "Strings", "X-List"),
        Moments=in_("header", "Moments", "X-Moments"),
        Json=in_("header", "String", "X-Json", jsonvalue=True),
        Others=in_("headers", "Texts", "X-Other-"),
        Status=in_("statusCode", "Integer"),
    ),
    "Inside": structure(
        Forest={"shape": "Forest", "locationName": "forest"},
        Date={"shape": "HttpDate"},
        Anything={"shape": "Document"},
    ),
    "Scales": structure(Weight={"shape": "Float"}),
    "Box": structure(Inner={"shape": "String", "locationName": "inner"}),
    "Boxes": structure(Box={"shape": "Box"}),
    "TextPayload": structure(payload="Text", Text={"shape": "String"}),
    "TreePayload": structure(payload="Tree", Tree={"shape": "Tree"}, Text=in_("header", "String", "X-Text")),
}

OPERATIONS = {
    name: {"method": "PUT", "uri": uri, "input": shape, "output": shape, "errors": []}
    for name, uri, shape in [
        ("Outside", "/outside/{n}?always=here", "Outside"),
        ("Greedy", "/greedy/{n}/and/{rest+}", "Empty"),
        ("Inside", "/inside", "Inside"),
        ("Boxes", "/boxes", "Boxes"),
        ("Scales", "/scales", "Scales"),
        ("Text", "/text", "TextPayload"),
        ("Tree", "/tree", "TreePayload"),
    ]
}

MODEL = shapes.Model({"shapes": SHAPES, "operations": OPERATIONS})
PROTOCOL = protocol.Protocol(MODEL)


def parse(path, *, body=b"", headers=(), query=""):
    request = Request("PUT", path, query, tuple(headers), body)
    members = msgspec.to_builtins(PROTOCOL.parse(PROTOCOL.route(request), request))
    return {name: value for name, value in members.items() if value not in (None, {})}


def refusal(path, **parts):
    with pytest.raises(ApiError) as caught:
        parse(path, **parts)
    assert (caught.value.code, caught.value.status) == ("InvalidRequestException", 400)
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "text", "members"),
    [
        ("x-text", "a, b", {"Text": "a, b"}),
        ("x-text", "", {"Text": ""}),
        ("x-list", 'a ,"b,c", "\\"d\\\\", , e f', {"List": ["a", "b,c", '"d\\', "e f"]}),
        ("x-list", "", {"List": []}),
        ("x-moments", f"{DATE}, {DATE}", {"Moments": [1576540098.0, 1576540098.0]}),
        ("x-json", "eyJhIjoxfQ==", {"Json": '{"a":1}'}),
        ("x-other-name", "value", {"Others": {"name": "value"}}),
        ("x-unknown", "value", {}),
    ],
)
def test_members_are_parsed_from_headers(name, text, members):
    assert parse("/outside/1", headers=[(name, text)]) == {"Number": 1, **members}


def test_a_map_in_the_query_has_all_parameters():
    found = parse("/outside/-1", query="a=1&b=2&a=3%204&c")
    assert found == {
        "Number": -1,
        "All": {"a": ["1", "3 4"], "b": ["2"], "c": [""]},
        "First": {"a": "1", "b": "2", "c": ""},
    }


@pytest.mark.parametrize(
    ("path", "headers", "message"),
    [
        ("/outside/one", [], "Value at 'number' must be a JSON integer."),
        ("/outside/1", [("x-moments", "yesterday")], "Value at 'moments.1.member' must be a timestamp."),
        ("/outside/1", [("x-json", "{}")], "Value at 'json' cannot be decoded."),
        ("/outside/1", [("x-text", "\udcff")], "Value at 'text' cannot be decoded."),
        ("/outside/1", [("x-other-a", "\udcff")], "Value at 'others' cannot be decoded."),
        ("/outside/%FF", [], "Value at 'number' cannot be decoded."),
    ],
)
def test_the_error_message_names_the_member_with_an_invalid_value(path, headers, message):
    assert refusal(path, headers=headers) == message


@pytest.mark.parametrize("path", ["/greedy/1/and/a", "/greedy/1/and/a/b%2Fc/", "/greedy/1/and/"])
def test_a_greedy_label_matches_the_rest_of_the_path(path):
    match = PROTOCOL.route(Request("PUT", path, "", (), b""))
    assert match.labels == {"n": "1", "rest": path.removeprefix("/greedy/1/and/")}


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/greedy/1/and"), ("PUT", "/greedy/1/or/a"), ("GET", "/greedy/1/and/a")]
)
def test_a_greedy_label_does_not_match_the_fixed_part_of_the_path(method, path):
    with pytest.raises(ApiError, match="is not an operation that Waypost implements"):
        PROTOCOL.route(Request(method, path, "", (), b""))


JSON = {
    "forest": {"oak": {"v": 1.5, "Trees": [{"v": "NaN"}, {}]}},
    "Date": DATE,
    "Anything": [{"v": None}],
}


def test_json_is_translated_in_both_directions_at_every_depth():
    members = parse("/inside", body=json.dumps({**JSON, "Unknown": 1}).encode())
    assert repr(members) == repr(
        {
            "Forest": {
                "oak": {"Value": 1.5, "Trees": [{"Value": math.nan, "Trees": None}, {"Value": None, "Trees": None}]}
            },
            "Date": 1576540098.0,
            "Anything": [{"v": None}],
        }
    )
    answer = protocol.serialise(MODEL.operations["Inside"], members)
    assert (answer.content_type, json.loads(answer.body)) == (b"application/json", JSON)


def test_a_shape_with_only_another_name_or_only_a_float_is_translated():
    assert parse("/boxes", body=b'{"Box":{"inner":"t","Inner":"u"}}') == {"Box": {"Inner": "t"}}
    assert parse("/scales", body=b'{"Weight":"Infinity"}') == {"Weight": math.inf}


def test_a_document_may_have_any_value_even_if_another_member_is_invalid():
    assert refusal("/inside", body=b'{"Anything":1,"Date":true}') == "Value at 'date' must be a timestamp."


def test_a_value_of_the_wrong_type_is_not_translated_and_fails_validation():
    body = b'{"forest":{"oak":{"v":"1.5","Trees":{}}},"Date":"soon"}'
    assert refusal("/inside", body=body) == (
        "Value at 'forest.oak.value.value' must be a JSON number; "
        "Value at 'forest.oak.value.trees' must be a JSON array; Value at 'date' must be a timestamp."
    )


def test_a_number_of_seconds_is_accepted_as_a_timestamp():
    assert parse("/inside", body=b'{"Date":1}') == {"Date": 1.0}


@pytest.mark.parametrize(
    ("path", "body", "members"),
    [
        ("/text", "ü".encode(), {"Text": "ü"}),
        ("/text", b"", {}),
        ("/tree", b'{"v":"Infinity"}', {"Tree": {"Value": math.inf, "Trees": None}}),
        ("/tree", b"", {}),
    ],
)
def test_a_payload_is_the_body(path, body, members):
    assert parse(path, body=body) == members


def test_a_text_payload_must_be_utf_8():
    assert refusal("/text", body=b"\xff") == "The request body is not valid UTF-8."


ANSWERS = [
    ("Text", {"Text": "ü"}, (200, "ü".encode(), b"text/plain", ())),
    ("Text", {"Text": None}, (200, b"", b"application/json", ())),
    ("Tree", {"Tree": {"Value": 1.5}}, (200, b'{"v":1.5}', b"application/json", ())),
    ("Tree", {"Text": "t"}, (200, b"", b"application/json", ((b"x-text", b"t"),))),
    ("Outside", {"Status": 201}, (201, b"{}", b"application/json", ())),
    (
        "Outside",
        {
            "List": ["a", "b,c", '"d"'],
            "Moments": [1576540098, 1576540098],
            "Json": "{}",
            "Others": {"Name": "value"},
        },
        (
            200,
            b"{}",
            b"application/json",
            (
                (b"x-list", b'a, "b,c", "\\"d\\""'),
                (b"x-moments", f"{DATE}, {DATE}".encode()),
                (b"x-json", b"e30="),
                (b"x-other-name", b"value"),
            ),
        ),
    ),
]


@pytest.mark.parametrize(("name", "output", "wanted"), ANSWERS)
def test_the_members_of_an_output_are_in_their_places_in_the_response(name, output, wanted):
    answer = protocol.serialise(MODEL.operations[name], output)
    assert (answer.status, answer.body, answer.content_type, answer.headers) == wanted
