"""Write a set of names as one text, because some sets of elements and properties are long."""


def names(text: str) -> frozenset[str]:
    """Return the names in a text, which white space separates."""
    return frozenset(text.split())
