"""What is wrong with a request, in AWS's words: every broken member, in the order of the model."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from waypost.api.wire import shapes
from waypost.api.wire.shapes import Shape

NAMED_LIMIT = 100
"""Broken members that an answer names; a body of one MiB has room for hundreds of thousands."""

QUOTED_LIMIT = 1000
"""Characters of a broken value that a message quotes."""

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


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken member. `wrong_type` tells a value that is no such JSON type from one that breaks a constraint."""

    text: str
    wrong_type: bool


class Constraints:
    """The constraints of the shapes of a model."""

    def __init__(self, model: shapes.Model) -> None:
        self._shapes = model.shapes

    def broken(self, structure: Shape, members: Mapping[str, Any]) -> list[Violation]:
        """What is wrong with the members of a structure."""
        return list(itertools.islice(self._check_structure("", structure, members), NAMED_LIMIT))

    def _check_structure(self, prefix: str, shape: Shape, members: Mapping[str, Any]) -> Iterator[Violation]:
        for member, reference in shape["members"].items():
            # A member that is null is absent.
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
                # Of what has too many items, the items are not looked at.
                yield from sizes
            case "list":
                name = shape["member"]["shape"]
                may_be_empty = self._shapes[name]["type"] == "structure" and not self._shapes[name].get("required")
                for number, item in enumerate(value, start=1):
                    if may_be_empty and item == {}:  # a body has room for many of these, and there is nothing to check
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
            # Not quoted: no log and no terminal keeps it either.
            text = f"Value at '{path}' failed to satisfy constraint: Member must not contain the character NUL"
            yield Violation(text, wrong_type=False)
            return
        sizes = list(self._check_size(path, shape, value))
        yield from sizes
        if "enum" in shape and value not in shape["enum"]:
            yield self._failed(path, shape, value, f"satisfy enum value set: [{', '.join(shape['enum'])}]")
        # A pattern is not tried on a text of any length: that is how regular expressions are made to take hours.
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
        """Whether its value must not be shown. Of what a list or map holds, only simple values are known to be none."""
        parts = [self._shapes[shape[part]["shape"]] for part in ("member", "key", "value") if part in shape]
        return bool(shape.get("sensitive")) or any(
            part["type"] != "string" or self._is_sensitive(part) for part in parts
        )


def _short(value: Any) -> str:
    """A value as it is quoted in a message: whole, unless it is long."""
    text = str(value)
    return text if len(text) <= QUOTED_LIMIT else f"{text[:QUOTED_LIMIT]}…"
