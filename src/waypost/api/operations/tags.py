"""The operations on tags: TagResource, UntagResource, ListTagsForResource."""

from waypost.api.operations import arns
from waypost.api.operations.calls import Call, Output
from waypost.app import ports
from waypost.app.directory import tags


def add(tx: ports.WriteTx, call: Call) -> Output:
    """Run TagResource."""
    tags.add(tx, call.tenant, resource(call), call.members.tags)
    return {}


def remove(tx: ports.WriteTx, call: Call) -> Output:
    """Run UntagResource."""
    tags.remove(tx, call.tenant, resource(call), call.members.tag_keys)
    return {}


def listed(tx: ports.ReadTx, call: Call) -> Output:
    """Run ListTagsForResource."""
    return {"tags": tags.of(tx, call.tenant, resource(call))}


def resource(call: Call) -> tags.Resource:
    """Return the resource that the call's ARN names.

    Raises `errors.Invalid` for a malformed ARN, and `errors.NotFound` for a resource of another account or region.
    """
    return arns.parse(call.members.resource_arn, call.tenant)
