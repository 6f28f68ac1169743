"""Implements the operations on email addresses and aliases, by translating between API members and use cases."""

from collections.abc import Callable
from typing import Any

from waypost.api.operations import arns, calls, searching
from waypost.api.operations.calls import Call, Output
from waypost.api.wire import texts
from waypost.app import ports
from waypost.app.directory import email_addresses
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress

SEARCH_PAGE_SIZE = 100
"""The default and maximum page size of SearchEmailAddresses."""

COUNTED = 10_000
"""The number of matches at which SearchEmailAddresses stops counting; ApproximateTotalCount is exact up to this number.
"""


def primary_and_alias(members: Any) -> tuple[str, str]:
    """Return the ids of the primary and the alias in an AssociateEmailAddressAlias or DisassociateEmailAddressAlias
    call.

    EmailAddressId in the path names the primary, and `AliasConfiguration.EmailAddressId` names the alias. All of AWS's
    field descriptions agree with these meanings of the two ids ("which email address will serve as the alias"), and so
    does DescribeEmailAddress, which lists "email addresses that forward to this primary". Only the text of Example 1 on
    the API page suggests that the two ids are the other way round. This function is the only code in Waypost that
    decides which id is the primary.
    """
    return members.email_address_id, members.alias_configuration.email_address_id


def link_operation(change: Callable[..., None]) -> Callable[[ports.WriteTx, Call], Output]:
    """Build the operation AssociateEmailAddressAlias or DisassociateEmailAddressAlias. The two operations differ only
    in the use case that they run, which is passed as `change`.
    """

    def run(tx: ports.WriteTx, call: Call) -> Output:
        primary_id, alias_id = primary_and_alias(call.members)
        change(
            tx,
            call.tenant,
            call.members.instance_id,
            primary_id=primary_id,
            alias_id=alias_id,
            now=call.now,
            call=calls.tokened(call),
        )
        return {}

    return run


def create(tx: ports.WriteTx, call: Call) -> Output:
    """Run CreateEmailAddress."""
    members = call.members
    email_address = EmailAddress(
        id=call.terms.new_id(),
        instance_id=members.instance_id,
        account=call.tenant.account,
        address=_address(members.email_address),
        display_name=members.display_name,
        description=members.description,
        created_at=call.now,
        modified_at=call.now,
    )
    email_address_id = email_addresses.create(
        tx,
        call.tenant,
        email_address,
        tags=members.tags or {},
        quota=call.terms.email_address_quota,
        domains=call.terms.domains,
        call=calls.tokened(call),
    )
    return _id_and_arn(call, email_address_id)


def describe(tx: ports.ReadTx, call: Call) -> Output:
    """Run DescribeEmailAddress."""
    members = call.members
    found = email_addresses.describe(tx, call.tenant, members.instance_id, members.email_address_id)
    output = _metadata(
        call,
        members.email_address_id,
        address=found.address,
        display_name=found.display_name,
        description=found.description,
        alias_id=found.alias_id,
    )
    output["CreateTimestamp"] = texts.iso_8601(found.created_at)
    output["ModifiedTimestamp"] = texts.iso_8601(found.modified_at)
    output["Tags"] = found.tags
    return output


def search(tx: ports.ReadTx, call: Call) -> Output:
    """Run SearchEmailAddresses."""
    members = call.members
    query = calls.query_of(call)
    page = email_addresses.search_page(
        tx,
        call.tenant,
        members.instance_id,
        searching.condition(members.search_criteria, members.search_filter),
        after=call.terms.page_tokens.read(members.next_token, query=query),
        limit=members.max_results or SEARCH_PAGE_SIZE,
        count_up_to=COUNTED,
    )
    next_after = page.next_after
    return {
        "EmailAddresses": [_found(call, email_address, link) for email_address, link in page.found],
        "ApproximateTotalCount": page.total,
        "NextToken": call.terms.page_tokens.make(next_after, query=query) if next_after else None,
    }


def update_metadata(tx: ports.WriteTx, call: Call) -> Output:
    """Run UpdateEmailAddressMetadata. A missing member leaves its field unchanged, and an empty string clears the
    field.
    """
    members = call.members
    email_address_id = email_addresses.update_metadata(
        tx,
        call.tenant,
        members.instance_id,
        members.email_address_id,
        display_name=members.display_name,
        description=members.description,
        now=call.now,
        call=calls.tokened(call),
    )
    return _id_and_arn(call, email_address_id)


def delete(tx: ports.WriteTx, call: Call) -> Output:
    """Run DeleteEmailAddress."""
    email_addresses.delete(tx, call.tenant, call.members.instance_id, call.members.email_address_id)
    return {}


def _address(text: str) -> addresses.Address:
    try:
        return addresses.parse(text)
    except errors.Invalid as error:
        raise errors.Invalid(f"EmailAddress is not valid: {error.message}.") from error


def _id_and_arn(call: Call, email_address_id: str) -> Output:
    arn = arns.email_address(call.tenant, call.members.instance_id, email_address_id)
    return {"EmailAddressId": email_address_id, "EmailAddressArn": arn}


def _found(call: Call, found: EmailAddress, link: AliasLink | None) -> dict[str, Any]:
    alias_id = link.alias_of(found.id) if link else None
    return _metadata(
        call,
        found.id,
        address=found.address.text,
        display_name=found.display_name,
        description=found.description,
        alias_id=alias_id,
    )


def _metadata(
    call: Call,
    email_address_id: str,
    *,
    address: str,
    display_name: str | None,
    description: str | None,
    alias_id: str | None,
) -> dict[str, Any]:
    """Return the members that DescribeEmailAddress and SearchEmailAddresses have in common.

    For a primary, AliasConfigurations contains the id of its alias. For an alias, AliasConfigurations is empty.
    """
    members: dict[str, Any] = {
        "EmailAddressId": email_address_id,
        "EmailAddressArn": arns.email_address(call.tenant, call.members.instance_id, email_address_id),
        "EmailAddress": address,
        "AliasConfigurations": [{"EmailAddressId": alias_id}] if alias_id else [],
    }
    if display_name is not None:
        members["DisplayName"] = display_name
    if description is not None:
        members["Description"] = description
    return members
