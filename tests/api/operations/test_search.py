"""Tests of SearchEmailAddresses with boto3: conditions, results, pages, and page tokens."""

import string
import threading
import uuid
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from tests.kit.stores import direct_writes
from tests.kit.values import an_email_address
from waypost.api.operations.page_tokens import PageTokens
from waypost.domain import errors
from waypost.domain.directory import search as conditions

INVALID = ("InvalidParameterException", 400)
INVALID_REQUEST = ("InvalidRequestException", 400)
MISSING_ID = "00000000-0000-4000-8000-000000000000"
COUNTED = 10_000


@pytest.fixture
def search(connect, instance_id):
    """Search an instance, by default the instance of this test."""
    return lambda **members: connect.search_email_addresses(**{"InstanceId": instance_id, **members})


@pytest.fixture
def refused(connect, instance_id, refusal):
    """Make a search, check that it is refused, and return the error message."""

    def refused(answer=INVALID, **members):
        return refusal(*answer, connect.search_email_addresses, **{"InstanceId": instance_id, **members})

    return refused


def ids(answer):
    return [found["EmailAddressId"] for found in answer["EmailAddresses"]]


def text(field, comparison, value):
    return {"StringCondition": {"FieldName": field, "ComparisonType": comparison, "Value": value}}


def tag(key, value=None):
    return {"TagKey": key} if value is None else {"TagKey": key, "TagValue": value}


def test_a_search_without_conditions_finds_all_email_addresses_with_their_members(
    search, connect, instance_id, new_address, spelling
):
    given = {"EmailAddress": spelling().title(), "DisplayName": "Käse", "Description": "For\nall"}
    primary, alias = new_address(**given, Tags={"a": "b"}), new_address(DisplayName="")
    pair = {"EmailAddressId": primary, "AliasConfiguration": {"EmailAddressId": alias}}
    connect.associate_email_address_alias(InstanceId=instance_id, **pair)
    answer = search()
    first, second = answer["EmailAddresses"]
    arn = f"arn:aws:connect:us-east-1:000000000000:instance/{instance_id}/email-address"
    assert first == {
        **given,
        "EmailAddressId": primary,
        "EmailAddressArn": f"{arn}/{primary}",
        "AliasConfigurations": [{"EmailAddressId": alias}],
    }
    assert (second["EmailAddressArn"], second["DisplayName"]) == (f"{arn}/{alias}", "")
    assert second["AliasConfigurations"] == []
    assert "Description" not in second
    assert (answer["ApproximateTotalCount"], "NextToken" in answer) == (2, False)


def test_a_search_in_an_empty_instance_finds_nothing(search):
    answer = search()
    assert (answer["EmailAddresses"], answer["ApproximateTotalCount"], "NextToken" in answer) == ([], 0, False)


@pytest.fixture(scope="module")
def people(new_instance, connect):
    """An instance with the email addresses of Anna, Ben and Straße; the value maps names to ids."""
    instance_id, domain = new_instance(), f"{uuid.uuid4().hex}.example"
    members = {
        "Anna": {"DisplayName": "Anna Adler", "Description": "100 % of sales", "Tags": {"team": "Blue", "rank": "1"}},
        "Ben": {"DisplayName": "Ben Baum", "Description": 'Sales and "orders"', "Tags": {"team": "Red"}},
        "Straße": {"Description": "SALES", "Tags": {"team": "", "Team": "Blue"}},
    }
    made = {"domain": domain, "instance": instance_id}
    for name, texts in members.items():
        wanted = {"InstanceId": instance_id, "EmailAddress": f"{name}@{domain}", **texts}
        made[name] = connect.create_email_address(**wanted)["EmailAddressId"]
    return made


