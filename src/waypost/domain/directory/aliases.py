"""Who may be the alias of whom.

An alias link joins exactly one primary and one alias: mail to the alias is forwarded to the primary. An email address
is in at most one link, on either side, so links never form chains, and forwarding never loops inside Waypost.

Source: AssociateEmailAddressAlias, "Important things to know", in the Amazon Connect API Reference. What that
page leaves open is decided in docs/aws-differences.md.
"""

from dataclasses import dataclass
from datetime import datetime

from waypost.domain import errors


@dataclass(frozen=True, slots=True)
class AliasLink:
    """Mail to `alias_id` is forwarded to `primary_id`. Both are ids of email addresses."""

    primary_id: str
    alias_id: str
    created_at: datetime

    def alias_of(self, email_address_id: str) -> str | None:
        """The id of the alias that this email address has, or None on the alias's side."""
        return self.alias_id if email_address_id == self.primary_id else None


def refuse_self(primary_id: str, alias_id: str) -> None:
    """Raise `errors.Invalid` if both sides are the same email address."""
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
    """Decide on a new link between two existing email addresses, given the link each is in now, if any.

    Returns the link to make. Raises `errors.Invalid` for an address and itself, `errors.Conflict` for every
    other reason, with a sentence that says which link is in the way.
    """
    refuse_self(primary_id, alias_id)
    if link_of_primary and link_of_primary == link_of_alias and link_of_primary.primary_id == primary_id:
        raise errors.Conflict(f"Email address {alias_id} is the alias of {primary_id} already.")
    if link_of_primary:
        raise errors.Conflict(_why_primary_is_taken(primary_id, link_of_primary))
    if link_of_alias:
        raise errors.Conflict(_why_alias_is_taken(alias_id, link_of_alias))
    return AliasLink(primary_id, alias_id, now)


def disassociate(primary_id: str, alias_id: str, *, link_of_primary: AliasLink | None) -> AliasLink:
    """Decide on ending the link between exactly this primary and this alias; returns the link to remove.

    Raises `errors.NotFound` if there is no such link, also if each is in a link with someone else, or if the
    two are linked the other way round.
    """
    if link_of_primary and (link_of_primary.primary_id, link_of_primary.alias_id) == (primary_id, alias_id):
        return link_of_primary
    raise errors.NotFound(
        f"Email address {alias_id} is not an alias of {primary_id}, so there is nothing to disassociate."
    )


def _why_primary_is_taken(primary_id: str, link: AliasLink) -> str:
    if link.primary_id == primary_id:
        return (
            f"Email address {primary_id} has the alias {link.alias_id} already. "
            "An email address can have one alias at most; disassociate that one first."
        )
    return (
        f"Email address {primary_id} is itself an alias, of {link.primary_id}. "
        "Aliases cannot be chained, so it cannot have an alias of its own."
    )


def _why_alias_is_taken(alias_id: str, link: AliasLink) -> str:
    if link.alias_id == alias_id:
        return (
            f"Email address {alias_id} is an alias of {link.primary_id} already. "
            "An email address can be the alias of one other at most; disassociate that link first."
        )
    return (
        f"Email address {alias_id} has an alias of its own, {link.alias_id}. "
        "Aliases cannot be chained, so it cannot become an alias."
    )
