"""Tests of tags on instances and email addresses: adding, changing, listing and removing them, and their deletion."""

import json
from urllib.parse import quote

import pytest

from tests.api.refusals import INSTANCE, MODEL, Scene
from waypost.api.wire.http import Request

NOT_FOUND = ("ResourceNotFoundException", 404)
INVALID = ("InvalidParameterException", 400)


@pytest.fixture
def scene(connect):
    return Scene(connect)


@pytest.fixture(params=["instance", "email address"])
def arn(request, scene):
    """The ARN of an instance or email address without tags."""
    return scene.arn("" if request.param == "instance" else f"email-address/{scene.address()}")


@pytest.fixture
def tags(connect):
    """Return the tags that ListTagsForResource lists."""
    return lambda arn: connect.list_tags_for_resource(resourceArn=arn)["tags"]


def test_tags_are_added_changed_and_removed(connect, tags, arn):
    assert tags(arn) == {}
    connect.tag_resource(resourceArn=arn, tags={"team": "Blue", "Team": "", "cost": "1"})
    assert tags(arn) == {"team": "Blue", "Team": "", "cost": "1"}
    connect.tag_resource(resourceArn=arn, tags={"team": "Red", "new": "x"})
    assert tags(arn) == {"team": "Red", "Team": "", "cost": "1", "new": "x"}
    connect.untag_resource(resourceArn=arn, tagKeys=["Team", "cost", "never there"])
    assert tags(arn) == {"team": "Red", "new": "x"}


def test_the_responses_have_no_body(connect, arn):
    for answer in (
        connect.tag_resource(resourceArn=arn, tags={"a": "b"}),
        connect.untag_resource(resourceArn=arn, tagKeys=["a"]),
    ):
        assert answer.keys() == {"ResponseMetadata"}
        assert answer["ResponseMetadata"]["HTTPHeaders"]["content-length"] == "0"


TEXTS = {
    "all allowed characters": ("Äé日 _.:/=+-@9", "any: !?&<>\\\"'\n\t😀"),
    "the longest": ("k" * 128, "v" * 256),
    "the shortest": ("k", ""),
    "spaces": (" ", " "),
    "similar to a reserved key": ("awsome:x", "aws:"),
}


@pytest.mark.parametrize(("key", "value"), TEXTS.values(), ids=TEXTS)
def test_a_tag_is_listed_unchanged_and_removed_by_its_key(connect, tags, arn, key, value):
    connect.tag_resource(resourceArn=arn, tags={key: value})
    assert tags(arn) == {key: value}
    connect.untag_resource(resourceArn=arn, tagKeys=[key])
    assert tags(arn) == {}


def test_a_resource_cannot_have_more_than_fifty_tags(connect, refusal, tags, arn):
    fifty = {f"key{number}": "" for number in range(50)}
    connect.tag_resource(resourceArn=arn, tags=fifty)
    connect.tag_resource(resourceArn=arn, tags={"key0": "another value"})
    assert "50 tags" in refusal(*INVALID, connect.tag_resource, resourceArn=arn, tags={"key0": "", "one more": ""})
    assert tags(arn) == {**fifty, "key0": "another value"}
    connect.untag_resource(resourceArn=arn, tagKeys=[*fifty])
    assert tags(arn) == {}


@pytest.mark.parametrize("reserved", ["aws:x", "AWS:x", "Aws:x"])
def test_if_one_tag_key_is_reserved_no_tag_is_stored(connect, refusal, tags, arn, reserved):
    assert reserved in refusal(*INVALID, connect.tag_resource, resourceArn=arn, tags={"fine": "", reserved: ""})
    assert tags(arn) == {}


def test_tags_of_a_new_resource_are_listed(connect, tags, scene):
    given = {"team": "Blue", "empty": ""}
    assert tags(connect.create_instance(**INSTANCE, Tags=given)["Arn"]) == given
    assert tags(scene.arn(f"email-address/{scene.address(Tags=given)}")) == given


def test_an_email_address_and_its_instance_are_each_described_with_their_own_tags(connect, scene):
    email_address_id = scene.address()
    connect.tag_resource(resourceArn=scene.arn(""), tags={"of": "instance"})
    connect.tag_resource(resourceArn=scene.arn(f"email-address/{email_address_id}"), tags={"of": "address"})
    found = connect.describe_email_address(InstanceId=scene.instance, EmailAddressId=email_address_id)
    assert found["Tags"] == {"of": "address"}
    assert connect.describe_instance(InstanceId=scene.instance)["Instance"]["Tags"] == {"of": "instance"}


def test_a_search_uses_the_current_tags(connect, scene):
    email_address_id = scene.address(Tags={"team": "Blue"})
    resource = {"resourceArn": scene.arn(f"email-address/{email_address_id}")}

    def found(value):
        filters = {"TagFilter": {"TagCondition": {"TagKey": "team", "TagValue": value}}}
        answer = connect.search_email_addresses(InstanceId=scene.instance, SearchFilter=filters)
        return [one["EmailAddressId"] for one in answer["EmailAddresses"]]

    assert found("Blue") == [email_address_id]
    connect.tag_resource(**resource, tags={"team": "Red"})
    assert (found("Blue"), found("Red")) == ([], [email_address_id])
    connect.untag_resource(**resource, tagKeys=["team"])
    assert found("Red") == []
    connect.tag_resource(**resource, tags={"team": "Blue"})
    connect.tag_resource(resourceArn=scene.arn(""), tags={"team": "Blue"})
    assert found("Blue") == [email_address_id]