ANNA, BEN, STRASSE = "Anna", "Ben", "Straße"
CRITERIA = {
    "address": (text("emailAddress", "EXACT", "anna@{domain}"), [ANNA]),
    "address in another case": (text("EMAILADDRESS", "EXACT", "BEN@{DOMAIN}"), [BEN]),
    "sharp s": (text("emailaddress", "STARTS_WITH", "STRASSE@"), [STRASSE]),
    "start": (text("displayName", "STARTS_WITH", "anna"), [ANNA]),
    "not the start": (text("displayName", "STARTS_WITH", "Adler"), []),
    "part": (text("displayName", "CONTAINS", "A aD"), [ANNA]),
    "one letter": (text("displayName", "CONTAINS", "M"), [BEN]),
    "percent sign": (text("description", "CONTAINS", "100 %"), [ANNA]),
    "no wildcard": (text("description", "CONTAINS", "10% sales"), []),
    "quotes": (text("Description", "CONTAINS", '"orders"'), [BEN]),
    "whole text in another case": (text("description", "EXACT", "sales"), [STRASSE]),
    "empty text": (text("displayName", "EXACT", ""), [STRASSE]),
    "empty part": (text("displayName", "CONTAINS", ""), [ANNA, BEN, STRASSE]),
    "id": (text("emailAddressId", "EXACT", "{Ben}"), [BEN]),
    "id by its other name": (text("resourceId", "EXACT", "{Ben}"), [BEN]),
    "id in capitals": (text("RESOURCEID", "EXACT", "{BEN}"), [BEN]),
    "and": ({"AndConditions": [text("description", "CONTAINS", "sales"), text("displayName", "CONTAINS", "b")]}, [BEN]),
    "or": (
        {"OrConditions": [text("displayName", "STARTS_WITH", "ben"), text("emailAddress", "STARTS_WITH", "anna")]},
        [ANNA, BEN],
    ),
    "or of ands": (
        {
            "OrConditions": [
                {"AndConditions": [text("description", "CONTAINS", "sales"), text("displayName", "CONTAINS", "adler")]},
                {"AndConditions": [text("displayName", "EXACT", ""), text("displayName", "CONTAINS", "x")]},
            ]
        },
        [ANNA],
    ),
    "and of ors": (
        {
            "AndConditions": [
                {"OrConditions": [text("displayName", "CONTAINS", "a"), text("displayName", "EXACT", "x")]},
                {"OrConditions": [text("description", "CONTAINS", "orders")]},
            ]
        },
        [BEN],
    ),
    "no condition": ({}, [ANNA, BEN, STRASSE]),
    "empty lists": ({"OrConditions": [], "AndConditions": []}, [ANNA, BEN, STRASSE]),
    "empty list beside a condition": ({"OrConditions": [], **text("displayName", "CONTAINS", "ben")}, [BEN]),
    "empty condition in a list": ({"AndConditions": [{}, text("displayName", "CONTAINS", "ben")]}, [BEN]),
    "empty alternative": ({"OrConditions": [{}, text("displayName", "CONTAINS", "ben")]}, [ANNA, BEN, STRASSE]),
}  # fmt: skip
FILTERS = {
    "tag": ({"TagCondition": tag("team", "Blue")}, [ANNA]),
    "tag in another case": ({"TagCondition": tag("team", "blue")}, []),
    "tag of any value": ({"TagCondition": tag("team")}, [ANNA, BEN, STRASSE]),
    "tag without a value": ({"TagCondition": tag("team", "")}, [STRASSE]),
    "and": ({"AndConditions": [tag("team", "Blue"), tag("rank")]}, [ANNA]),
    "or": ({"OrConditions": [[tag("team", "Red")], [tag("team", "Blue")]]}, [ANNA, BEN]),
    "or of ands": ({"OrConditions": [[tag("team", "Blue"), tag("rank", "2")], [tag("Team", "Blue")]]}, [STRASSE]),
    "no condition": ({}, [ANNA, BEN, STRASSE]),
    "empty lists": ({"OrConditions": [], "AndConditions": []}, [ANNA, BEN, STRASSE]),
    "empty alternative": ({"OrConditions": [[], [tag("rank")]]}, [ANNA, BEN, STRASSE]),
}


def filled_in(value, people):
    """Replace the placeholders in a value with ids and domains. An upper-case placeholder is replaced in upper case."""
    if isinstance(value, str):
        for name, known in people.items():
            value = value.replace(f"{{{name}}}", known).replace(f"{{{name.upper()}}}", known.upper())
        return value
    if isinstance(value, dict):
        return {name: filled_in(member, people) for name, member in value.items()}
    return [filled_in(item, people) for item in value]


def found_names(people, answer):
    names = {found: name for name, found in people.items()}
    return [names[found] for found in ids(answer)]


@pytest.mark.parametrize(("criteria", "names"), CRITERIA.values(), ids=CRITERIA)
def test_a_search_finds_the_email_addresses_that_match_its_criteria(search, people, criteria, names):
    answer = search(InstanceId=people["instance"], SearchCriteria=filled_in(criteria, people))
    assert sorted(found_names(people, answer)) == names
    assert answer["ApproximateTotalCount"] == len(names)


@pytest.mark.parametrize(("tag_filter", "names"), FILTERS.values(), ids=FILTERS)
def test_a_search_finds_the_email_addresses_with_the_tags_of_its_filter(search, people, tag_filter, names):
    answer = search(InstanceId=people["instance"], SearchFilter={"TagFilter": tag_filter})
    assert sorted(found_names(people, answer)) == names


