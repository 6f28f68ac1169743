"""Tests of the global condition keys, which every policy may use."""

import json
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from waypost.domain.directory.instances import Tenant
from waypost.domain.iam import decisions, policies
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.iam.decisions import Decision
from waypost.domain.iam.facts import Circumstances

CALL = Circumstances(
    key=AccessKey("AKID", "secret", "111111111111", user_name="ann"),
    tenant=Tenant("111111111111", "us-east-1"),
    ip="192.0.2.1",
    is_secure=False,
    user_agent="curl",
    now=datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC),
)
VALUES = {
    "aws:currenttime": "2026-11-22T12:00:00.250Z",
    "aws:epochtime": "1795348800",
    "aws:principalaccount": "111111111111",
    "aws:principalarn": "arn:aws:iam::111111111111:user/ann",
    "aws:principaltype": "User",
    "aws:requestedregion": "us-east-1",
    "aws:securetransport": "false",
    "aws:sourceip": "192.0.2.1",
    "aws:useragent": "curl",
    "aws:username": "ann",
    "aws:multifactorauthpresent": None,
    "aws:principalisawsservice": "false",
    "aws:resourceaccount": "111111111111",
    "aws:tokenissuetime": None,
    "aws:viaawsservice": "false",
    "connect:instanceid": None,
}


@pytest.mark.parametrize(("key", "value"), VALUES.items())
def test_the_value_of_a_global_condition_key_is_found(key, value):
    assert CALL.look_up(key) == (value and (value,))


def test_an_unknown_fact_has_no_value():
    assert replace(CALL, user_agent="").look_up("aws:useragent") is None


def test_the_account_owner_is_not_a_user_and_tls_is_secure():
    owner = replace(CALL, key=AccessKey("AKID", "secret", "111111111111", user_name="root"))
    assert owner.look_up("aws:principaltype") == ("Account",)
    assert owner.look_up("aws:principalarn") == ("arn:aws:iam::111111111111:root",)
    assert replace(CALL, is_secure=True).look_up("aws:securetransport") == ("true",)


def test_a_user_is_in_the_partition_of_the_region():
    assert replace(CALL, tenant=Tenant("111111111111", "cn-north-1")).user_arn.startswith("arn:aws-cn:iam::")


def test_a_temporary_key_has_an_issue_time_and_no_second_factor():
    issued = datetime(2026, 11, 22, 11, 0, tzinfo=UTC)
    session = replace(CALL, key=replace(CALL.key, created_at=issued, expires_at=CALL.now))
    assert session.look_up("aws:tokenissuetime") == ("2026-11-22T11:00:00.000Z",)
    assert session.look_up("aws:multifactorauthpresent") == ("false",)


DENIALS = {
    "callers from elsewhere, except AWS services": {
        "NotIpAddress": {"aws:SourceIp": "198.51.100.0/24"},
        "Bool": {"aws:ViaAWSService": "false"},
    },
    "all callers except AWS services": {"Bool": {"aws:PrincipalIsAWSService": "false"}},
    "resources in this account": {"StringEquals": {"aws:ResourceAccount": "111111111111"}},
    "sessions that began before they were revoked": {"DateLessThan": {"aws:TokenIssueTime": "2026-11-22T11:30:00Z"}},
    "sessions without a second factor": {"Bool": {"aws:MultiFactorAuthPresent": "false"}},
}
"""The conditions of Deny statements that the IAM User Guide and console show. All of them apply to this caller."""


@pytest.mark.parametrize("condition", DENIALS.values(), ids=DENIALS)
def test_a_deny_statement_from_the_iam_user_guide_applies(condition):
    everything = {"Action": "*", "Resource": "*"}
    statements = [{"Effect": "Allow", **everything}, {"Effect": "Deny", **everything, "Condition": condition}]
    policy = policies.parse(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    session = replace(CALL.key, created_at=datetime(2026, 11, 22, 11, 0, tzinfo=UTC), expires_at=CALL.now)
    lookup = replace(CALL, key=session).look_up
    call = {"action": "connect:DescribeEmailAddress", "lookup": lookup}
    assert decisions.decide(policy, resource="arn:aws:connect:::instance/i", **call) is Decision.EXPLICIT_DENY
    assert decisions.decide_for_all(policy, **call) is Decision.EXPLICIT_DENY
