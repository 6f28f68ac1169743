"""Translates between JSON and the members of the model. They can differ in wire names, timestamps, and floats such as
NaN.

If a shape has no wire names, timestamps or floats, its members are the same in JSON and in the model, and need no
translation. None of Amazon Connect's shapes needs a translation.
"""

from collections.abc import Mapping
from typing import Any

from waypost.api.wire import texts

Shape = Mapping[str, Any]


class JsonForm:
    """Translates between JSON and members, using the shapes of one model."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes

    def is_plain(self, name: str, *, inside: frozenset[str] = frozenset()) -> bool:
        """Return whether values of this shape need no translation. `inside` contains the names of the enclosing
        shapes.
        """
        shape = self._shapes[name]
        if shape["type"] in ("float", "double") or _is_written(shape):
            return False
        members = shape.get("members", {})
        if any(_wire_name(member, reference) != member for member, reference in members.items()):
            return False
        inner = {part["shape"] for part in (*members.values(), shape.get("member"), shape.get("value")) if part}
        return all(self.is_plain(part, inside=inside | {name}) for part in inner - inside - {name})

    def read(self, name: str, value: Any) -> Any:
        """Translate a JSON value into members. A value of the wrong type is returned unchanged, and later fails
        validation.
        """
        shape = self._shapes[name]
        match shape["type"], value:
            case "structure", dict() if not shape.get("document"):
                return {
                    member: self.read(reference["shape"], value[_wire_name(member, reference)])
                    for member, reference in shape["members"].items()
                    if _wire_name(member, reference) in value
                }
            case "list", list():
                return [self.read(shape["member"]["shape"], item) for item in value]
            case "map", dict():
                return {key: self.read(shape["value"]["shape"], item) for key, item in value.items()}
            case "float" | "double", str():
                return texts.NO_NUMBERS.get(value, value)
            case "timestamp", str() if _is_written(shape):
                return texts.read_timestamp(value, shape["timestampFormat"])
        return value

    def write(self, name: str, value: Any) -> Any:
        """Translate members into a JSON value. Members whose value is None are left out."""
        shape = self._shapes[name]
        match shape["type"]:
            case "structure" if not shape.get("document"):
                return {
                    _wire_name(member, reference): self.write(reference["shape"], value[member])
                    for member, reference in shape["members"].items()
                    if value.get(member) is not None
                }
            case "list":
                return [self.write(shape["member"]["shape"], item) for item in value]
            case "map":
                return {key: self.write(shape["value"]["shape"], item) for key, item in value.items()}
            case "float" | "double":
                return texts.write_float(value)
            case "timestamp":
                return texts.write_timestamp(value, shape.get("timestampFormat", texts.SECONDS))
        return value


def _is_written(shape: Shape) -> bool:
    """Return whether a shape is a timestamp that JSON carries as a string instead of a number of seconds."""
    return bool(shape.get("timestampFormat", texts.SECONDS) != texts.SECONDS)


def _wire_name(member: str, reference: Mapping[str, Any]) -> str:
    return str(reference.get("locationName", member))