def test_an_email_address_must_match_both_the_criteria_and_the_filter(search, people):
    both = {
        "SearchCriteria": {"AndConditions": [text("description", "CONTAINS", "sales")]},
        "SearchFilter": {"TagFilter": {"OrConditions": [[tag("team", "Red")], [tag("team", "Green")]]}},
    }
    assert found_names(people, search(InstanceId=people["instance"], **both)) == [BEN]


def test_an_empty_filter_counts_as_missing(search, people):
    assert search(InstanceId=people["instance"], SearchFilter={})["ApproximateTotalCount"] == 3


def test_a_search_finds_no_email_address_of_another_instance(search, people):
    assert ids(search(SearchCriteria=text("emailAddress", "EXACT", f"anna@{people['domain']}"))) == []


def test_a_search_accepts_the_arn_of_an_instance(search, people):
    arn = f"arn:aws:connect:us-east-1:000000000000:instance/{people['instance']}"
    first = search(InstanceId=arn, MaxResults=2)
    rest = search(InstanceId=people["instance"], NextToken=first["NextToken"])
    assert sorted(found_names(people, first) + found_names(people, rest)) == [ANNA, BEN, STRASSE]


def test_a_search_sees_all_earlier_changes(search, connect, instance_id, new_address):
    changed = new_address(DisplayName="before")
    both = {"InstanceId": instance_id, "EmailAddressId": changed}
    connect.update_email_address_metadata(**both, DisplayName="after")
    assert ids(search(SearchCriteria=text("displayName", "EXACT", "before"))) == []
    assert ids(search(SearchCriteria=text("displayName", "CONTAINS", "AFTE"))) == [changed]
    connect.delete_email_address(**both)
    assert ids(search()) == []


X = text("displayName", "CONTAINS", "x")
MANY_X = {"AndConditions": [X] * conditions.MAX_CONDITIONS}
REFUSED_CRITERIA = {
    "unknown field": (text("name", "EXACT", "x"), ["'name'", "emailAddress", "displayName", "description"]),
    "no field": ({"StringCondition": {"Value": "x", "ComparisonType": "EXACT"}}, ["StringCondition needs FieldName"]),
    "no value": ({"StringCondition": {"FieldName": "description", "ComparisonType": "EXACT"}}, ["needs Value"]),
    "no comparison": ({"StringCondition": {"FieldName": "description", "Value": "x"}}, ["needs ComparisonType"]),
    "empty condition": ({"StringCondition": {}}, ["FieldName", "Value", "ComparisonType"]),
    "unknown comparison": (text("description", "LIKE", "x"), ["STARTS_WITH", "comparisonType"]),
    "comparison in lower case": (text("description", "exact", "x"), ["EXACT"]),
    "two kinds": ({"AndConditions": [X], **X}, ["SearchCriteria", "AndConditions and StringCondition"]),
    "two lists": ({"AndConditions": [X], "OrConditions": [X]}, ["OrConditions and AndConditions"]),
    "two kinds inside": ({"OrConditions": [{"AndConditions": [X], **X}]}, ["AndConditions and StringCondition"]),
    "long value": (text("description", "CONTAINS", "a" * 4097), ["at most 4096 characters in its values, not 4097"]),
    "marks to fold": (
        text("description", "CONTAINS", "\u0301\u0316" * 10_000),
        ["at most 4096 characters in its values"],
    ),
    "too many": ({"AndConditions": [X] * 101}, ["at most 100 conditions, not 101"]),
}
REFUSED_FILTERS = {
    "no key": ({"TagCondition": {"TagValue": "x"}}, ["TagCondition needs TagKey"]),
    "no key in a list": ({"AndConditions": [{"TagValue": "x"}]}, ["TagKey"]),
    "no key in an alternative": ({"OrConditions": [[{}]]}, ["TagKey"]),
    "two kinds": ({"AndConditions": [tag("a")], "TagCondition": tag("a")}, ["TagFilter", "TagCondition"]),
    "two lists": ({"AndConditions": [tag("a")], "OrConditions": [[tag("a")]]}, ["OrConditions and AndConditions"]),
    "too many": ({"OrConditions": [[tag("a")] * 51] * 2}, ["at most 100 conditions"]),
    "too long": ({"TagCondition": tag("a", "x" * 4096)}, ["at most 4096 characters in its values, not 4097"]),
}


@pytest.mark.parametrize(("criteria", "says"), REFUSED_CRITERIA.values(), ids=REFUSED_CRITERIA)
def test_invalid_criteria_are_refused(refused, criteria, says):
    message = refused(SearchCriteria=criteria)
    assert all(words in message for words in says), message


