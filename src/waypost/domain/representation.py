"""The representation (`repr`) of an object that has secrets."""

from msgspec import Struct


def without(value: Struct, *hidden: str) -> str:
    """Return the class of an object and its fields, except the fields named `hidden`, so that a log or a traceback
    that shows the object does not show its secrets.
    """
    shown = (f"{name}={getattr(value, name)!r}" for name in value.__struct_fields__ if name not in hidden)
    return f"{type(value).__name__}({', '.join(shown)})"
