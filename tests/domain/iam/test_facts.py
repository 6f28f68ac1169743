"""The facts of a call that any policy may ask about."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from waypost.domain.access_keys import AccessKey
from waypost.domain.iam.facts import Circumstances
from waypost.domain.instances import Tenant

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
    "connect:instanceid": None,
}


@pytest.mark.parametrize(("key", "value"), VALUES.items())
def test_a_fact_is_found_by_its_key(key, value):
    assert CALL.look_up(key) == (value and (value,))


def test_what_is_not_known_has_no_value():
    assert replace(CALL, user_agent="").look_up("aws:useragent") is None


def test_the_owner_is_no_user_and_tls_is_secure():
    owner = replace(CALL, key=AccessKey("AKID", "secret", "111111111111", user_name="root"))
    assert owner.look_up("aws:principaltype") == ("Account",)
    assert owner.look_up("aws:principalarn") == ("arn:aws:iam::111111111111:root",)
    assert replace(CALL, is_secure=True).look_up("aws:securetransport") == ("true",)


def test_a_user_is_in_the_partition_of_the_region():
    assert replace(CALL, tenant=Tenant("111111111111", "cn-north-1")).user_arn.startswith("arn:aws-cn:iam::")
