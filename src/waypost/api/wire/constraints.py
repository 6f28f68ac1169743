"""Validates a request against the model, and produces AWS's error messages in the order in which the model lists the
members.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from waypost.api.wire import shapes
from waypost.api.wire.shapes import Shape

NAMED_LIMIT = 100
"""The maximum number of invalid members that a response names. The limit is needed because a request body can contain
many thousands of invalid members.
"""

QUOTED_LIMIT = 1000
"""The maximum number of characters that an error message quotes from an invalid value."""

_JSON_TYPES: Mapping[str, tuple[tuple[type[Any], ...], str]] = {
    "structure": ((dict,), "a JSON object"),
    "map": ((dict,), "a JSON object"),
    "list": ((list,), "a JSON array"),
    "string": ((str,), "a JSON string"),
    "boolean": ((bool,), "a JSON boolean"),
    "integer": ((int,), "a JSON integer"),
    "long": ((int,), "a JSON integer"),
    "float": ((int, float), "a JSON number"),
    "double": ((int, float), "a JSON number"),
    "timestamp": ((int, float), "a timestamp"),
}


class Violation(Struct, frozen=True):
    """One invalid member. `wrong_type` is true if the member has the wrong JSON type, and false if it violates a
    constraint.
    """

    text: str
    wrong_type: bool


class Constraints:
    """The validator for the constraints in a model's shapes."""

    def __init__(self, model: shapes.Model) -> None:
        self._shapes = model.shapes

    def broken(self, structure: Shape, members: Mapping[str, Any]) -> list[Violation]:
        """Return the constraint violations in the members of a structure, up to `NAMED_LIMIT` violations."""
        return list(itertools.islice(self._check_structure("", structure, members), NAMED_LIMIT))

    def _check_structure(self, prefix: str, shape: Shape, members: Mapping[str, Any]) -> Iterator[Violation]:
        for member, reference in shape["members"].items():
            # A member whose value is null counts as absent.
            if members.get(member) is not None or member in shape.get("required", ()):
                path = prefix + member[0].lower() + member[1:]
                yield from self._check(path, reference["shape"], members.get(member))

    def _check(self, path: str, name: str, value: Any) -> Iterator[Violation]:
        shape = self._shapes[name]
        if shape.get("document"):
            return
        kinds, wanted = _JSON_TYPES[shape["type"]]
        if value is None:
            text = f"Value null at '{path}' failed to satisfy constraint: Member must not be null"
            yield Violation(text, wrong_type=False)
        elif not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            yield Violation(f"Value at '{path}' must be {wanted}", wrong_type=True)
        else:
            yield from self._check_value(path, shape, value)

    def _check_value(self, path: str, shape: Shape, value: Any) -> Iterator[Violation]:
        match shape["type"]:
            case "structure":
                yield from self._check_structure(f"{path}.", shape, value)
            case "list" | "map" if sizes := list(self._check_size(path, shape, value)):
                # If a collection has the wrong size, its items are not checked.
                yield from sizes
            case "list":
                name = shape["member"]["shape"]
                may_be_empty = self._shapes[name]["type"] == "structure" and not self._shapes[name].get("required")
                for number, item in enumerate(value, start=1):
                    if may_be_empty and item == {}:  # a body may have many empty items, which need no check
                        continue
                    yield from self._check(f"{path}.{number}.member", name, item)
            case "map":
                for key, item in value.items():
                    yield from self._check(f"{path}.key", shape["key"]["shape"], key)
                    yield from self._check(f"{path}.{_short(key)}.value", shape["value"]["shape"], item)
            case "string":
                yield from self._check_string(path, shape, value)
            case "integer" | "long":
                yield from self._check_range(path, shape, value)

    def _check_size(self, path: str, shape: Shape, value: Any) -> Iterator[Violation]:
        if len(value) < shape.get("min", 0):
            yield self._failed(path, shape, value, f"have length greater than or equal to {shape['min']}")
        if len(value) > shape.get("max", len(value)):
            yield self._failed(path, shape, value, f"have length less than or equal to {shape['max']}")

    def _check_string(self, path: str, shape: Shape, value: str) -> Iterator[Violation]:
        if "\0" in value:
            # The value is not quoted, because logs and terminals cannot show NUL.
            text = f"Value at '{path}' failed to satisfy constraint: Member must not contain the character NUL"
            yield Violation(text, wrong_type=False)
            return
        sizes = list(self._check_size(path, shape, value))
        yield from sizes
        if "enum" in shape and value not in shape["enum"]:
            yield self._failed(path, shape, value, f"satisfy enum value set: [{', '.join(shape['enum'])}]")
        # A string of the wrong length is not matched against the pattern, because a long string can make a regular
        # expression very slow.
        if "pattern" in shape and not sizes and not re.search(shapes.python_pattern(shape["pattern"]), value):
            yield self._failed(path, shape, value, f"satisfy regular expression pattern: {shape['pattern']}")

    def _check_range(self, path: str, shape: Shape, value: int) -> Iterator[Violation]:
        if value < shape.get("min", value):
            yield self._failed(path, shape, value, f"have value greater than or equal to {shape['min']}")
        if value > shape.get("max", value):
            yield self._failed(path, shape, value, f"have value less than or equal to {shape['max']}")

    def _failed(self, path: str, shape: Shape, value: Any, constraint: str) -> Violation:
        shown = "" if self._is_sensitive(shape) else f" '{_short(value)}'"
        text = f"Value{shown} at '{path}' failed to satisfy constraint: Member must {constraint}"
        return Violation(text, wrong_type=False)

    def _is_sensitive(self, shape: Shape) -> bool:
        """Return whether error messages must not show the values of a shape.

        A list or map counts as sensitive unless it contains only strings that are not sensitive.
        """
        parts = [self._shapes[shape[part]["shape"]] for part in ("member", "key", "value") if part in shape]
        return bool(shape.get("sensitive")) or any(
            part["type"] != "string" or self._is_sensitive(part) for part in parts
        )


def _short(value: Any) -> str:
    """Format a value for an error message, and truncate a long value."""
    text = str(value)
    return text if len(text) <= QUOTED_LIMIT else f"{text[:QUOTED_LIMIT]}…"
