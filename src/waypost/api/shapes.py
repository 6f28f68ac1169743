"""The service model as types: what may be in a request, compiled at start from `model.json`.

There are two passes over a request's members. The fast one is `msgspec`, on types compiled from the shapes;
it stops at the first mistake and says it in its own words. So when it finds one, the slow pass walks the model
itself and names every broken member in AWS's words. Nothing about a shape is written by hand.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Literal

import msgspec

Shape = Mapping[str, Any]

QUOTED_LIMIT = 1000
"""Characters of a broken value that a message quotes."""

_ABSENT: Any = None
"""What an optional member is when a request does not have it; JSON's null counts as absent."""

_PROPERTIES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
}
"""Unicode properties, which Python's `re` does not know, as parts of a character class. `\\w` is `\\p{L}\\p{N}_`."""

_JSON_TYPES: Mapping[str, tuple[type[Any], str]] = {
    "structure": (dict, "a JSON object"),
    "map": (dict, "a JSON object"),
    "list": (list, "a JSON array"),
    "string": (str, "a JSON string"),
    "boolean": (bool, "a JSON boolean"),
    "integer": (int, "a JSON integer"),
    "long": (int, "a JSON integer"),
}


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an operation's input: its name in the model, and where it is on the wire."""

    name: str
    location: str
    """`uri`, `querystring` or `body`."""
    wire_name: str
    type: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the service, as the wire needs it."""

    name: str
    method: str
    segments: tuple[str, ...]
    """The path between the slashes; `{Name}` is a label."""
    members: tuple[Member, ...]
    input_shape: Shape
    input_type: type[msgspec.Struct]
    has_output: bool
    errors: Mapping[str, int]
    """The exceptions it may answer, with their HTTP status."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken member. `wrong_type` tells a value that is no such JSON type from one that breaks a constraint."""

    text: str
    wrong_type: bool


class Model:
    """All operations, compiled."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._shapes: Mapping[str, Shape] = document["shapes"]
        self._compiled: dict[str, Any] = {}
        self.operations = {name: self._operation(name, operation) for name, operation in document["operations"].items()}

    def broken_members(self, operation: Operation, members: Mapping[str, Any]) -> list[Violation]:
        """The slow pass: everything that is wrong with these members, in the order of the model."""
        return list(self._check_structure("", operation.input_shape, members))

    def _operation(self, name: str, operation: Mapping[str, Any]) -> Operation:
        shape = self._shapes[operation["input"]]
        return Operation(
            name=name,
            method=operation["method"],
            segments=tuple(operation["uri"].split("/")[1:]),
            members=tuple(self._member(name, reference) for name, reference in shape["members"].items()),
            input_shape=shape,
            input_type=self._compile(operation["input"]),
            has_output=operation["output"] is not None,
            errors={error: self._shapes[error]["error"]["httpStatusCode"] for error in operation["errors"]},
        )

    def _member(self, name: str, reference: Mapping[str, Any]) -> Member:
        location = reference.get("location", "body")
        return Member(name, location, reference.get("locationName", name), self._shapes[reference["shape"]]["type"])

    # The fast pass: shapes to types.

    def _compile(self, name: str) -> Any:
        if name not in self._compiled:
            # A shape inside itself (a tree of search conditions) is left to the slow pass.
            self._compiled[name] = dict[str, Any]
            self._compiled[name] = self._compiled_shape(name, self._shapes[name])
        return self._compiled[name]

    def _compiled_shape(self, name: str, shape: Shape) -> Any:
        sizes = {"min_length": shape.get("min"), "max_length": shape.get("max")}
        match shape["type"]:
            case "structure":
                return self._compiled_structure(name, shape)
            case "list":
                return Annotated[list[self._compile(shape["member"]["shape"])], msgspec.Meta(**sizes)]  # type: ignore[misc]
            case "map":
                key, value = self._compile(shape["key"]["shape"]), self._compile(shape["value"]["shape"])
                return Annotated[dict[key, value], msgspec.Meta(**sizes)]  # type: ignore[valid-type]
            case "string" if "enum" in shape:
                return Literal[tuple(shape["enum"])]
            case "string":
                pattern = python_pattern(shape["pattern"]) if "pattern" in shape else None
                return Annotated[str, msgspec.Meta(**sizes, pattern=pattern)]
            case "integer" | "long":
                return Annotated[int, msgspec.Meta(ge=shape.get("min"), le=shape.get("max"))]
            case "boolean":
                return bool
            case other:
                raise LookupError(f"{name} has a type that no request of ours has yet: {other}")

    def _compiled_structure(self, name: str, shape: Shape) -> Any:
        fields: list[Any] = []
        for member, reference in shape["members"].items():
            compiled = self._compile(reference["shape"])
            if member in shape.get("required", ()):
                fields.append((snake_case(member), compiled, msgspec.field(name=member)))
            else:
                fields.append((snake_case(member), compiled | None, msgspec.field(name=member, default=_ABSENT)))
        return msgspec.defstruct(name, fields, frozen=True, kw_only=True)

    # The slow pass: members against shapes.

    def _check(self, path: str, name: str, value: Any) -> Iterator[Violation]:
        shape = self._shapes[name]
        kind, wanted = _JSON_TYPES[shape["type"]]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            yield Violation(f"Value at '{path}' must be {wanted}", wrong_type=True)
            return
        match shape["type"]:
            case "structure":
                yield from self._check_structure(f"{path}.", shape, value)
            case "list":
                yield from _check_size(path, shape, value, len(value))
                for number, item in enumerate(value, start=1):
                    yield from self._check(f"{path}.{number}.member", shape["member"]["shape"], item)
            case "map":
                yield from _check_size(path, shape, value, len(value))
                for key, item in value.items():
                    yield from self._check(f"{path}.key", shape["key"]["shape"], key)
                    yield from self._check(f"{path}.{key}.value", shape["value"]["shape"], item)
            case "string":
                yield from _check_string(path, shape, value)
            case "integer" | "long":
                yield from _check_range(path, shape, value)

    def _check_structure(self, prefix: str, shape: Shape, value: Mapping[str, Any]) -> Iterator[Violation]:
        for member, reference in shape["members"].items():
            path = prefix + member[0].lower() + member[1:]
            if value.get(member) is not None:
                yield from self._check(path, reference["shape"], value[member])
            elif member in shape.get("required", ()):
                text = f"Value null at '{path}' failed to satisfy constraint: Member must not be null"
                yield Violation(text, wrong_type=False)


def load() -> Model:
    """The model of the service, from `model.json`."""
    return Model(json.loads(resources.files(__package__).joinpath("model.json").read_bytes()))


def snake_case(member: str) -> str:
    """`EmailAddressId` as the attribute `email_address_id`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", member).lower()


