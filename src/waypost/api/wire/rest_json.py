"""The rest-json protocol, which carries the members of a call in the path, the query, headers and the body.

None of Amazon Connect's members needs a translation between JSON and the model. Features of rest-json that Amazon
Connect does not use are also implemented, in case a later version of its model uses them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from waypost.api.wire import bindings, bodies, shapes
from waypost.api.wire.http import Request, Response

CONTENT_TYPE = b"application/json"


def members(operation: shapes.Operation, labels: Mapping[str, str], request: Request) -> dict[str, Any]:
    """Return the members of a request, without validating them.

    If the model places a member outside the body, a member of the same name in the body is ignored.
    """
    layout = operation.input
    found = bodies.members(request.body) if layout.is_plain else _from_body(layout, request.body, operation.json.read)
    if layout.has_plain_labels and "%" not in request.raw_path and request.raw_path.isascii():
        found.update(labels)
    else:
        for member in layout.labels:
            found[member.name] = _read(member, bindings.from_label, labels[member.wire_name])
    if layout.query:
        query = _parameters(request.query)
        for member in layout.query:
            found[member.name] = _read(member, bindings.from_query, query)
    for member in layout.headers:
        found[member.name] = _read(member, bindings.from_headers, request)
    return found


def response(layout: shapes.Layout, output: Mapping[str, Any], translated: Callable[[str, Any], Any]) -> Response:
    """Build the response for an output with members outside the body, or with members that need translation."""
    headers = [
        header
        for member in layout.headers
        if member.name in output
        for header in bindings.to_headers(member, output[member.name])
    ]
    status = output[layout.status.name] if layout.status and layout.status.name in output else 200
    content_type = CONTENT_TYPE
    if layout.payload is None:
        there = [member for member in layout.body if member.name in output]
        found = {member.wire_name: translated(member.shape_name, output[member.name]) for member in there}
        body = msgspec.json.encode(found)
    elif layout.payload.name not in output:
        body = b""
    elif layout.payload.is_text:
        body, content_type = output[layout.payload.name].encode(), b"text/plain"
    else:
        body = msgspec.json.encode(translated(layout.payload.shape_name, output[layout.payload.name]))
    return Response(status, body, content_type, headers=tuple(headers))


def _read(member: bindings.Member, read: Callable[[bindings.Member, Any], Any], source: Any) -> Any:
    try:
        return read(member, source)
    except bindings.Repeated as error:
        raise bodies.invalid_request(f"Value at '{member.path}' may occur only once.") from error
    except ValueError as error:
        raise bodies.invalid_request(f"Value at '{member.path}' cannot be decoded.") from error


def _parameters(query: str) -> dict[str, list[str]]:
    try:
        return bindings.parameters(query)
    except ValueError as error:
        raise bodies.invalid_request("The name of a query parameter is not valid UTF-8.") from error


def _from_body(layout: shapes.Layout, body: bytes, translated: Callable[[str, Any], Any]) -> dict[str, Any]:
    if layout.payload is None:
        found = bodies.members(body)
        there = [member for member in layout.body if member.wire_name in found]
        return {member.name: translated(member.shape_name, found[member.wire_name]) for member in there}
    if not body:
        return {}
    if layout.payload.is_text:
        return {layout.payload.name: bodies.text(body)}
    return {layout.payload.name: translated(layout.payload.shape_name, bodies.value(body))}