def test_tags_are_deleted_with_their_resource(connect, refusal, scene):
    email_address_id = scene.address(Tags={"a": "b"})
    own, other = scene.arn(f"email-address/{email_address_id}"), scene.arn(f"email-address/{scene.address()}")
    connect.delete_email_address(InstanceId=scene.instance, EmailAddressId=email_address_id)
    filters = {"TagFilter": {"TagCondition": {"TagKey": "a"}}}
    assert connect.search_email_addresses(InstanceId=scene.instance, SearchFilter=filters)["EmailAddresses"] == []
    connect.delete_instance(InstanceId=scene.instance)
    for gone in (own, other, scene.arn("")):
        for call, members in (
            (connect.list_tags_for_resource, {}),
            (connect.tag_resource, {"tags": {"a": "b"}}),
            (connect.untag_resource, {"tagKeys": ["a"]}),
        ):
            refusal(*NOT_FOUND, call, resourceArn=gone, **members)


def test_tags_are_not_visible_from_another_region(new_client, refusal, arn):
    elsewhere = new_client(region_name="eu-west-1")
    assert "eu-west-1" in refusal(*NOT_FOUND, elsewhere.list_tags_for_resource, resourceArn=arn)


def test_the_arn_of_a_resource_has_the_partition_of_its_region(new_client, tags):
    china = new_client(region_name="cn-north-1")
    arn = china.create_instance(**INSTANCE, Tags={"a": "b"})["Arn"]
    assert china.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "b"}


NO_ARNS = {
    "empty parts": "arn:::::instance/i",
    "too short": "arn:aws:connect:us-east-1",
    "text after the end": "arn:aws:connect:us-east-1:000000000000:instance/i/email-address/e/more",
    "a final slash": "arn:aws:connect:us-east-1:000000000000:instance/i/",
    "no id": "arn:aws:connect:us-east-1:000000000000:instance/",
    "in capitals": "ARN:aws:connect:us-east-1:000000000000:instance/i",
    "spaces": " arn:aws:connect:us-east-1:000000000000:instance/i",
    "an id": "i",
    "very long": "arn:" + "x" * 5000,
}


@pytest.mark.parametrize("text", NO_ARNS.values(), ids=NO_ARNS)
def test_a_text_that_is_not_an_arn_is_refused(connect, refusal, text):
    assert len(refusal(*INVALID, connect.list_tags_for_resource, resourceArn=text)) < 500


# SDKs encode an ARN in the path in different ways. Some encode all reserved characters, and others only the necessary
# characters.
ENCODINGS = {
    "all reserved characters": lambda arn: quote(arn, safe=""),
    "lower-case hex digits": lambda arn: quote(arn, safe="").replace("%3A", "%3a").replace("%2F", "%2f"),
    "all but colons": lambda arn: quote(arn, safe=":"),
    "every character": lambda arn: "".join(f"%{octet:02X}" for octet in arn.encode()),
    "hyphens as well": lambda arn: quote(arn, safe="").replace("-", "%2D"),
}


@pytest.fixture
def send(server, signed, exchange):
    """Send a signed request to a path under /tags, without an SDK."""

    def send(method, path, query="", body=b""):
        return exchange(signed(Request(method, f"/tags/{path}", query, (), body), server.profile.key))

    return send


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_an_arn_in_the_path_is_accepted_in_any_encoding(send, tags, arn, encode):
    assert send("POST", encode(arn), body=b'{"tags":{"a":"b"}}').status == 200
    assert json.loads(send("GET", encode(arn)).body) == {"tags": {"a": "b"}}
    assert send("DELETE", encode(arn), "tagKeys=a").status == 200
    assert tags(arn) == {}


def test_an_arn_with_unencoded_slashes_in_the_path_is_refused(send, arn):
    reply = send("GET", quote(arn, safe=":/"))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


def test_an_arn_that_is_encoded_twice_is_refused(send, arn):
    reply = send("GET", quote(quote(arn, safe=""), safe=""))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "InvalidParameterException")


QUERIES = {
    "one key": ("tagKeys=a", {"b", "a b"}),
    "repeated": ("tagKeys=a&tagKeys=b", {"a b"}),
    "the same key again": ("tagKeys=a&tagKeys=a", {"b", "a b"}),
    "encoded": ("tagKeys=a%20b", {"a", "b"}),
    "a plus sign is not a space": ("tagKeys=a+b", {"a", "b", "a b"}),
    "among other parameters": ("x=y&tagKeys=b&tagkeys=a", {"a", "a b"}),
}


@pytest.mark.parametrize(("query", "left"), QUERIES.values(), ids=QUERIES)
def test_the_keys_of_tags_to_remove_are_in_the_query(send, tags, arn, query, left):
    send("POST", quote(arn, safe=""), body=b'{"tags":{"a":"","b":"","a b":""}}')
    assert send("DELETE", quote(arn, safe=""), query).status == 200
    assert tags(arn).keys() == left


@pytest.mark.parametrize(
    "query", ["", "tagKeys", "tagKeys=", "TagKeys=a", "&".join(f"tagKeys=k{n}" for n in range(51))]
)
def test_a_call_to_remove_no_tag_or_more_than_fifty_tags_is_refused(send, connect, tags, arn, query):
    connect.tag_resource(resourceArn=arn, tags={"a": ""})
    reply = send("DELETE", quote(arn, safe=""), query)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "InvalidParameterException")
    assert tags(arn) == {"a": ""}


def test_the_model_has_the_documented_limits_for_tags():
    keys, values = MODEL.shapes["TagKey"], MODEL.shapes["TagValue"]
    assert (MODEL.shapes["TagMap"]["max"], keys["max"], values["max"]) == (50, 128, 256)
