"""The rules for alias links.

An alias link joins exactly one primary and one alias: mail to the alias is forwarded to the primary. Each email address
belongs to at most one link, either as the primary or as the alias. So alias links never form chains, and forwarding
never loops inside Waypost.

Source: AssociateEmailAddressAlias, "Important things to know", in the Amazon Connect API Reference. The page
docs/aws-differences.md lists our decisions about cases that the API Reference does not cover.
"""

from datetime import datetime

from msgspec import Struct

from waypost.domain import errors


class AliasLink(Struct, frozen=True):
    """A link that forwards mail for the email address `alias_id` to the email address `primary_id`."""

    primary_id: str
    alias_id: str
    created_at: datetime

    def alias_of(self, email_address_id: str) -> str | None:
        """Return the id of the email address's alias, or None if the email address is not the primary of this link."""
        return self.alias_id if email_address_id == self.primary_id else None


def refuse_self(primary_id: str, alias_id: str) -> None:
    """Raise `errors.Invalid` if the primary and the alias are the same email address."""
    if primary_id == alias_id:
        raise errors.Invalid(
            f"Email address {primary_id} cannot be its own alias. Name another email address as the alias."
        )


def associate(
    primary_id: str,
    alias_id: str,
    *,
    link_of_primary: AliasLink | None,
    link_of_alias: AliasLink | None,
    now: datetime,
) -> AliasLink:
    """Decide whether two existing email addresses can be linked.

    `link_of_primary` and `link_of_alias` are the current links of the two email addresses, if any. Returns the alias
    link that the caller must create. Raises `errors.Invalid` if the two ids are the same, or `errors.Conflict` if an
    existing link prevents the new link. The `errors.Conflict` message names the existing link.
    """
    refuse_self(primary_id, alias_id)
    if link_of_primary and link_of_primary == link_of_alias and link_of_primary.primary_id == primary_id:
        raise errors.Conflict(f"Email address {alias_id} is already the alias of {primary_id}.")
    if link_of_primary:
        raise errors.Conflict(_why_primary_is_taken(primary_id, link_of_primary))
    if link_of_alias:
        raise errors.Conflict(_why_alias_is_taken(alias_id, link_of_alias))
    return AliasLink(primary_id, alias_id, now)


def refusal(
    primary_id: str, alias_id: str, *, link_of_primary: AliasLink | None, link_of_alias: AliasLink | None, now: datetime
) -> str:
    """Return the message with which `associate` would refuse to link two email addresses; empty if it would not."""
    try:
        associate(primary_id, alias_id, link_of_primary=link_of_primary, link_of_alias=link_of_alias, now=now)
    except (errors.Invalid, errors.Conflict) as error:
        return error.message
    return ""


def disassociate(primary_id: str, alias_id: str, *, link_of_primary: AliasLink | None) -> AliasLink:
    """Return the link between this primary and this alias, which the caller must remove.

    Raises `errors.NotFound` if the addresses are not linked, if they are linked to other addresses, or if they are
    linked with the roles reversed.
    """
    if link_of_primary and (link_of_primary.primary_id, link_of_primary.alias_id) == (primary_id, alias_id):
        return link_of_primary
    raise errors.NotFound(
        f"Email address {alias_id} is not an alias of {primary_id}. There is no alias link to remove."
    )


def _why_primary_is_taken(primary_id: str, link: AliasLink) -> str:
    if link.primary_id == primary_id:
        return (
            f"Email address {primary_id} already has the alias {link.alias_id}. "
            "An email address can have at most one alias; disassociate that alias first."
        )
    return (
        f"Email address {primary_id} is itself an alias of {link.primary_id}. "
        "Aliases cannot be chained, so an alias cannot have an alias of its own."
    )


def _why_alias_is_taken(alias_id: str, link: AliasLink) -> str:
    if link.alias_id == alias_id:
        return (
            f"Email address {alias_id} is already an alias of {link.primary_id}. "
            "An email address can be the alias of at most one other address; disassociate it from that address first."
        )
    return (
        f"Email address {alias_id} has an alias of its own, {link.alias_id}. "
        "Aliases cannot be chained, so an address that has an alias cannot become an alias."
    )
