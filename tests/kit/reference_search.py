"""A reference implementation of search conditions in plain Python, with which the stores are compared."""

from waypost.domain.directory import caseless
from waypost.domain.directory.search import Comparison, Either, Every, Field, Tagged, Text

TEXTS = {
    Field.ADDRESS: lambda email_address: caseless.fold(email_address.address.text),
    Field.DISPLAY_NAME: lambda email_address: caseless.fold(email_address.display_name or ""),
    Field.DESCRIPTION: lambda email_address: caseless.fold(email_address.description or ""),
    Field.ID: lambda email_address: email_address.id,
}
COMPARISONS = {
    Comparison.EXACT: str.__eq__,
    Comparison.STARTS_WITH: str.startswith,
    Comparison.CONTAINS: str.__contains__,
}


def matches(condition, email_address, tags):
    """Return whether an email address with these tags matches a condition."""
    match condition:
        case Text(field, comparison, value):
            return COMPARISONS[comparison](TEXTS[field](email_address), value)
        case Tagged(key, None):
            return key in tags
        case Tagged(key, value):
            return tags.get(key) == value
        case Every(parts):
            return all(matches(part, email_address, tags) for part in parts)
        case Either(parts):
            return any(matches(part, email_address, tags) for part in parts)
