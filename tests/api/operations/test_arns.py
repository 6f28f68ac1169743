"""Tests of the ARNs of instances and email addresses: building them, parsing them, and using them instead of ids."""

import pytest

from waypost.api.operations import arns
from waypost.app.directory.tags import Resource
from waypost.domain import errors
from waypost.domain.directory.instances import Tenant

HERE = Tenant("000000000000", "us-east-1")
ARN = "arn:aws:connect:us-east-1:000000000000:instance/i"


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("eu-west-1", "aws"), ("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")],
)
@pytest.mark.parametrize("resource", [Resource("i"), Resource("i", "e")])
def test_the_arn_of_a_resource_is_parsed_to_the_same_resource(region, partition, resource):
    tenant = Tenant("123456789012", region)
    arn = arns.of(tenant, resource)
    assert arn.startswith(f"arn:{partition}:connect:{region}:123456789012:instance/i")
    assert arns.parse(arn, tenant) == resource


REFUSED = {
    "not an ARN": ("i", errors.Invalid),
    "another service": (ARN.replace("connect", "ses"), errors.Invalid),
    "another type of resource": (f"{ARN}/queue/q", errors.Invalid),
    "text after the end": (f"{ARN}/email-address/e/x", errors.Invalid),
    "no id": (f"{ARN}/email-address/", errors.Invalid),
    "another partition": (ARN.replace("aws", "aws-cn"), errors.Invalid),
    "another region": (ARN.replace("us-east-1", "us-west-2"), errors.NotFound),
    "another account": (ARN.replace("000000000000", "111111111111"), errors.NotFound),
}


@pytest.mark.parametrize(("text", "error"), REFUSED.values(), ids=REFUSED)
def test_an_arn_of_another_resource_is_refused(text, error):
    with pytest.raises(error):
        arns.parse(text, HERE)


def test_an_id_and_an_arn_are_both_accepted():
    assert arns.instance_id_of("i", HERE) == arns.instance_id_of(ARN, HERE) == "i"
    both = ("e", f"{ARN}/email-address/e")
    assert {arns.email_address_id_of(text, HERE, "i") for text in both} == {"e"}


def test_an_arn_of_the_wrong_type_or_of_another_instance_is_refused():
    with pytest.raises(errors.Invalid, match="of an email address, not of an instance"):
        arns.instance_id_of(f"{ARN}/email-address/e", HERE)
    with pytest.raises(errors.Invalid, match="of an instance, not of an email address"):
        arns.email_address_id_of(ARN, HERE, "i")
    with pytest.raises(errors.NotFound, match="was not found in instance j"):
        arns.email_address_id_of(f"{ARN}/email-address/e", HERE, "j")


@pytest.mark.parametrize(("region", "partition"), [("eu-west-2", "aws"), ("us-gov-west-1", "aws-us-gov")])
def test_the_service_role_of_an_instance_has_its_account_and_partition(region, partition):
    tenant = Tenant("123456789012", region)
    role = "role/aws-service-role/connect.amazonaws.com/AWSServiceRoleForAmazonConnect_"
    found = arns.service_role(tenant, "11111111-2222-3333-4444-555555555555")
    assert found == f"arn:{partition}:iam::123456789012:{role}11111111222233334444"
