"""Tests of the evaluation of policies: statements, actions, resources, and their precedence."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.iam.asking_policies import ACTION, ADDRESS, INSTANCE, a_document, a_statement, decide, lookup_in
from waypost.domain.iam import decisions, policies
from waypost.domain.iam.decisions import Decision

YES, NO = "allowed", "implicit deny"

# Each row has an element of an Allow statement, the action of the request, and the decision.
ACTIONS = [
    ({"Action": "*"}, "connect:DescribeEmailAddress", YES),
    ({"Action": "connect:*"}, "connect:DescribeEmailAddress", YES),
    ({"Action": "connect:DescribeEmailAddress"}, "connect:DescribeEmailAddress", YES),
    ({"Action": "CONNECT:describeemailaddress"}, "connect:DescribeEmailAddress", YES),
    ({"Action": "connect:Describe*"}, "connect:DescribeEmailAddress", YES),
    ({"Action": "connect:*EmailAddress"}, "connect:DescribeEmailAddress", YES),
    ({"Action": "connect:*EmailAddress"}, "connect:SearchEmailAddresses", NO),
    ({"Action": "connect:*EmailAddress*"}, "connect:AssociateEmailAddressAlias", YES),
    ({"Action": "connect:?escribeEmailAddress"}, "connect:DescribeEmailAddress", YES),
    ({"Action": "connect:?DescribeEmailAddress"}, "connect:DescribeEmailAddress", NO),
    ({"Action": "connect:Describe"}, "connect:DescribeEmailAddress", NO),
    ({"Action": "connect:DescribeEmailAddressX"}, "connect:DescribeEmailAddress", NO),
    ({"Action": "connect:D.*"}, "connect:DescribeEmailAddress", NO),
    ({"Action": "ses:*"}, "connect:DescribeEmailAddress", NO),
    ({"Action": "*:DescribeEmailAddress"}, "connect:DescribeEmailAddress", YES),
    ({"Action": "*:*"}, "connect:DescribeEmailAddress", YES),
    ({"Action": ["ses:*", "connect:Describe*"]}, "connect:DescribeEmailAddress", YES),
    ({"Action": ["ses:*", "connect:Delete*"]}, "connect:DescribeEmailAddress", NO),
    ({"Action": ["ses:*", "*"]}, "connect:DescribeEmailAddress", YES),
    ({"NotAction": "connect:Delete*"}, "connect:DescribeEmailAddress", YES),
    ({"NotAction": "connect:delete*"}, "connect:DeleteEmailAddress", NO),
    ({"NotAction": ["ses:*", "connect:Delete*"]}, "connect:DeleteEmailAddress", NO),
    ({"NotAction": "ses:*"}, "connect:DeleteEmailAddress", YES),
    ({"NotAction": "*"}, "connect:DeleteEmailAddress", NO),
    ({"NotAction": ["ses:*", "*"]}, "connect:DeleteEmailAddress", NO),
]

# Each row has an element of an Allow statement, the resource of the request, and the decision.
RESOURCES = [
    ({"Resource": "*"}, ADDRESS, YES),
    ({"Resource": "*"}, "*", YES),
    ({"Resource": ADDRESS}, ADDRESS, YES),
    ({"Resource": ADDRESS}, "*", NO),
    ({"Resource": INSTANCE}, ADDRESS, NO),
    ({"Resource": f"{INSTANCE}/*"}, ADDRESS, YES),
    ({"Resource": f"{INSTANCE}/*"}, INSTANCE, NO),
    ({"Resource": f"{INSTANCE}*"}, INSTANCE, YES),
    ({"Resource": f"{INSTANCE}/email-address/e-?"}, ADDRESS, YES),
    ({"Resource": f"{INSTANCE}/email-address/E-1"}, ADDRESS, NO),
    ({"Resource": f"{INSTANCE}/email-address/e-1?"}, ADDRESS, NO),
    ({"Resource": f"{INSTANCE}/*/e-1"}, ADDRESS, YES),
    ({"Resource": f"{INSTANCE}/*/*/e-1"}, ADDRESS, NO),
    ({"Resource": "arn:aws:connect:*:*:instance/*"}, ADDRESS, YES),
    ({"Resource": "arn:aws:connect:*:*:*/email-address/*"}, ADDRESS, YES),
    ({"Resource": "arn:aws:connect:us-*:000000000000:instance/*"}, ADDRESS, YES),
    ({"Resource": "arn:aws:connect:us-e??t-1:0*0:instance/*"}, ADDRESS, YES),
    ({"Resource": "arn:aws:connect:eu-*:000000000000:instance/*"}, ADDRESS, NO),
    ({"Resource": "arn:aws:connect:us-east-1:111111111111:*"}, ADDRESS, NO),
    ({"Resource": "arn:aws:connect:us-east-1::*"}, ADDRESS, NO),
    ({"Resource": "arn:aws-cn:connect:*:*:*"}, ADDRESS, NO),
    ({"Resource": "arn:*:connect:*:*:*"}, ADDRESS, YES),
    ({"Resource": "arn:aws*:connect:*:*:*"}, ADDRESS, YES),
    ({"Resource": "arn:aws:ses:*:*:*"}, ADDRESS, NO),
    ({"Resource": "arn:aws:connect:US-EAST-1:*:*"}, ADDRESS, NO),
    # A wildcard matches only within its part of the ARN, and missing parts are filled with wildcards.
    ({"Resource": "arn:aws:connect:*"}, ADDRESS, YES),
    ({"Resource": "arn:aws:connect"}, ADDRESS, YES),
    ({"Resource": "arn:aws:connect:us-east-1:000000000000"}, ADDRESS, YES),
    ({"Resource": "arn:aws:connect:eu-west-1"}, ADDRESS, NO),
    ({"Resource": "arn:aws:connect:*:instance/i-1"}, INSTANCE, NO),
    ({"Resource": "arn:aws:connect:*east-1:000000000000:*:x"}, "arn:aws:connect:us-east-1:000000000000:a:b:x", YES),
    ({"Resource": "arn:aws:connect:*:x:*"}, "arn:aws:connect:us-east-1:000000000000:x:y", NO),
    ({"Resource": ["arn:aws:ses:*:*:*", ADDRESS]}, ADDRESS, YES),
    ({"Resource": ["arn:aws:ses:*:*:*", INSTANCE]}, ADDRESS, NO),
    ({"Resource": ["arn:aws:ses:*:*:*", "*"]}, ADDRESS, YES),
    ({"NotResource": ADDRESS}, ADDRESS, NO),
    ({"NotResource": ADDRESS}, INSTANCE, YES),
    ({"NotResource": ADDRESS}, "*", YES),
    ({"NotResource": ["arn:aws:ses:*:*:*", f"{INSTANCE}/*"]}, ADDRESS, NO),
    ({"NotResource": "arn:aws:connect"}, ADDRESS, NO),
    ({"NotResource": "*"}, ADDRESS, NO),
    ({"NotResource": [INSTANCE, "*"]}, ADDRESS, NO),
    ({"NotResource": "*"}, "*", NO),
    # Variables: aws:username is e-1, aws:userid is *, aws:PrincipalTag/none does not exist.
    ({"Resource": f"{INSTANCE}/email-address/${{aws:username}}"}, ADDRESS, YES),
    ({"Resource": f"{INSTANCE}/email-address/${{AWS:USERNAME}}"}, ADDRESS, YES),
    ({"Resource": f"{INSTANCE}/*/${{aws:username}}"}, ADDRESS, YES),
    ({"Resource": f"{INSTANCE}/email-address/${{aws:username}}"}, f"{INSTANCE}/email-address/e-2", NO),
    ({"Resource": f"{INSTANCE}/email-address/${{aws:userid}}"}, ADDRESS, NO),
    ({"Resource": f"{INSTANCE}/email-address/${{aws:PrincipalTag/none}}"}, ADDRESS, NO),
    ({"Resource": f"{INSTANCE}/email-address/${{aws:PrincipalTag/none}}*"}, ADDRESS, NO),
    ({"Resource": f"{INSTANCE}/email-address/${{aws:PrincipalTag/none, 'e-1'}}"}, ADDRESS, YES),
    ({"Resource": f"{INSTANCE}/email-address/${{*}}"}, ADDRESS, NO),
    ({"Resource": f"{INSTANCE}/email-address/${{*}}"}, f"{INSTANCE}/email-address/*", YES),
    ({"NotResource": f"{INSTANCE}/email-address/${{aws:username}}"}, ADDRESS, NO),
    ({"NotResource": f"{INSTANCE}/email-address/${{aws:PrincipalTag/none}}"}, ADDRESS, YES),
]

ALLOW, DENY = a_statement(), a_statement("Deny")
OTHER = {"Action": "ses:*"}
FOREIGN = {"Resource": "arn:aws:connect:us-east-1:111111111111:*"}
FROM_HOME = {"Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}
FROM_AFAR = {"Condition": {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}

# Each row has statements, and the decision for a request from 192.0.2.1.
STATEMENTS = [
    ([ALLOW], "allowed"),
    ([DENY], "explicit deny"),
    ([ALLOW, DENY], "explicit deny"),
    ([a_statement(**OTHER)], "implicit deny"),
    ([a_statement(**FOREIGN)], "implicit deny"),
    ([a_statement(**FROM_AFAR)], "implicit deny"),
    ([a_statement("Deny", **OTHER)], "implicit deny"),
    ([ALLOW, a_statement("Deny", **OTHER)], "allowed"),
    ([ALLOW, a_statement("Deny", **FOREIGN)], "allowed"),
    ([ALLOW, a_statement("Deny", **FROM_AFAR)], "allowed"),
    ([ALLOW, a_statement("Deny", **FROM_HOME)], "explicit deny"),
    ([a_statement(**OTHER), a_statement(**FROM_HOME)], "allowed"),
    ([a_statement(**OTHER), a_statement(**FOREIGN), a_statement(**FROM_AFAR)], "implicit deny"),
    ([a_statement(**OTHER, **FROM_HOME)], "implicit deny"),
    ([a_statement(**FOREIGN, **FROM_HOME)], "implicit deny"),
    ([ALLOW, a_statement("Deny", NotAction="connect:Describe*")], "allowed"),
    ([ALLOW, a_statement("Deny", NotAction="connect:Search*")], "explicit deny"),
    ([ALLOW, a_statement("Deny", NotResource=f"{INSTANCE}/*")], "allowed"),
    ([ALLOW, a_statement("Deny", NotResource=INSTANCE)], "explicit deny"),
]


@pytest.mark.parametrize(("element", "action", "decision"), ACTIONS, ids=repr)
def test_a_statement_covers_the_actions_that_it_names(element, action, decision):
    assert decide(a_statement(**element), action=action) == decision


@pytest.mark.parametrize(("element", "resource", "decision"), RESOURCES, ids=repr)
def test_a_statement_covers_the_resources_that_it_names(element, resource, decision):
    context = {"aws:username": "e-1", "aws:userid": "*"}
    assert decide(a_statement(**element), resource=resource, context=context) == decision


@pytest.mark.parametrize(("statements", "decision"), STATEMENTS, ids=range(len(STATEMENTS)))
def test_a_deny_overrides_an_allow_and_an_allow_overrides_the_implicit_deny(statements, decision):
    for ordered in itertools.permutations(statements):
        assert decide(*ordered, context={"aws:SourceIp": "192.0.2.1"}) == decision


def test_a_key_that_the_policy_does_not_need_is_never_looked_up():
    tagged = {"StringEquals": {"aws:ResourceTag/team": "a"}}
    policy = policies.parse(
        a_document(
            a_statement(Action="connect:Delete*", Condition=tagged),
            a_statement(Resource="arn:aws:ses", Condition=tagged),
            a_statement("Deny", Condition={"Bool": {"aws:SecureTransport": "false"}, **tagged}),
            a_statement(),
            a_statement(Condition=tagged),
        )
    )
    looked_up = []

    def lookup(key):
        looked_up.append(key)
        return ("true",)

    assert decisions.decide(policy, action=ACTION, resource=ADDRESS, lookup=lookup) is Decision.ALLOWED
    assert looked_up == ["aws:securetransport"]


def test_a_key_is_looked_up_once_with_the_tag_key_as_the_policy_writes_it():
    wanted = [{"StringEquals": {"AWS:ResourceTag/Team": value}} for value in ("a", "${aws:resourcetag/Team}x")]
    policy = policies.parse(a_document(*(a_statement("Deny", Condition=condition) for condition in wanted)))
    looked_up = []

    def lookup(key):
        looked_up.append(key)
        return ("b",)

    assert decisions.decide(policy, action=ACTION, resource=ADDRESS, lookup=lookup) is Decision.IMPLICIT_DENY
    assert looked_up == ["aws:resourcetag/Team"]


def test_the_policy_that_allows_everything_allows_everything_and_needs_no_key():
    def lookup(key):
        raise AssertionError(key)

    policy = policies.parse(policies.ALLOW_ALL)
    for action, resource in itertools.product(["connect:ListInstances", ACTION], ["*", ADDRESS]):
        assert decisions.decide(policy, action=action, resource=resource, lookup=lookup) is Decision.ALLOWED


texts = st.text(max_size=8) | st.sampled_from(
    ["ann", "*", "192.0.2.1", "2001:db8::1", "10", "2027-01-01", "true", ADDRESS]
)
keys = st.sampled_from(["aws:username", "aws:TagKeys", "aws:SourceIp", "aws:ResourceTag/a"])
values = {
    "String": st.sampled_from(["ann", "a*", "*?*", "${aws:username}", "${aws:TagKeys, '*'}", "", "${*}"]),
    "Numeric": st.sampled_from(["10", "-0.5"]),
    "Date": st.sampled_from(["2027-01-01", "0"]),
    "Ip": st.sampled_from(["192.0.2.0/24", "::/0"]),
    "Arn": st.sampled_from([ADDRESS, "arn:aws:*:*:*:${aws:username}"]),
    "Bool": st.sampled_from(["true", "${aws:username}"]),
    "Null": st.sampled_from(["true", "false"]),
    "Binary": st.just("QQ=="),
}
operators = st.sampled_from([
    "StringEquals", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike", "NumericLessThan", "NumericNotEquals",
    "DateGreaterThan", "DateNotEquals", "IpAddress", "NotIpAddress", "ArnLike", "ArnNotEquals", "Bool", "BinaryEquals",
    "Null",
])  # fmt: skip


@st.composite
def conditions(draw):
    operator = draw(operators)
    kind = next(kind for kind in values if kind in operator)
    found = draw(st.lists(values[kind], min_size=1, max_size=2))
    if_exists = "" if kind == "Null" else draw(st.sampled_from(["", "IfExists"]))
    quantifier = draw(st.sampled_from(["", "ForAllValues:", "ForAnyValue:"]))
    return {quantifier + operator + if_exists: {draw(keys): found}}


statements = st.builds(
    lambda effect, action, resource, condition: {"Effect": effect, **action, **resource, "Condition": condition},
    st.sampled_from(["Allow", "Deny"]),
    st.sampled_from([{"Action": "*"}, {"Action": "connect:D*"}, {"NotAction": "connect:D*"}]),
    st.sampled_from(
        [{"Resource": "*"}, {"Resource": f"{INSTANCE}/${{aws:username}}"}, {"NotResource": f"{INSTANCE}*"}]
    ),
    conditions() | st.just({}),
)
contexts = st.dictionaries(keys, texts | st.lists(texts, max_size=3), max_size=4)


@given(st.lists(statements, min_size=1, max_size=4), contexts, texts, texts)
def test_any_policy_can_be_evaluated_for_any_request(found, context, action, resource):
    policy = policies.parse(a_document(*found))
    assert decisions.decide(policy, action=action, resource=resource, lookup=lookup_in(context)) in Decision


@given(
    st.lists(statements, min_size=1, max_size=4).flatmap(
        lambda found: st.tuples(st.just(found), st.permutations(found))
    ),
    contexts,
)
def test_the_order_of_statements_does_not_matter(orders, context):
    first, second = orders
    assert decide(*first, context=context) == decide(*second, context=context)


@given(st.lists(statements, min_size=1, max_size=4), contexts)
def test_one_deny_statement_that_applies_denies_the_request_and_none_allows_it(found, context):
    alone = [decide(statement, context=context) for statement in found]
    expected = next((d for d in ("explicit deny", "allowed") if d in alone), "implicit deny")
    assert decide(*found, context=context) == expected
    assert decide(*found, a_statement("Deny"), context=context) == "explicit deny"


@given(conditions(), contexts)
def test_a_negated_operator_is_true_if_the_positive_operator_is_false(condition, context):
    ((operator, line),) = condition.items()
    if "Not" not in operator or ":" in operator or "IfExists" in operator:
        return
    ((key, _),) = line.items()
    found = lookup_in(context)(key)
    if found and (len(found) > 1 or key == "aws:TagKeys"):
        return
    positive = {operator.replace("Not", ""): line}
    decided = {decide(a_statement(Condition=each), context=context) for each in (condition, positive)}
    assert decided == {"allowed", "implicit deny"}


def test_documents_can_be_written_in_any_layout():
    assert policies.parse(json.dumps(json.loads(policies.ALLOW_ALL), indent=8)) == policies.parse(policies.ALLOW_ALL)


TAGGED = {"Condition": {"StringEquals": {"aws:ResourceTag/team": "blue"}}}
OF_ITS_OWNER = {"Condition": {"StringEquals": {"aws:username": "${aws:ResourceTag/owner}"}}}
UNTAGGED = {"Condition": {"Null": {"aws:ResourceTag/secret": "true"}}}
IN_INSTANCE = {"Condition": {"StringEquals": {"connect:InstanceId": "i-1"}}}

# Each row has statements, and the decision for an action that covers all resources of an account.
FOR_ALL = {
    "everything is allowed": ([ALLOW], "allowed"),
    "no statement applies": ([a_statement(**OTHER)], "implicit deny"),
    "allowed on one resource": ([a_statement(Resource=ADDRESS)], "implicit deny"),
    "allowed on all resources but one": ([{"Effect": "Allow", "Action": "*", "NotResource": ADDRESS}], "implicit deny"),
    "allowed on resources with a tag": ([a_statement(**TAGGED)], "implicit deny"),
    "allowed on resources without a tag": ([a_statement(**UNTAGGED)], "implicit deny"),
    "allowed on resources that the caller owns": ([a_statement(**OF_ITS_OWNER)], "implicit deny"),
    "allowed in an instance, and everywhere": ([a_statement(**IN_INSTANCE), ALLOW], "allowed"),
    "allowed from here": ([a_statement(**FROM_HOME)], "allowed"),
    "allowed from elsewhere": ([a_statement(**FROM_AFAR)], "implicit deny"),
    "denied on one resource": ([ALLOW, a_statement("Deny", Resource=ADDRESS)], "explicit deny"),
    "denied on all resources but one": (
        [ALLOW, {"Effect": "Deny", "Action": "*", "NotResource": ADDRESS}],
        "explicit deny",
    ),
    "denied on resources with a tag": ([ALLOW, a_statement("Deny", **TAGGED)], "explicit deny"),
    "denied on resources without a tag": ([ALLOW, a_statement("Deny", **UNTAGGED)], "explicit deny"),
    "denied on resources that the caller owns": ([ALLOW, a_statement("Deny", **OF_ITS_OWNER)], "explicit deny"),
    "denied in an instance": ([ALLOW, a_statement("Deny", **IN_INSTANCE)], "explicit deny"),
    "denied from here": ([ALLOW, a_statement("Deny", Resource=ADDRESS, **FROM_HOME)], "explicit deny"),
    "denied from elsewhere": ([ALLOW, a_statement("Deny", **FROM_AFAR)], "allowed"),
    "another action is denied": ([ALLOW, a_statement("Deny", **OTHER)], "allowed"),
}


@pytest.mark.parametrize(("statements", "decision"), FOR_ALL.values(), ids=FOR_ALL)
def test_an_action_on_all_resources_is_decided_for_the_most_protected_resource(statements, decision):
    policy = policies.parse(a_document(*statements))
    lookup = lookup_in({"aws:sourceip": "192.0.2.1", "aws:username": "ann"})
    assert decisions.decide_for_all(policy, action=ACTION, lookup=lookup).value == decision


def test_a_policy_that_does_not_parse_allows_no_action_on_all_resources():
    assert decisions.decide_for_all(None, action=ACTION, lookup=lookup_in({})) is Decision.IMPLICIT_DENY
