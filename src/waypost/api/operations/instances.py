"""Implements the operations on instances, by translating between API members and use cases."""

from typing import Any

from waypost.api.operations import arns, calls
from waypost.api.operations.calls import Call, Output
from waypost.app import ports
from waypost.app.directory import instances
from waypost.domain.directory.instances import Instance

PAGE_SIZE = 10
"""The default and maximum page size of ListInstances."""


def create(tx: ports.WriteTx, call: Call) -> Output:
    """Run CreateInstance. The new instance is active immediately."""
    members = call.members
    instance = Instance(
        id=call.terms.new_id(),
        tenant=call.tenant,
        alias=members.instance_alias,
        identity_management_type=members.identity_management_type,
        directory_id=members.directory_id,
        inbound_calls_enabled=members.inbound_calls_enabled,
        outbound_calls_enabled=members.outbound_calls_enabled,
        created_at=call.now,
    )
    instance_id = instances.create(tx, instance, tags=members.tags or {}, call=calls.tokened(call))
    return {"Id": instance_id, "Arn": arns.instance(call.tenant, instance_id)}


def describe(tx: ports.ReadTx, call: Call) -> Output:
    """Run DescribeInstance."""
    instance, tags = instances.describe(tx, call.tenant, call.members.instance_id)
    return {"Instance": {**_summary(instance), "Tags": tags}}


def page(tx: ports.ReadTx, call: Call) -> Output:
    """Run ListInstances. The instances are sorted by id."""
    tokens, query = call.terms.page_tokens, calls.query_of(call)
    after = tokens.read(call.members.next_token, query=query)
    found = instances.page(tx, call.tenant, after=after or "", limit=call.members.max_results or PAGE_SIZE)
    return {
        "InstanceSummaryList": [_summary(instance) for instance in found.instances],
        "NextToken": tokens.make(found.next_after, query=query) if found.next_after else None,
    }


def delete(tx: ports.WriteTx, call: Call) -> Output:
    """Run DeleteInstance."""
    instances.delete(tx, call.tenant, call.members.instance_id, now=call.now, call=calls.tokened(call))
    return {}


def _summary(instance: Instance) -> dict[str, Any]:
    members = {
        "Id": instance.id,
        "Arn": arns.instance(instance.tenant, instance.id),
        "IdentityManagementType": instance.identity_management_type,
        "InstanceAlias": instance.alias,
        "CreatedTime": instance.created_at.timestamp(),
        "ServiceRole": arns.service_role(instance.tenant, instance.id),
        "InstanceStatus": "ACTIVE",
        "InboundCallsEnabled": instance.inbound_calls_enabled,
        "OutboundCallsEnabled": instance.outbound_calls_enabled,
        "InstanceAccessUrl": _access_url(instance),
    }
    return {name: value for name, value in members.items() if value is not None}


def _access_url(instance: Instance) -> str:
    """Return the URL at which Amazon Connect would serve the instance. URLs in GovCloud have a different domain."""
    domain = "govcloud" if instance.tenant.partition == "aws-us-gov" else "my"
    return f"https://{instance.alias or instance.id}.{domain}.connect.aws"
