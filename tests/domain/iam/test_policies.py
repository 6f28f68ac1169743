"""Which documents are policies, and what the others are told."""

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


# The document, and what its refusal says.
REFUSED = [
    ("", "no JSON: Expecting value"),
    ("Allow", "no JSON: Expecting value"),
    ('{"Version": "2012-10-17",}', "no JSON"),
    ("[" * 5000, "no JSON"),  # nested too deeply for some Pythons, and without an end for all
    ("[]", "must be a JSON object"),
    ('"*"', "must be a JSON object"),
    ("null", "must be a JSON object"),
    ('{"Statement": NaN}', "there is no NaN in it"),
    ('{"Version": "2012-10-17", "Version": "2012-10-17"}', "'Version' twice"),
    ('{"Version": "2012-10-17", "Id": "a", "Id": "b"}', "'Id' twice in the same object"),
    (policies.ALLOW_ALL.replace('"Action"', '"Effect":"Deny","Action"'), "'Effect' twice in the same object"),
    (json.dumps({"Version": "2012-10-17", "Statement": [], "Comment": ""}), "unknown element, Comment"),
    (json.dumps({"version": "2012-10-17"}), "unknown element, version"),
    (a_document(a_statement(), version="2012-10-18"), "Version must be 2008-10-17 or 2012-10-17, not '2012-10-18'"),
    (a_document(a_statement(), version=20121017), "Version must be"),
    (a_document(a_statement(), version=None), "Version must be"),
    (json.dumps({"Id": 5, "Statement": [a_statement()]}), "Id must be text"),
    (json.dumps({"Version": "2012-10-17"}), "has no Statement"),
    (a_document(), "has no Statement"),
    (a_document("Allow"), "Statement 1 must be a JSON object, not 'Allow'"),
    (a_document(a_statement(), []), "Statement 2 must be a JSON object"),
    (json.dumps({"Statement": "Allow"}), "Statement 1 must be a JSON object"),
    (a_document(a_statement(Sid="Read only")), "Statement 1: Sid must be of the letters A to Z and digits"),
    (a_document(a_statement(Sid="Grüße")), "Statement 1: Sid must be"),
    (a_document(a_statement(Sid=1)), "Statement 1: Sid must be"),
    (a_document(a_statement(Sid="A"), a_statement(), a_statement(Sid="A")), "3 has the Sid 'A' that Statement 1"),
    (a_document(a_statement(Principal="*")), "Statement 1: Principal has no place in an identity policy"),
    (a_document(a_statement(NotPrincipal={"AWS": "*"})), "Statement 1: NotPrincipal has no place"),
    (a_document(a_statement(Actions="*")), "Statement 1: unknown element Actions"),
    (a_document(a_statement(effect=None)), "Statement 1: Effect is missing"),
    (a_document(a_statement(), a_statement("allow")), "Statement 2: Effect must be Allow or Deny, not 'allow'"),
    (a_document(a_statement(["Allow"])), "Statement 1: Effect must be Allow or Deny"),
    (a_document(a_statement({})), "Statement 1: Effect must be Allow or Deny"),
    # Actions.
    (a_document(a_statement(Action=None)), "Statement 1: Action is missing"),
    (a_document(a_statement(Action="*", NotAction="*")), "Statement 1: Action and NotAction exclude each other"),
    (a_document(a_statement(Action=[])), "Statement 1: Action is an empty list"),
    (a_document(a_statement(NotAction=[])), "Statement 1: NotAction is an empty list"),
    (a_document(a_statement(Action=1)), "Statement 1: Action must be text or a list of texts, not '1'"),
    (a_document(a_statement(Action=["*", None])), "Statement 1: Action must be text or a list of texts, not None"),
    (a_document(a_statement(NotAction={"*": "*"})), "Statement 1: NotAction must be text"),
    (a_document(a_statement(Action="DescribeEmailAddress")), "'DescribeEmailAddress' must begin with a vendor"),
    (a_document(a_statement(Action="**")), "'**' must begin with a vendor"),
    (a_document(a_statement(Action="")), "'' must begin with a vendor"),
    (a_document(a_statement(Action="con*:DescribeEmailAddress")), "must be one name, as connect, without wildcards"),
    (a_document(a_statement(Action="c?nnect:*")), "must be one name, as connect, without wildcards"),
    (a_document(a_statement(Action=":*")), "must be one name"),
    (a_document(a_statement(NotAction=["connect:Describe:Email"])), "after its one colon"),
    (a_document(a_statement(Action="connect:")), "must have a name"),
    (a_document(a_statement(Action="connect:Describe EmailAddress")), "must have a name"),
    # Resources.
    (a_document(a_statement(Resource=None)), "Statement 1: Resource is missing"),
    (a_document(a_statement(Resource="*", NotResource="*")), "1: Resource and NotResource exclude each other"),
    (about([]), "Statement 1: Resource is an empty list"),
    (about([True]), "Statement 1: Resource must be text or a list of texts, not True"),
    (about("instance/i-1"), "'instance/i-1' must be an ARN, or \"*\""),
    (about("**"), "must be an ARN"),
    (about(""), "must be an ARN"),
    (about("ARN:aws:connect:*:*:*"), "must be an ARN"),
    (about("arn:AWS:connect:*:*:*"), "must be as aws, aws-cn or aws-us-gov"),
    (about("arn::connect:*:*:*"), "must be as aws, aws-cn or aws-us-gov"),
    (about("arn:aws:*:*:*:*"), "must name its vendor"),
    (about("arn:aws:con?ect:*:*:*"), "must name its vendor"),
    (about("arn:aws::*:*:*"), "must name its vendor"),
    (about("arn:aws"), "must name its vendor"),
    (about("arn:aws:connect:*:${aws:PrincipalAccount}:*"), "can have variables after its fifth colon only"),
    (about("arn:aws:connect:*:*:instance/${aws:username"), "'${aws:username' has no closing brace"),
    (about("arn:aws:connect:*:*:instance/${}"), "'${}' is no variable"),
    (about("arn:aws:connect:*:*:instance/${aws:username, nobody}"), "is no variable"),
    (about("arn:aws:connect:*:*:instance/${ aws:username }"), "is no variable"),
    (about("arn:aws:connect:*:*:instance/${username}"), "'username' needs the vendor it belongs to"),
    # Conditions.
    (a_document(a_statement(Condition=[])), "Statement 1: Condition must be a JSON object of operators"),
    (a_document(a_statement(Condition="aws:username")), "Condition must be a JSON object of operators"),
    (a_document(a_statement(Condition={"Bool": []})), "Statement 1: Condition Bool must be a JSON object of keys"),
    (a_document(a_statement(Condition={"Bool": {}})), "with one at least"),
    (when("StringEqual", "aws:username", "ann"), "1: Condition StringEqual, aws:username: there is no"),
    (when("stringequals", "aws:username", "ann"), "operators are written as in StringEquals"),
    (when("ForSomeValues:StringEquals", "aws:TagKeys", "a"), "there is no operator ForSomeValues:StringEquals"),
    (when("BoolIfexists", "aws:SecureTransport", "true"), "there is no operator BoolIfexists"),
    (when("NotBool", "aws:SecureTransport", "true"), "there is no operator NotBool"),
    (when("NullIfExists", "aws:username", "true"), "it has no IfExists"),
    (when("StringEquals", "username", "ann"), "'username' needs the vendor it belongs to"),
    (when("StringEquals", "aws:user name", "ann"), "'aws:user name' is no condition key"),
    (when("StringEquals", "aws:usernäme", "ann"), "'aws:usernäme' is no condition key"),
    (when("StringEquals", "aws:ResourceTag/", "ann"), "'aws:ResourceTag/' is no condition key"),
    (when("StringEquals", "aws:username", []), "Condition StringEquals, aws:username is an empty list"),
    (when("StringEquals", "aws:username", None), "must be text, a number or a boolean, or a list of them, not None"),
    (when("StringEquals", "aws:username", [["ann"]]), "or a list of them, not ['ann']"),
    (when("StringEquals", "aws:username", "${aws:user name}"), "'${aws:user name}' is no variable"),
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
    (when("ArnLike", "aws:PrincipalArn", "*"), "'*' is no ARN"),
    (when("ArnEquals", "aws:PrincipalArn", "arn:aws:iam::*"), "is no ARN"),
    (when("ArnEquals", "aws:PrincipalArn", "urn:aws:iam::0:user/ann"), "is no ARN"),
    (policies.ALLOW_ALL.replace('"Effect"', f'"Sid":"{"A" * 6100}","Effect"'), "6,144 is the most"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "message"), REFUSED, ids=lambda text: text[:100])
