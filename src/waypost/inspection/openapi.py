"""Builds the OpenAPI 3.1 description of the inspection API from the table of operations and the schema."""

import inspect
import re
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import waypost
from waypost.app import inspection_schema as schema
from waypost.inspection.operations import OPERATIONS, Operation, Parameter
from waypost.inspection.requests import HIGHEST_PART

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def description(prefix: str) -> dict[str, Any]:
    """Return the description, as JSON. `prefix` is the path below which the API is."""
    components: dict[str, Any] = {}
    _component(schema.Error, components)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(f"{prefix}{operation.path}", {})[operation.method.lower()] = _operation(operation, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The inspection API of Waypost",
            "version": waypost.__version__,
            "description": "Shows the mail of an account, its traces and its queue.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "accessKey": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "the id and the secret of a permanent access key",
                }
            },
        },
    }


def _operation(operation: Operation, components: dict[str, Any]) -> dict[str, Any]:
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    described: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}_{operation.name}",
        "summary": operation.summary,
        "parameters": [*_in_path(operation.path), *map(_parameter, operation.parameters)],
        "security": _security(operation),
        "responses": {
            "200": {"description": "success", "content": {operation.media_type: _content(operation, components)}},
            "4XX": {"description": "the request is refused; the error is a sentence", **error},
            "5XX": {"description": "the server failed, or could not answer in time", **error},
        },
    }
    if operation.action:
        described["description"] = f"The policy of the access key must allow `{operation.action}`."
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    elif operation.method == "POST":
        described["requestBody"] = {"content": {"message/rfc822": {}}}
    return described


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    """Return the alternatives of credentials for a request; the empty object stands for none."""
    if operation.action is None:
        return []
    return [{"accessKey": []}, *([{}] if operation.is_open_to_local else [])]


def _content(operation: Operation, components: dict[str, Any]) -> dict[str, Any]:
    answer = operation.answer
    if answer:
        return {"schema": _component(answer, components)}
    return {"schema": {"type": "object"}} if operation.media_type == "application/json" else {}


def _in_path(path: str) -> list[dict[str, Any]]:
    notes = {"id": "the id of a message", "number": "the number of a part"}
    kinds: dict[str, Any] = {
        "id": {"type": "string", "pattern": "^[0-9a-f-]+$"},
        "number": {"type": "integer", "minimum": 1, "maximum": HIGHEST_PART},
    }
    return [
        {"name": name, "in": "path", "required": True, "description": notes[name], "schema": kinds[name]}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.note,
        "schema": parameter.schema,
    }


def _component(of: type, components: dict[str, Any]) -> dict[str, Any]:
    """Add the schema of a type, and of the types of its members, to the components. Return the reference to it."""
    name = of.__name__
    if name not in components:
        components[name] = {}  # so that a type that contains itself ends here
        members = get_type_hints(of, include_extras=True)
        components[name] = {
            "type": "object",
            "description": inspect.cleandoc(of.__doc__ or ""),
            "properties": {member: _member(annotation, components) for member, annotation in members.items()},
            "required": sorted(of.__required_keys__),  # type: ignore[attr-defined]
            "additionalProperties": False,
        }
    return {"$ref": f"#/components/schemas/{name}"}


def _member(annotation: Any, components: dict[str, Any]) -> dict[str, Any]:
    of, note = get_args(annotation)
    return {**_schema(of, components), "description": note}


def _schema(of: Any, components: dict[str, Any]) -> dict[str, Any]:
    if of == schema.TraceLine:
        return {"type": "object", "properties": {"at": {"type": "string"}, "event": {"type": "string"}}}
    if is_typeddict(of):
        return _component(of, components)
    if get_origin(of) is list:
        return {"type": "array", "items": _schema(get_args(of)[0], components)}
    if get_origin(of) is UnionType:
        return {"anyOf": [_schema(get_args(of)[0], components), {"type": "null"}]}
    return {"type": _SCALARS[of]}
