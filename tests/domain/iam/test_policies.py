"""Tests of the policy parser: the documents that it accepts, and the messages for documents that it refuses."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.iam.asking_policies import a_document, a_statement
from waypost.domain import errors
from waypost.domain.iam import policies


def when(operator, key, values):
    return a_document(a_statement(Condition={operator: {key: values}}))


def about(resource, version="2012-10-17"):
    return a_document(a_statement(Resource=resource), version=version)


# Each row has a document, and a part of its error message.
REFUSED = [
    ("", "not valid JSON: Expecting value"),
    ("Allow", "not valid JSON: Expecting value"),
    ('{"Version": "2012-10-17",}', "not valid JSON"),
    ("[" * 5000, "JSON"),  # some Python versions report the nesting, and all others the missing end
    ("[]", "must be a JSON object"),
    ('"*"', "must be a JSON object"),
    ("null", "must be a JSON object"),
    ('{"Statement": NaN}', "JSON has no NaN"),
    ('{"Version": "2012-10-17", "Version": "2012-10-17"}', "'Version' twice"),
    ('{"Version": "2012-10-17", "Id": "a", "Id": "b"}', "'Id' twice in the same object"),
    (policies.ALLOW_ALL.replace('"Action"', '"Effect":"Deny","Action"'), "'Effect' twice in the same object"),
    (json.dumps({"Version": "2012-10-17", "Statement": [], "Comment": ""}), "unknown element, Comment"),
    (json.dumps({"version": "2012-10-17"}), "unknown element, version"),
    (a_document(a_statement(), version="2012-10-18"), "Version must be 2008-10-17 or 2012-10-17, not '2012-10-18'"),
    (a_document(a_statement(), version=20121017), "Version must be"),
    (a_document(a_statement(), version=None), "Version must be"),
    (json.dumps({"Id": 5, "Statement": [a_statement()]}), "Id must be a string"),
    (json.dumps({"Version": "2012-10-17"}), "has no Statement"),
    (a_document(), "has no Statement"),
    (a_document("Allow"), "Statement 1 must be a JSON object, not 'Allow'"),
    (a_document(a_statement(), []), "Statement 2 must be a JSON object"),
    (json.dumps({"Statement": "Allow"}), "Statement 1 must be a JSON object"),
    (a_document(a_statement(Sid="Read only")), "Statement 1: Sid may have only letters (A to Z, a to z)"),
    (a_document(a_statement(Sid="Grüße")), "Statement 1: Sid may have"),
    (a_document(a_statement(Sid=1)), "Statement 1: Sid may have"),
    (a_document(a_statement(Sid="A"), a_statement(), a_statement(Sid="A")), "3 has the same Sid 'A' as Statement 1"),
    (a_document(a_statement(Principal="*")), "Statement 1: Principal is not allowed in an identity policy"),
    (a_document(a_statement(NotPrincipal={"AWS": "*"})), "Statement 1: NotPrincipal is not allowed"),
    (a_document(a_statement(Actions="*")), "Statement 1: unknown element Actions"),
    (a_document(a_statement(effect=None)), "Statement 1: Effect is missing"),
    (a_document(a_statement(), a_statement("allow")), "Statement 2: Effect must be Allow or Deny, not 'allow'"),
    (a_document(a_statement(["Allow"])), "Statement 1: Effect must be Allow or Deny"),
    (a_document(a_statement({})), "Statement 1: Effect must be Allow or Deny"),
    # Actions.
    (a_document(a_statement(Action=None)), "Statement 1: the statement must have Action or NotAction"),
    (a_document(a_statement(Action="*", NotAction="*")), "Statement 1: Action and NotAction are mutually exclusive"),
    (a_document(a_statement(Action=[])), "Statement 1: Action is an empty list"),
    (a_document(a_statement(NotAction=[])), "Statement 1: NotAction is an empty list"),
    (a_document(a_statement(Action=1)), "Statement 1: Action must be a string or a list of strings, not '1'"),
    (a_document(a_statement(Action=["*", None])), "Action must be a string or a list of strings, not None"),
    (a_document(a_statement(NotAction={"*": "*"})), "Statement 1: NotAction must be a string"),
    (a_document(a_statement(Action="DescribeEmailAddress")), "'DescribeEmailAddress' must begin with a service prefix"),
    (a_document(a_statement(Action="**")), "'**' must begin with a service prefix"),
    (a_document(a_statement(Action="")), "'' must begin with a service prefix"),
    (a_document(a_statement(Action="con*:DescribeEmailAddress")), "must be one name without wildcards, such as"),
    (a_document(a_statement(Action="c?nnect:*")), "must be one name without wildcards, such as connect"),
    (a_document(a_statement(Action=":*")), "must be one name"),
    (a_document(a_statement(NotAction=["connect:Describe:Email"])), "must have one colon"),
    (a_document(a_statement(Action="connect:")), "followed by a name"),
    (a_document(a_statement(Action="connect:Describe EmailAddress")), "followed by a name"),
    # Resources.
    (a_document(a_statement(Resource=None)), "Statement 1: the statement must have Resource"),
    (a_document(a_statement(Resource="*", NotResource="*")), "1: Resource and NotResource are mutually exclusive"),
    (about([]), "Statement 1: Resource is an empty list"),
    (about([True]), "Statement 1: Resource must be a string or a list of strings, not True"),
    (about("instance/i-1"), "'instance/i-1' must be an ARN, or \"*\""),
    (about("**"), "must be an ARN"),
    (about(""), "must be an ARN"),
    (about("ARN:aws:connect:*:*:*"), "must be an ARN"),
    (about("arn:AWS:connect:*:*:*"), "must be an AWS partition such as aws, aws-cn or aws-us-gov"),
    (about("arn::connect:*:*:*"), "must be an AWS partition such as aws, aws-cn or aws-us-gov"),
    (about("arn:aws:*:*:*:*"), "must name its service"),
    (about("arn:aws:con?ect:*:*:*"), "must name its service"),
    (about("arn:aws::*:*:*"), "must name its service"),
    (about("arn:aws"), "must name its service"),
    (about("arn:aws:connect:*:${aws:PrincipalAccount}:*"), "can have variables only after its fifth colon"),
    (about("arn:aws:connect:*:*:instance/${aws:username"), "'${aws:username' has no closing brace"),
    (about("arn:aws:connect:*:*:instance/${}"), "'${}' is not a variable"),
    (about("arn:aws:connect:*:*:instance/${aws:username, nobody}"), "is not a variable"),
    (about("arn:aws:connect:*:*:instance/${ aws:username }"), "is not a variable"),
    (about("arn:aws:connect:*:*:instance/${username}"), "'username' must begin with a service prefix"),
    # Conditions.
    (a_document(a_statement(Condition=[])), "Statement 1: Condition must be a JSON object of operators"),
    (a_document(a_statement(Condition="aws:username")), "Condition must be a JSON object of operators"),
    (a_document(a_statement(Condition={"Bool": []})), "Statement 1: Condition Bool must be a JSON object"),
    (a_document(a_statement(Condition={"Bool": {}})), "with at least one key"),
    (when("StringEqual", "aws:username", "ann"), "1: Condition StringEqual, aws:username: there is no"),
    (when("stringequals", "aws:username", "ann"), "names of operators are case-sensitive, as in StringEquals"),
    (when("ForSomeValues:StringEquals", "aws:TagKeys", "a"), "there is no operator ForSomeValues:StringEquals"),
    (when("BoolIfexists", "aws:SecureTransport", "true"), "there is no operator BoolIfexists"),
    (when("NotBool", "aws:SecureTransport", "true"), "there is no operator NotBool"),
    (when("NullIfExists", "aws:username", "true"), "it cannot have IfExists"),
    (when("StringEquals", "username", "ann"), "'username' must begin with a service prefix"),
    (when("StringEquals", "aws:user name", "ann"), "'aws:user name' is not a condition key"),
    (when("StringEquals", "aws:usernäme", "ann"), "'aws:usernäme' is not a condition key"),
    (when("StringEquals", "aws:ResourceTag/", "ann"), "'aws:ResourceTag/' is not a condition key"),
    (when("StringEquals", "aws:username", []), "Condition StringEquals, aws:username is an empty list"),
    (when("StringEquals", "aws:username", None), "must be a string, a number, a boolean, or a list of such values"),
    (when("StringEquals", "aws:username", [["ann"]]), "or a list of such values, not ['ann']"),
    (when("StringEquals", "aws:username", "${aws:user name}"), "'${aws:user name}' is not a variable"),
    (when("StringLike", "aws:username", "${aws:username"), "has no closing brace"),
    (when("Null", "aws:username", "maybe"), "'maybe' is not true or false"),
    (when("Bool", "aws:SecureTransport", "1"), "'1' is not true or false"),
    (when("NumericEquals", "aws:x", "ten"), "'ten' is not a number"),
    (when("NumericEquals", "aws:x", "${aws:y}"), "'${aws:y}' is not a number"),
    (when("NumericLessThan", "aws:x", ["1", "1_000"]), "'1_000' is not a number"),
    (when("NumericLessThan", "aws:x", "٣"), "is not a number"),
    (when("DateLessThan", "aws:CurrentTime", "tomorrow"), "'tomorrow' is not a date, as in 2027-01-31T00:00:00Z"),
    (when("DateLessThan", "aws:CurrentTime", "2027"), "'2027' is not a date, as in 2027-01-31T00:00:00Z"),
    (when("DateLessThan", "aws:CurrentTime", "2027-02-30"), "'2027-02-30' is not a date"),
    (when("DateLessThan", "aws:CurrentTime", "2027-01-01*"), "is not a date"),
    (when("IpAddress", "aws:SourceIp", "192.0.2.0/33"), "'192.0.2.0/33' is not an IP address or range"),
    (when("IpAddress", "aws:SourceIp", "192.0.2.*"), "is not an IP address"),
    (when("IpAddress", "aws:SourceIp", "192.0.2"), "is not an IP address"),
    (when("NotIpAddress", "aws:SourceIp", "192.0.2.0/255.255.255.0"), "is not an IP address"),
    (when("NotIpAddress", "aws:SourceIp", "fe80::1%eth0"), "is not an IP address"),
    (when("BinaryEquals", "aws:x", "not base64"), "'not base64' is not base64"),
    (when("BinaryEquals", "aws:x", "QQ==!"), "'QQ==!' is not base64"),
    (when("BinaryEquals", "aws:x", "ä"), "is not base64"),
    (when("ArnLike", "aws:PrincipalArn", "*"), "'*' is not an ARN"),
    (when("ArnEquals", "aws:PrincipalArn", "arn:aws:iam::*"), "is not an ARN"),
    (when("ArnEquals", "aws:PrincipalArn", "urn:aws:iam::0:user/ann"), "is not an ARN"),
    (policies.ALLOW_ALL.replace('"Effect"', f'"Sid":"{"A" * 6100}","Effect"'), "the maximum is 6,144 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "message"), REFUSED, ids=lambda text: text[:100])
def test_a_document_that_iam_refuses_is_refused_with_the_place_of_the_error(document, message):
    with pytest.raises(errors.Invalid) as refusal:
        policies.parse(document)
    assert message in refusal.value.message
    assert len(refusal.value.message) < 300


ACCEPTED = [
    policies.ALLOW_ALL,
    json.dumps({"Statement": a_statement()}),
    json.dumps({"Version": "2008-10-17", "Id": "cd3ad3d9", "Statement": [a_statement(Sid="")]}),
    a_document(a_statement(Sid=""), a_statement(Sid=""), a_statement(Sid="Read2")),
    a_document(a_statement(Action="*:*")),
    a_document(a_statement(Action=["connect:*", "lex-v2.x:Get_?"])),
    a_document(a_statement(Condition={})),
    about("arn:aws-us-gov:connect"),
    about("arn:*:connect:*:*:*"),
    about("arn:aws:connect:::"),
    about("arn:aws:connect:*:*:a:b:${aws:PrincipalTag/a:b}"),
    about("arn:aws:connect:*:*:instance/${aws:username", version="2008-10-17"),
    about("arn:aws:connect:*:${aws:PrincipalAccount}:*", version="2008-10-17"),
    when("StringEquals", "oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE:sub", "a"),
    when("StringEquals", "aws:username", "${aws:username, 'a, b'}"),
    policies.ALLOW_ALL + " " * 10_000,
    policies.ALLOW_ALL.replace('"Effect"', f'"Sid":"{"A" * 6000}","Effect"'),
]  # fmt: skip


@pytest.mark.parametrize("document", ACCEPTED, ids=lambda text: text[:100])
def test_a_document_that_iam_accepts_is_accepted(document):
    assert policies.parse(document)


def test_a_policy_without_a_version_has_version_2008_and_no_variables():
    statement = a_statement(Condition={"StringEquals": {"aws:userid": "${aws:username}"}})
    assert policies.parse(json.dumps({"Statement": statement})).keys == {"aws:userid"}
    assert policies.parse(a_document(statement)).keys == {"aws:userid", "aws:username"}


def test_the_size_limit_is_exact_to_the_character():
    def of_size(size):
        rest = policies.ALLOW_ALL.replace('"Effect"', '"Sid":"","Effect"')
        return rest.replace('"Sid":""', f'"Sid":"{"A" * (size - len(rest))}"')

    assert policies.parse(of_size(6144))
    with pytest.raises(errors.Invalid, match="The policy has 6,145 characters without white space"):
        policies.parse(of_size(6145))


def test_a_long_value_is_cut_in_the_error_message():
    with pytest.raises(errors.Invalid, match=r"not 'AAA.*A…$") as refusal:
        policies.parse(a_document(a_statement("A" * 1000)))
    assert len(refusal.value.message) < 150


def test_a_policy_lists_the_keys_that_its_evaluation_may_need():
    policy = policies.parse(
        a_document(
            a_statement(Resource="arn:aws:connect:*:*:instance/${AWS:PrincipalTag/Team}"),
            a_statement("Deny", Condition={"Null": {"connect:InstanceId": "true"}}),
            a_statement(
                Condition={
                    "StringEquals": {"AWS:ResourceTag/Team": ["${aws:username}", "x"]},
                    "ArnLike": {"aws:SourceArn": "arn:aws:s3:::${aws:userid, 'x'}"},
                }
            ),
        )
    )
    assert policy.keys == {
        "aws:principaltag/Team", "connect:instanceid", "aws:resourcetag/Team", "aws:username", "aws:sourcearn",
        "aws:userid",
    }  # fmt: skip
    assert policy.mentions("aws:resourcetag/")
    assert policy.mentions("aws:principaltag/")
    assert not policy.mentions("aws:requesttag/")
    assert not policies.parse(policies.ALLOW_ALL).mentions("")


pieces = st.sampled_from([
    *'{}[]:,"*?$', '"Version"', '"2012-10-17"', '"Statement"', '"Effect"', '"Allow"', '"Action"', '"Resource"', '"*"',
    '"Condition"', '"StringLike"', '"aws:username"', '"${aws:username}"', "true", "1", "null", "\\ud800", " ",
    '{"Effect":"Allow","Action":"*","Resource":"*"}',
])  # fmt: skip
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["*", "Allow", "a:b", "${a:b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
elements = st.sampled_from(["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "x"])
conditions = st.dictionaries(
    st.sampled_from(["StringLike", "ArnLike", "DateEquals", "NumericEquals", "IpAddress", "BinaryEquals", "Bool", "x"]),
    st.dictionaries(st.sampled_from(["aws:x", "a", "aws:y/z"]), json_values, max_size=2),
    max_size=2,
)
statements = st.builds(
    lambda base, changes: base | changes,
    st.just(a_statement()) | st.just({}),
    st.dictionaries(elements, json_values | conditions, max_size=2),
)


@given(
    st.text() | st.lists(pieces).map("".join) | st.lists(statements, max_size=2).map(lambda found: a_document(*found))
)
def test_any_text_is_parsed_as_a_policy_or_refused(document):
    with contextlib.suppress(errors.Invalid):
        policies.parse(document)