def python_pattern(pattern: str) -> str:
    """A pattern of the model as Python's `re` reads it; its `$` must not match before a final newline."""
    for theirs, ours in _PROPERTIES.items():
        pattern = pattern.replace(theirs, ours)
    return re.sub(r"\$$", r"\\Z", pattern)


def _failed(path: str, shape: Shape, value: Any, constraint: str) -> Violation:
    shown = "" if shape.get("sensitive") else f" '{_short(value)}'"
    return Violation(
        f"Value{shown} at '{path}' failed to satisfy constraint: Member must {constraint}", wrong_type=False
    )


def _short(value: Any) -> str:
    """A value as it is quoted in a message: whole, unless it is long."""
    text = str(value)
    return text if len(text) <= QUOTED_LIMIT else f"{text[:QUOTED_LIMIT]}…"


def _check_size(path: str, shape: Shape, value: Any, size: int) -> Iterator[Violation]:
    if size < shape.get("min", 0):
        yield _failed(path, shape, value, f"have length greater than or equal to {shape['min']}")
    if "max" in shape and size > shape["max"]:
        yield _failed(path, shape, value, f"have length less than or equal to {shape['max']}")


def _check_string(path: str, shape: Shape, value: str) -> Iterator[Violation]:
    sizes = list(_check_size(path, shape, value, len(value)))
    yield from sizes
    if "enum" in shape and value not in shape["enum"]:
        yield _failed(path, shape, value, f"satisfy enum value set: [{', '.join(shape['enum'])}]")
    # A pattern is not tried on a text of any length: that is how regular expressions are made to take hours.
    if "pattern" in shape and not sizes and not re.search(python_pattern(shape["pattern"]), value):
        yield _failed(path, shape, value, f"satisfy regular expression pattern: {shape['pattern']}")


def _check_range(path: str, shape: Shape, value: int) -> Iterator[Violation]:
    if "min" in shape and value < shape["min"]:
        yield _failed(path, shape, value, f"have value greater than or equal to {shape['min']}")
    if "max" in shape and value > shape["max"]:
        yield _failed(path, shape, value, f"have value less than or equal to {shape['max']}")
