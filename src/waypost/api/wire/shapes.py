"""The service model, which is compiled from `model.json` into request types when the server starts.

A request's members are validated in two passes. The fast pass uses `msgspec` with types compiled from the shapes, and
stops at the first error. If the fast pass finds an error, the slow pass (`constraints`) walks the model, and reports
every invalid member with AWS's messages. All shapes come from `model.json`; none is written by hand.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Annotated, Any, ForwardRef, Literal

import msgspec
from msgspec import Struct

from waypost.api.wire import bindings, json_form

Shape = Mapping[str, Any]

_PROPERTIES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
}
"""Replacements for Unicode properties, which Python's `re` does not support. `\\w` stands for `\\p{L}\\p{N}_`."""

_ABSENT: Any = None
"""The value of an optional member that is missing from a request. A member that is null in JSON counts as missing."""


class Layout(Struct, frozen=True):
    """The location of each member of an operation's input or output: the path, the query, a header, the body, or the
    status code.
    """

    shape: Shape
    labels: tuple[bindings.Member, ...]
    query: tuple[bindings.Member, ...]
    headers: tuple[bindings.Member, ...]
    body: tuple[bindings.Member, ...]
    payload: bindings.Member | None
    status: bindings.Member | None
    is_plain: bool
    """True if no member is in a header, the payload or the status code, and the JSON of the body needs no translation.
    """
    has_plain_labels: bool
    """Whether every label is a string and has the same name as its member."""


class Operation(Struct, frozen=True):
    """One operation of the service, in the form that the protocols use."""

    name: str
    method: str
    segments: tuple[str, ...]
    """The segments of the path; a segment of the form `{Name}` is a label."""
    is_greedy: bool
    """Whether the last label may contain slashes."""
    input: Layout
    input_type: type[msgspec.Struct]
    output: Layout | None
    json: json_form.JsonForm
    errors: Mapping[str, int]
    """The exceptions that the operation may return, with their HTTP status."""


class Model:
    """The compiled service model, with all operations by name."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.shapes: Mapping[str, Shape] = document["shapes"]
        self._json = json_form.JsonForm(self.shapes)
        self._compiled: dict[str, Any] = {}
        self._inside_itself: set[str] = set()
        self.operations = {name: self._operation(name, operation) for name, operation in document["operations"].items()}
        self._close_the_cycles()

    def _operation(self, name: str, operation: Mapping[str, Any]) -> Operation:
        # A fixed query in the URI does not help to identify the operation.
        path, _, _ = operation["uri"].partition("?")
        return Operation(
            name=name,
            method=operation["method"],
            segments=tuple(path.replace("+}", "}").split("/")[1:]),
            is_greedy=path.endswith("+}"),
            input=self._layout(operation["input"]),
            input_type=self._compile(operation["input"]),
            output=self._layout(operation["output"]) if operation["output"] else None,
            json=self._json,
            errors={error: self.shapes[error]["error"]["httpStatusCode"] for error in operation["errors"]},
        )

    def _layout(self, name: str) -> Layout:
        shape = self.shapes[name]
        members = [self._member(name, reference, shape) for name, reference in shape["members"].items()]
        labels, body = _located(members, "uri"), _located(members, "body")
        headers = _located(members, "header", "headers")
        payload = next(iter(_located(members, "payload")), None)
        status = next(iter(_located(members, "statusCode")), None)
        return Layout(
            shape=shape,
            labels=labels,
            query=_located(members, "querystring"),
            headers=headers,
            body=body,
            payload=payload,
            status=status,
            is_plain=not (headers or payload or status)
            and all(member.wire_name == member.name and self._json.is_plain(member.shape_name) for member in body),
            has_plain_labels=all(member.wire_name == member.name and member.is_text for member in labels),
        )

    def _member(self, name: str, reference: Mapping[str, Any], structure: Shape) -> bindings.Member:
        shape = self.shapes[reference["shape"]]
        item = shape.get("member") or shape.get("value")
        return bindings.Member(
            name=name,
            location="payload" if structure.get("payload") == name else reference.get("location", "body"),
            wire_name=reference.get("locationName", "" if reference.get("location") == "headers" else name),
            shape_name=reference["shape"],
            shape=shape,
            item=self.shapes[item["shape"]] if item else None,
            is_text=shape["type"] == "string",
            packed=reference.get("jsonvalue", False),
        )

    # The fast pass uses types that are compiled from the shapes.

    def _compile(self, name: str) -> Any:
        if name not in self._compiled:
            # A recursive shape (a tree of search conditions) refers to itself by name.
            self._compiled[name] = ForwardRef(name)
            self._compiled[name] = self._compiled_shape(name, self.shapes[name])
        elif isinstance(self._compiled[name], ForwardRef):
            self._inside_itself.add(name)
        return self._compiled[name]

    def _close_the_cycles(self) -> None:
        """Make each recursive shape an attribute of the compiled classes, because msgspec looks up names there."""
        structures = [compiled for compiled in self._compiled.values() if isinstance(compiled, type(msgspec.Struct))]
        for structure, name in itertools.product(structures, self._inside_itself):
            setattr(structure, name, self._compiled[name])

    def _compiled_shape(self, name: str, shape: Shape) -> Any:
        sizes = {"min_length": shape.get("min"), "max_length": shape.get("max")}
        match shape["type"]:
            case "structure" if shape.get("document"):
                return Any
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
            case "float" | "double" | "timestamp":
                return float
            case "boolean":
                return bool
            case other:
                raise LookupError(f"the shape {name} has an unsupported type: {other}")

    def _compiled_structure(self, name: str, shape: Shape) -> Any:
        fields: list[Any] = []
        for member, reference in shape["members"].items():
            compiled = self._compile(reference["shape"])
            if member in shape.get("required", ()):
                fields.append((snake_case(member), compiled, msgspec.field(name=member)))
            else:
                fields.append((snake_case(member), compiled | None, msgspec.field(name=member, default=_ABSENT)))
        return msgspec.defstruct(name, fields, frozen=True, kw_only=True)


def load() -> Model:
    """Load the service model from `model.json`."""
    return Model(json.loads(resources.files("waypost.api").joinpath("model.json").read_bytes()))


def snake_case(member: str) -> str:
    """Convert the name of a member, such as `EmailAddressId`, to an attribute name, such as `email_address_id`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", member).lower()


def python_pattern(pattern: str) -> str:
    """Convert a regular expression from the model to the syntax of Python's `re`.

    In the converted pattern, `$` does not match before a final newline.
    """
    for theirs, ours in _PROPERTIES.items():
        pattern = pattern.replace(theirs, ours)
    return re.sub(r"\$$", r"\\Z", pattern)


def _located(members: Iterable[bindings.Member], *locations: str) -> tuple[bindings.Member, ...]:
    return tuple(member for member in members if member.location in locations)
