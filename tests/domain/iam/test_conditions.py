"""Tests of every condition operator, with values that the request has or lacks."""

import pytest

from tests.domain.iam.asking_policies import a_statement, decide
from waypost.domain.iam import keys, operands

OWNER, SIZE = "aws:ResourceTag/owner", "aws:RequestTag/size"
USER, CALLER = "aws:username", "aws:PrincipalArn"
FROM, NOW, TLS = "aws:SourceIp", "aws:CurrentTime", "aws:SecureTransport"
ARN = "arn:aws:connect:us-east-1:000000000000:instance/i-1"

# Each row has the operator, the key, the values in the policy, the context of the request, and the expected result.
CONDITIONS = [
    ("StringEquals", USER, "ann", {USER: "ann"}, True),
    ("StringEquals", USER, "ann", {USER: "Ann"}, False),
    ("StringEquals", USER, "ann", {USER: "anna"}, False),
    ("StringEquals", USER, "a*", {USER: "ann"}, False),
    ("StringEquals", USER, "a*", {USER: "a*"}, True),
    ("StringEquals", USER, "", {USER: ""}, True),
    ("StringEquals", USER, ["bob", "ann"], {USER: "ann"}, True),
    ("StringEquals", USER, ["bob", "eve"], {USER: "ann"}, False),
    ("StringEquals", USER, "ann", {}, False),
    ("StringEquals", "AWS:UserName", "ann", {USER: "ann"}, True),
    ("StringEquals", SIZE, 10, {SIZE: "10"}, True),
    ("StringEquals", SIZE, 10.50, {SIZE: "10.5"}, True),
    ("StringEquals", "aws:RequestTag/big", True, {"aws:RequestTag/big": "true"}, True),
    ("StringEquals", "aws:RequestTag/big", [False, "no"], {"aws:RequestTag/big": "false"}, True),
    ("StringNotEquals", USER, "ann", {USER: "bob"}, True),
    ("StringNotEquals", USER, "ann", {USER: "ann"}, False),
    ("StringNotEquals", USER, ["bob", "ann"], {USER: "ann"}, False),
    ("StringNotEquals", USER, ["bob", "ann"], {USER: "eve"}, True),
    ("StringNotEquals", USER, "ann", {}, True),
    ("StringEqualsIgnoreCase", USER, "ANN", {USER: "Ann"}, True),
    ("StringEqualsIgnoreCase", USER, "ANN", {USER: "Anna"}, False),
    ("StringEqualsIgnoreCase", USER, "STRASSE", {USER: "straße"}, False),
    ("StringEqualsIgnoreCase", USER, "ÄNN", {USER: "änn"}, True),
    ("StringNotEqualsIgnoreCase", USER, "ANN", {USER: "Ann"}, False),
    ("StringNotEqualsIgnoreCase", USER, "ANN", {USER: "Bob"}, True),
    ("StringLike", USER, "a*", {USER: "ann"}, True),
    ("StringLike", USER, "a*", {USER: "a"}, True),
    ("StringLike", USER, "a*", {USER: "Ann"}, False),
    ("StringLike", USER, "a?n", {USER: "ann"}, True),
    ("StringLike", USER, "a?", {USER: "ann"}, False),
    ("StringLike", USER, "a?", {USER: "a"}, False),
    ("StringLike", USER, "*n*n", {USER: "nann"}, True),
    ("StringLike", USER, "*n*n", {USER: "na"}, False),
    ("StringLike", USER, "a*b*c", {USER: "a-b-b-c"}, True),
    ("StringLike", USER, "a**c", {USER: "ac"}, True),
    ("StringLike", USER, "*ab*abc", {USER: "ab-ab-abc"}, True),
    ("StringLike", USER, "a.c", {USER: "abc"}, False),
    ("StringLike", USER, "[a-z]nn", {USER: "ann"}, False),
    ("StringLike", USER, "a*n", {USER: "a\nn"}, True),
    ("StringLike", USER, "*", {USER: ""}, True),
    ("StringLike", USER, "*", {}, False),
    ("StringNotLike", USER, "a*", {USER: "bob"}, True),
    ("StringNotLike", USER, ["a*", "b*"], {USER: "bob"}, False),
    ("StringNotLike", USER, "*", {}, True),
    # Variables, in version 2012-10-17.
    ("StringEquals", OWNER, "${aws:username}", {OWNER: "ann", USER: "ann"}, True),
    ("StringEquals", OWNER, "${aws:username}", {OWNER: "ann", USER: "bob"}, False),
    ("StringEquals", OWNER, "${aws:username}", {OWNER: "ann"}, False),
    ("StringEquals", OWNER, ["${aws:username}", "ann"], {OWNER: "ann"}, True),
    ("StringEquals", OWNER, "${aws:username}", {OWNER: "", USER: ""}, True),
    ("StringEquals", OWNER, "x-${AWS:UserName}-y", {OWNER: "x-ann-y", USER: "ann"}, True),
    ("StringEquals", OWNER, "${aws:username, 'all'}", {OWNER: "all"}, True),
    ("StringEquals", OWNER, "${aws:username, 'all'}", {OWNER: "all", USER: "ann"}, False),
    ("StringEquals", OWNER, "${aws:username, ''}", {OWNER: ""}, True),
    ("StringEquals", OWNER, "${aws:TagKeys}", {OWNER: "a", "aws:TagKeys": ["a"]}, False),
    ("StringEquals", OWNER, "${aws:TagKeys, 'a'}", {OWNER: "a", "aws:TagKeys": ["b"]}, True),
    ("StringEquals", OWNER, "${aws:x}", {OWNER: "a", "aws:x": ["a", "a"]}, False),
    ("StringEquals", OWNER, "${*}${?}${$}", {OWNER: "*?$"}, True),
    ("StringNotEquals", OWNER, "${aws:username}", {OWNER: "ann", USER: "ann"}, False),
    ("StringNotEquals", OWNER, "${aws:username}", {OWNER: "ann"}, True),
    ("StringLike", OWNER, "${aws:username}-*", {OWNER: "ann-1", USER: "ann"}, True),
    ("StringLike", OWNER, "${aws:username}-*", {OWNER: "-1"}, False),
    ("StringLike", OWNER, "${aws:username}", {OWNER: "ann", USER: "*"}, False),
    ("StringLike", OWNER, "${*}*", {OWNER: "*ann"}, True),
    ("StringLike", OWNER, "${*}*", {OWNER: "ann"}, False),
    ("StringLike", OWNER, "${?}", {OWNER: "a"}, False),
    ("StringNotLike", OWNER, "${aws:username}*", {OWNER: "ann"}, True),
    # Numbers.
    ("NumericEquals", SIZE, "10", {SIZE: "10.0"}, True),
    ("NumericEquals", SIZE, "0.1", {SIZE: "0.10"}, True),
    ("NumericEquals", SIZE, "9007199254740993", {SIZE: "9007199254740992"}, False),
    ("NumericEquals", SIZE, -1, {SIZE: "-1"}, True),
    ("NumericEquals", SIZE, "10", {SIZE: "ten"}, False),
    ("NumericEquals", SIZE, "10", {SIZE: "10x"}, False),
    ("NumericEquals", SIZE, "10", {SIZE: "1e1"}, False),
    ("NumericEquals", SIZE, "10", {}, False),
    ("NumericNotEquals", SIZE, "10", {SIZE: "11"}, True),
    ("NumericNotEquals", SIZE, "10", {SIZE: "10.0"}, False),
    ("NumericNotEquals", SIZE, "10", {SIZE: "ten"}, True),
    ("NumericLessThan", SIZE, "10", {SIZE: "9.5"}, True),
    ("NumericLessThan", SIZE, "10", {SIZE: "10"}, False),
    ("NumericLessThan", SIZE, "10", {SIZE: "few"}, False),
    ("NumericLessThanEquals", SIZE, "10", {SIZE: "10"}, True),
    ("NumericLessThanEquals", SIZE, "10", {SIZE: "10.1"}, False),
    ("NumericGreaterThan", SIZE, "10", {SIZE: "100"}, True),
    ("NumericGreaterThan", SIZE, "10", {SIZE: "10"}, False),
    ("NumericGreaterThanEquals", SIZE, "10", {SIZE: "10"}, True),
    ("NumericGreaterThanEquals", SIZE, ["10", "5"], {SIZE: "6"}, True),
    ("NumericGreaterThanEquals", SIZE, "10", {SIZE: "-10"}, False),
    # Dates.
    ("DateEquals", NOW, "2027-01-01T00:00:00Z", {NOW: "2027-01-01T01:00:00+01:00"}, True),
    ("DateEquals", NOW, "2027-01-01T00:00:00Z", {NOW: "2026-12-31T16:30:00-07:30"}, True),
    ("DateEquals", NOW, "2027-01-01", {NOW: "2027-01-01T00:00Z"}, True),
    ("DateEquals", NOW, "2027-01", {NOW: "2027-01-01T00:00:00.000Z"}, True),
    ("DateEquals", NOW, "1798761600", {NOW: "2027-01-01T00:00:00Z"}, True),
    ("DateEquals", NOW, 1798761600, {NOW: "1798761600"}, True),
    ("DateEquals", NOW, "-1", {NOW: "1969-12-31T23:59:59Z"}, True),
    ("DateEquals", NOW, "2027-01-01T00:00:00.5Z", {NOW: "2027-01-01T00:00:00.500Z"}, True),
    ("DateEquals", NOW, "2027-01-01T00:00:00.123456Z", {NOW: "2027-01-01T00:00:00.123456789Z"}, True),
    ("DateEquals", NOW, "2027-01-01", {NOW: "today"}, False),
    ("DateEquals", NOW, "2027-01-01", {NOW: "2027-13-01"}, False),
    ("DateNotEquals", NOW, "2027-01-01", {NOW: "2027-01-02"}, True),
    ("DateNotEquals", NOW, "2027-01-01", {NOW: "2027-01-01"}, False),
    ("DateNotEquals", NOW, "2027-01-01", {NOW: "never"}, True),
    ("DateLessThan", NOW, "2027-01-01", {NOW: "2026-12-31T23:59:59.999Z"}, True),
    ("DateLessThan", NOW, "2027-01-01", {NOW: "2027-01-01"}, False),
    ("DateLessThan", NOW, "2027-01-01", {NOW: "0"}, True),
    ("DateLessThanEquals", NOW, "2027-01-01", {NOW: "2027-01-01"}, True),
    ("DateLessThanEquals", NOW, "2027-01-01", {NOW: "2027-01-02"}, False),
    ("DateGreaterThan", NOW, "2027-01-01", {NOW: "2027-01-01T00:00:00.000001Z"}, True),
    ("DateGreaterThan", NOW, "2027-01-01", {NOW: "2027-01-01"}, False),
    ("DateGreaterThanEquals", NOW, "2027-01-01", {NOW: "2027-01-01"}, True),
    ("DateGreaterThanEquals", NOW, "2027-01-01", {NOW: "2026-12-31"}, False),
    # Booleans and bytes.
    ("Bool", TLS, "true", {TLS: "true"}, True),
    ("Bool", TLS, "TRUE", {TLS: "True"}, True),
    ("Bool", TLS, False, {TLS: "false"}, True),
    ("Bool", TLS, "true", {TLS: "false"}, False),
    ("Bool", TLS, "true", {TLS: "yes"}, False),
    ("Bool", TLS, "false", {}, False),
    ("Bool", TLS, "${aws:x}", {TLS: "true", "aws:x": "true"}, True),
    ("Bool", TLS, "${aws:x}", {TLS: "maybe", "aws:x": "maybe"}, False),
    ("Bool", TLS, "${aws:x}", {TLS: "true"}, False),
    ("BinaryEquals", "aws:blob", "QmluYXJ5", {"aws:blob": "QmluYXJ5"}, True),
    ("BinaryEquals", "aws:blob", "QmluYXJ5", {"aws:blob": "QmluYXI="}, False),
    ("BinaryEquals", "aws:blob", "QmluYXJ5", {"aws:blob": "Binary"}, False),
    ("BinaryEquals", "aws:blob", "QmluYXJ5", {"aws:blob": "nö"}, False),
    ("BinaryEquals", "aws:blob", "QmluYXJ5", {}, False),
    # Addresses.
    ("IpAddress", FROM, "192.0.2.0/24", {FROM: "192.0.2.255"}, True),
    ("IpAddress", FROM, "192.0.2.0/24", {FROM: "192.0.3.0"}, False),
    ("IpAddress", FROM, "192.0.2.77/24", {FROM: "192.0.2.1"}, True),
    ("IpAddress", FROM, "192.0.2.1", {FROM: "192.0.2.1"}, True),
    ("IpAddress", FROM, "192.0.2.1", {FROM: "192.0.2.2"}, False),
    ("IpAddress", FROM, "0.0.0.0/0", {FROM: "198.51.100.7"}, True),
    ("IpAddress", FROM, "0.0.0.0/0", {FROM: "2001:db8::1"}, False),
    ("IpAddress", FROM, "2001:db8::/32", {FROM: "2001:DB8:0:0::1"}, True),
    ("IpAddress", FROM, "2001:db8::1", {FROM: "2001:db8:0::1"}, True),
    ("IpAddress", FROM, "2001:db8::/32", {FROM: "192.0.2.1"}, False),
    ("IpAddress", FROM, "192.0.2.0/24", {FROM: "::ffff:192.0.2.1"}, True),
    ("IpAddress", FROM, "192.0.2.0/24", {FROM: "::ffff:198.51.100.7"}, False),
    ("IpAddress", FROM, "::ffff:192.0.2.0/120", {FROM: "192.0.2.1"}, True),
    ("IpAddress", FROM, "::ffff:192.0.2.0/120", {FROM: "::ffff:192.0.2.1"}, True),
    ("IpAddress", FROM, "::ffff:192.0.2.1", {FROM: "192.0.2.1"}, True),
    ("NotIpAddress", FROM, "::ffff:192.0.2.0/120", {FROM: "192.0.2.1"}, False),
    ("IpAddress", FROM, "::ffff:192.0.2.0/120", {FROM: "198.51.100.7"}, False),
    ("IpAddress", FROM, "::/0", {FROM: "::ffff:192.0.2.1"}, True),
    ("IpAddress", FROM, "::ffff:0.0.0.0/96", {FROM: "192.0.2.1"}, True),
    ("IpAddress", FROM, "::ffff:0.0.0.0/95", {FROM: "::ffff:192.0.2.1"}, True),
    ("IpAddress", FROM, ["192.0.2.0/24", "2001:db8::/32"], {FROM: "2001:db8::1"}, True),
    ("IpAddress", FROM, "192.0.2.0/24", {FROM: "localhost"}, False),
    ("IpAddress", FROM, "192.0.2.0/24", {}, False),
    ("NotIpAddress", FROM, "192.0.2.0/24", {FROM: "198.51.100.7"}, True),
    ("NotIpAddress", FROM, "192.0.2.0/24", {FROM: "192.0.2.1"}, False),
    ("NotIpAddress", FROM, ["192.0.2.0/24", "2001:db8::/32"], {FROM: "192.0.2.1"}, False),
    ("NotIpAddress", FROM, "192.0.2.0/24", {FROM: "2001:db8::1"}, True),
    ("NotIpAddress", FROM, "192.0.2.0/24", {FROM: "localhost"}, True),
    ("NotIpAddress", FROM, "192.0.2.0/24", {}, True),
    # ARNs.
    ("ArnEquals", CALLER, ARN, {CALLER: ARN}, True),
    ("ArnEquals", CALLER, "arn:aws:connect:*:000000000000:instance/*", {CALLER: ARN}, True),
    ("ArnLike", CALLER, "arn:*:connect:us-*-1:????????????:instance/i-?", {CALLER: ARN}, True),
    ("ArnLike", CALLER, "arn:aws:connect:us-east-1:000000000000:Instance/*", {CALLER: ARN}, False),
    ("ArnLike", CALLER, "arn:aws:connect:*:instance/i-1:*", {CALLER: ARN}, False),
    ("ArnLike", CALLER, "arn:aws:s:*:1:f/*", {CALLER: "arn:aws:s:us:9:store/abc:1:f/x"}, False),
    ("ArnLike", CALLER, "arn:aws:s:?:1:f", {CALLER: "arn:aws:s:::1:f"}, False),
    ("ArnLike", CALLER, "arn:aws:s:::a*c", {CALLER: "arn:aws:s:::a:b:c"}, True),
    ("ArnLike", CALLER, "arn:aws:iam::0:user/${aws:username}", {CALLER: "arn:aws:iam::0:user/ann", USER: "ann"}, True),
    ("ArnLike", CALLER, "arn:aws:iam::${aws:x}:user/*", {CALLER: "arn:aws:iam::0:user/ann", "aws:x": "0"}, True),
    ("ArnLike", CALLER, "arn:aws:iam::${aws:x}:user/*", {CALLER: "arn:aws:iam::0:user/ann"}, False),
    ("ArnLike", CALLER, "arn:aws:iam::*:*", {CALLER: "ann"}, False),
    ("ArnLike", CALLER, "arn:aws:iam::*:*", {}, False),
    ("ArnNotEquals", CALLER, ARN, {CALLER: ARN}, False),
    ("ArnNotEquals", CALLER, ARN, {CALLER: f"{ARN}0"}, True),
    ("ArnNotLike", CALLER, "arn:aws:connect:*:*:*", {CALLER: ARN}, False),
    ("ArnNotLike", CALLER, "arn:aws:iam:*:*:*", {CALLER: ARN}, True),
    ("ArnNotLike", CALLER, "arn:aws:iam:*:*:*", {CALLER: "ann"}, True),
    # Null.
    ("Null", "aws:TokenIssueTime", "true", {}, True),
    ("Null", "aws:TokenIssueTime", "true", {"aws:TokenIssueTime": "2027-01-01"}, False),
    ("Null", "aws:TokenIssueTime", False, {"aws:TokenIssueTime": "2027-01-01"}, True),
    ("Null", "aws:TokenIssueTime", "False", {}, False),
    ("Null", "aws:TokenIssueTime", ["true", "false"], {}, True),
    ("Null", "aws:RequestTag/team", "false", {"aws:RequestTag/team": ""}, True),
    ("Null", "aws:TagKeys", "true", {"aws:TagKeys": []}, True),
    ("Null", "aws:TagKeys", "false", {"aws:TagKeys": ["a", "b"]}, True),
    ("ForAllValues:Null", "aws:TagKeys", "false", {"aws:TagKeys": ["a", "b"]}, True),
    # IfExists.
    ("StringEqualsIfExists", USER, "ann", {}, True),
    ("StringEqualsIfExists", USER, "ann", {USER: "ann"}, True),
    ("StringEqualsIfExists", USER, "ann", {USER: "bob"}, False),
    ("StringNotEqualsIfExists", USER, "ann", {}, True),
    ("StringNotEqualsIfExists", USER, "ann", {USER: "ann"}, False),
    ("NumericLessThanIfExists", SIZE, "10", {}, True),
    ("DateLessThanIfExists", "aws:TokenIssueTime", "2027-01-01", {"aws:TokenIssueTime": "2028-01-01"}, False),
    ("BoolIfExists", "aws:MultiFactorAuthPresent", "true", {}, True),
    ("IpAddressIfExists", FROM, "192.0.2.0/24", {}, True),
    ("StringEqualsIfExists", USER, "${aws:x}", {USER: "ann"}, False),
    # Keys with several values.
    ("ForAnyValue:StringEquals", "aws:TagKeys", ["team", "cost"], {"aws:TagKeys": ["owner", "cost"]}, True),
    ("ForAnyValue:StringEquals", "aws:TagKeys", ["team", "cost"], {"aws:TagKeys": ["owner"]}, False),
    ("ForAnyValue:StringEquals", "aws:TagKeys", ["team"], {}, False),
    ("ForAnyValue:StringEquals", "aws:TagKeys", ["team"], {"aws:TagKeys": []}, False),
    ("ForAnyValue:StringEqualsIfExists", "aws:TagKeys", ["team"], {}, False),
    ("ForAnyValue:StringNotEquals", "aws:TagKeys", ["team"], {"aws:TagKeys": ["team", "cost"]}, True),
    ("ForAnyValue:StringNotEquals", "aws:TagKeys", ["team", "cost"], {"aws:TagKeys": ["team", "cost"]}, False),
    ("ForAnyValue:StringNotEquals", "aws:TagKeys", ["team"], {}, False),
    ("ForAnyValue:StringLike", "aws:TagKeys", "cost*", {"aws:TagKeys": ["team", "cost-center"]}, True),
    ("ForAnyValue:StringEquals", USER, "ann", {USER: "ann"}, True),
    ("ForAllValues:StringEquals", "aws:TagKeys", ["team", "cost"], {"aws:TagKeys": ["cost", "team"]}, True),
    ("ForAllValues:StringEquals", "aws:TagKeys", ["team", "cost"], {"aws:TagKeys": ["cost"]}, True),
    ("ForAllValues:StringEquals", "aws:TagKeys", ["team"], {"aws:TagKeys": ["cost", "team"]}, False),
    ("ForAllValues:StringEquals", "aws:TagKeys", ["team"], {}, True),
    ("ForAllValues:StringEquals", "aws:TagKeys", ["team"], {"aws:TagKeys": []}, True),
    ("ForAllValues:StringNotLike", "aws:TagKeys", "key1*", {"aws:TagKeys": ["key1:legal"]}, False),
    ("ForAllValues:StringNotLike", "aws:TagKeys", "key1*", {"aws:TagKeys": ["key1:hr", "key2:audit"]}, False),
    ("ForAllValues:StringNotLike", "aws:TagKeys", "key1*", {"aws:TagKeys": ["key2:audit"]}, True),
    ("ForAllValues:StringNotLike", "aws:TagKeys", "key1*", {}, True),
    ("StringEquals", "aws:TagKeys", "team", {"aws:TagKeys": ["team"]}, False),
    ("StringNotEquals", "aws:TagKeys", "team", {"aws:TagKeys": ["cost"]}, False),
    ("StringEquals", "aws:TagKeys", "team", {}, False),
    ("StringNotEquals", "aws:TagKeys", "team", {}, True),
    # Conditions compare tag keys without case, and tag values with case.
    ("StringEquals", "aws:ResourceTag/Team", "a", {"aws:ResourceTag/team": "a"}, True),
    ("StringEquals", "aws:resourcetag/Team", "A", {"aws:ResourceTag/Team": "a"}, False),
    ("StringEquals", "aws:RequestTag/Cost Center: 1/2", "a", {"aws:RequestTag/Cost Center: 1/2": "a"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "key", "values", "context", "holds"), CONDITIONS, ids=repr)
def test_a_condition_decides_whether_its_statement_applies(operator, key, values, context, holds):
    condition = {operator: {key: values}}
    assert decide(a_statement(Condition=condition), context=context) == ("allowed" if holds else "implicit deny")
    denied = decide(a_statement(), a_statement("Deny", Condition=condition), context=context)
    assert denied == ("explicit deny" if holds else "allowed")


@pytest.mark.parametrize("operator", ["StringEquals", "StringNotEquals", "StringLikeIfExists", "NumericLessThan"])
@pytest.mark.parametrize("values", [["a", "b"], ["b", "c"], ["a", "a"]])
def test_if_the_caller_chose_several_values_a_deny_applies_and_an_allow_does_not(operator, values):
    condition, context = {operator: {"aws:x": "1"}}, {"aws:x": values}
    assert decide(a_statement(Condition=condition), context=context) == "implicit deny"
    assert decide(a_statement(), a_statement("Deny", Condition=condition), context=context) == "explicit deny"


def test_all_operators_and_all_keys_of_a_condition_must_match():
    condition = {
        "StringEquals": {USER: "ann", "connect:InstanceId": ["i-1", "i-2"]},
        "Bool": {TLS: "true"},
    }
    matching = {USER: "ann", "connect:InstanceId": "i-2", TLS: "true"}
    assert decide(a_statement(Condition=condition), context=matching) == "allowed"
    for key, value in {USER: "bob", "connect:InstanceId": "i-3", TLS: "false"}.items():
        assert decide(a_statement(Condition=condition), context=matching | {key: value}) == "implicit deny"


def test_a_statement_with_an_empty_condition_always_applies():
    assert decide(a_statement(Condition={})) == "allowed"


def test_in_version_2008_a_variable_is_literal_text():
    condition = {"StringEquals": {USER: "${aws:username}"}, "StringLike": {USER: "${aws:*}"}}
    statement = a_statement(Condition=condition)
    assert decide(statement, context={USER: "ann"}, version="2008-10-17") == "implicit deny"
    assert decide(statement, context={USER: "${aws:username}"}, version="2008-10-17") == "allowed"


def test_the_comparison_of_a_long_value_with_many_wildcards_is_fast():
    condition = {"StringLike": {USER: "*a" * 30 + "b"}}
    assert decide(a_statement(Condition=condition), context={USER: "a" * 300}) == "implicit deny"


def test_lookups_get_the_key_name_in_lower_case_and_the_tag_key_unchanged():
    assert keys.read("AWS:ResourceTag/Team/A") == "aws:resourcetag/Team/A"


@pytest.mark.parametrize("text", ["2027-1-1", "2027-02-30", "2027-01-01T00:00:00", "2027-01-01T24:00Z", "",
                                  "2027-01-01T00:00+24:00", "0000-01-01", "1e9", "1" * 16, "٢٠٢٧-01-01"])  # fmt: skip
def test_an_invalid_date_is_parsed_as_none(text):
    assert operands.moment(text) is None


def test_a_year_alone_is_a_number_of_seconds():
    assert operands.moment("2027") == 2027 * 1_000_000
