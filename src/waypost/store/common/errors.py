"""Maps the name of a violated constraint to a domain error.

Before a use case changes data, it checks the same conditions as the constraints, and raises errors with better
messages. Therefore, the errors in this module are raised only if another transaction makes a conflicting change at the
same time.
"""

from waypost.domain import errors
from waypost.domain.directory.instances import ALIAS_IS_USED

_IN_A_LINK = (
    "One of the two email addresses is already in an alias link. An email address can be in only one alias link."
)

_MEANING: dict[str, tuple[type[errors.WaypostError], str]] = {
    "email_addresses_have_one_owner": (errors.Duplicate, "This email address already exists."),
    "instances_alias_is_unique": (errors.Duplicate, ALIAS_IS_USED),
    "alias_link_ends_one_link_each": (errors.Conflict, _IN_A_LINK),
    "alias_link_ends_pair": (errors.Conflict, _IN_A_LINK),
    "email_addresses_have_an_instance": (errors.NotFound, "The instance has just been deleted."),
}


def meaning(constraint: str) -> errors.WaypostError | None:
    """Return the domain error for a violated constraint, or None if only a bug can violate the constraint."""
    if constraint not in _MEANING:
        return None
    kind, sentence = _MEANING[constraint]
    return kind(sentence)