@pytest.mark.parametrize(("tag_filter", "says"), REFUSED_FILTERS.values(), ids=REFUSED_FILTERS)
def test_an_invalid_filter_is_refused(refused, tag_filter, says):
    message = refused(SearchFilter={"TagFilter": tag_filter})
    assert all(words in message for words in says), message


def test_criteria_and_filter_are_counted_together(search, refused):
    assert search(SearchCriteria=MANY_X)["ApproximateTotalCount"] == 0
    assert "not 101" in refused(SearchCriteria=MANY_X, SearchFilter={"TagFilter": {"TagCondition": tag("a")}})


def deep(kinds, levels):
    criteria = X
    for kind in kinds[:levels]:
        criteria = {kind: [criteria, X]}
    return criteria


@pytest.mark.parametrize("kinds", [["AndConditions"], ["OrConditions"], ["OrConditions", "AndConditions"]])
def test_criteria_may_be_ten_levels_deep(search, refused, kinds):
    criteria = [deep(kinds * levels, levels) for levels in (10, 11)]
    assert search(SearchCriteria=criteria[0])["ApproximateTotalCount"] == 0
    assert "at most 10 levels of conditions, not 11" in refused(SearchCriteria=criteria[1])


EMPTY_CONDITIONS = {
    "alternatives": {"SearchCriteria": {"OrConditions": [{}] * 2_000}},
    "tags": {"SearchFilter": {"TagFilter": {"OrConditions": [[]] * 2_000}}},
}


@pytest.mark.parametrize("members", EMPTY_CONDITIONS.values(), ids=EMPTY_CONDITIONS)
def test_thousands_of_empty_conditions_do_not_cause_an_internal_error(connect, instance_id, members):
    try:
        status = connect.search_email_addresses(InstanceId=instance_id, **members)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    assert status in (200, 400)


def test_the_error_message_names_a_missing_instance(refused):
    assert MISSING_ID in refused(("ResourceNotFoundException", 404), InstanceId=MISSING_ID)


@pytest.mark.parametrize("size", [0, -1, 101])
def test_the_page_size_is_between_one_and_a_hundred(refused, size):
    assert "maxResults" in refused(MaxResults=size)


def add_addresses(server, instance_id, count):
    """Add email addresses to the store of a running server in one transaction; return their ids."""
    made = [str(uuid.uuid4()) for _ in range(count)]

    def add(tx):
        for number, email_address_id in enumerate(made):
            new = an_email_address(email_address_id, instance_id)
            tx.add_email_address(replace(new, display_name=f"Number {number}"), {})

    direct_writes.write(server.data, add)
    return made


@pytest.fixture
def hundred_and_one(server, instance_id):
    return add_addresses(server, instance_id, 101)


def test_the_default_page_size_is_a_hundred(search, hundred_and_one):
    first = search()
    assert len(first["EmailAddresses"]) == 100
    assert first["ApproximateTotalCount"] == 101
    rest = search(NextToken=first["NextToken"])
    assert ids(first) + ids(rest) == hundred_and_one
    assert (rest["ApproximateTotalCount"], "NextToken" in rest) == (101, False)
    assert len(search(MaxResults=100)["EmailAddresses"]) == 100
    assert len(search(MaxResults=1)["EmailAddresses"]) == 1


def test_a_full_last_page_has_no_page_token(search, new_address):
    made = [new_address() for _ in range(4)]
    first = search(MaxResults=2)
    second = search(MaxResults=2, NextToken=first["NextToken"])
    assert ids(first) + ids(second) == made
    assert "NextToken" not in second


def test_a_page_token_can_be_used_with_another_page_size(search, hundred_and_one):
    pages = [search(MaxResults=1)]
    for size in (2, 50, 100):
        pages.append(search(MaxResults=size, NextToken=pages[-1]["NextToken"]))
    assert [found for page in pages for found in ids(page)] == hundred_and_one


@pytest.fixture
def token(search, new_address):
    for _ in range(2):
        new_address(DisplayName="Name", Tags={"a": "b"})
    return search(MaxResults=1)["NextToken"]


def changed_in_one_character(token, letters):
    for place, letter in enumerate(token):
        for other in letters:
            if other != letter:
                yield f"{token[:place]}{other}{token[place + 1 :]}"


CUT_OR_LONGER = {
    "cut": lambda token: token[:-1],
    "cut at the front": lambda token: token[1:],
    "longer": lambda token: f"{token}A",
    "leading space": lambda token: f" {token}",
    "line end": lambda token: f"{token}\n",
    "lower case": str.lower,
    "twice": lambda token: token * 2,
}