def test_what_iam_refuses_is_refused_naming_the_place(document, message):
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
def test_what_iam_accepts_is_accepted(document):
    assert policies.parse(document)


def test_a_policy_without_version_is_of_version_2008_and_has_no_variables():
    statement = a_statement(Condition={"StringEquals": {"aws:userid": "${aws:username}"}})
    assert policies.parse(json.dumps({"Statement": statement})).keys == {"aws:userid"}
    assert policies.parse(a_document(statement)).keys == {"aws:userid", "aws:username"}


def test_the_size_is_measured_to_the_character():
    def of_size(size):
        rest = policies.ALLOW_ALL.replace('"Effect"', '"Sid":"","Effect"')
        return rest.replace('"Sid":""', f'"Sid":"{"A" * (size - len(rest))}"')

    assert policies.parse(of_size(6144))
    with pytest.raises(errors.Invalid, match="The policy has 6,145 characters without white space"):
        policies.parse(of_size(6145))


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(errors.Invalid, match=r"not 'AAA.*A…$") as refusal:
        policies.parse(a_document(a_statement("A" * 1000)))
    assert len(refusal.value.message) < 150


def test_a_policy_knows_which_keys_its_decisions_may_need():
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
def test_any_text_is_a_policy_or_is_refused(document):
    with contextlib.suppress(errors.Invalid):
        policies.parse(document)