@pytest.mark.parametrize("change", CUT_OR_LONGER.values(), ids=CUT_OR_LONGER)
def test_a_page_token_that_was_cut_or_extended_is_refused(refused, token, change):
    assert "NextToken" in refused(NextToken=change(token))


def test_a_page_token_with_a_changed_character_is_refused(refused, token):
    for changed in changed_in_one_character(token[:-4], "A"):
        assert "NextToken" in refused(NextToken=changed + token[-4:])


def is_accepted(tokens, token):
    try:
        return tokens.read(token, query=b"q") is not None
    except errors.Invalid:
        return False


def test_a_page_token_is_accepted_in_only_one_spelling():
    tokens, letters = PageTokens(b"k" * 32), f"{string.ascii_letters}{string.digits}-_+/=."
    for place in ("a", "ab", "abc", '["ü~~~", 1]', '["???>>>", 123]'):
        token = tokens.make(place, query=b"q")
        assert is_accepted(tokens, token)
        others = [f"{token}=", f"{token}==", *changed_in_one_character(token, letters)]
        assert [changed for changed in others if is_accepted(tokens, changed)] == []


@pytest.mark.parametrize("nonsense", ["", "x", "%%%%", "ü", "\N{GRINNING FACE}" * 100, "A" * 2501, "A" * 2500])
def test_a_text_that_is_not_a_page_token_is_refused(refused, nonsense):
    assert "nextToken" in refused(NextToken=nonsense).replace("NextToken", "nextToken")


OTHER_QUERIES = {
    "criteria": {"SearchCriteria": text("displayName", "EXACT", "Name")},
    "empty criteria with a list": {"SearchCriteria": {"AndConditions": [text("displayName", "EXACT", "Name")]}},
    "filter": {"SearchFilter": {"TagFilter": {"TagCondition": tag("a", "b")}}},
}


@pytest.mark.parametrize("members", OTHER_QUERIES.values(), ids=OTHER_QUERIES)
def test_a_page_token_is_valid_only_for_its_search(search, refused, token, members):
    assert "NextToken" in refused(NextToken=token, **members)
    own = search(MaxResults=1, **members)["NextToken"]
    assert "NextToken" in refused(NextToken=own)
    assert len(ids(search(NextToken=own, **members))) == 1


def test_a_page_token_is_valid_only_for_its_instance(refused, token, new_instance):
    assert "NextToken" in refused(NextToken=token, InstanceId=new_instance())


def test_a_page_token_is_valid_only_in_its_region(new_client, refusal, token):
    elsewhere = new_client(region_name="eu-west-1")
    settings = {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": False}
    members = {"InstanceId": elsewhere.create_instance(**settings)["Id"], "NextToken": token}
    assert "NextToken" in refusal(*INVALID, elsewhere.search_email_addresses, **members)


def test_a_page_token_is_valid_only_for_its_operation(connect, refusal, refused, token, new_instance):
    assert "NextToken" in refusal(*INVALID_REQUEST, connect.list_instances, NextToken=token)
    new_instance()
    of_a_list = connect.list_instances(MaxResults=1)["NextToken"]
    assert "NextToken" in refused(NextToken=of_a_list)


@pytest.mark.slow
def test_pages_are_complete_beyond_the_counted_number_while_addresses_are_created_and_deleted(
    server, search, new_client, new_instance
):
    large_instance = new_instance()
    stay = add_addresses(server, large_instance, COUNTED + 1)
    done = threading.Event()
    deleted = []

    def disturb():
        client = new_client()
        while not done.is_set():
            address = f"{uuid.uuid4().hex}@waypost.example"
            made = client.create_email_address(InstanceId=large_instance, EmailAddress=address)["EmailAddressId"]
            client.delete_email_address(InstanceId=large_instance, EmailAddressId=made)
            deleted.append(made)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        page = search(InstanceId=large_instance)
        found = ids(page)
        while "NextToken" in page:
            assert (len(page["EmailAddresses"]), page["ApproximateTotalCount"]) == (100, COUNTED)
            page = search(InstanceId=large_instance, NextToken=page["NextToken"])
            found += ids(page)
    finally:
        done.set()
        thread.join()
    assert deleted
    assert len(found) == len(set(found))
    assert [each for each in found if each not in set(deleted)] == stay


def test_a_newly_created_address_is_found(search, new_address):
    began = datetime.now(UTC)
    made = new_address(DisplayName=f"At {began}")
    assert ids(search(SearchCriteria=text("displayName", "EXACT", f"at {began}"))) == [made]
