"""rest-json without sockets: a request to an operation and its members, an output or error to a response.

Source: the AWS restJson1 protocol (Smithy documentation); docs/aws-differences.md for what it leaves open.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from waypost.api import shapes
from waypost.api.errors import ApiError, translate
from waypost.api.http import OCTETS, Request, Response
from waypost.domain.errors import Invalid

_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


class Match(msgspec.Struct, frozen=True):
    """An operation that a request names by method and path, with the labels of the path, still encoded."""

    operation: shapes.Operation
    labels: Mapping[str, str]


class Protocol:
    """The wire form of a service model."""

    def __init__(self, model: shapes.Model) -> None:
        self._model = model
        self._routes: dict[tuple[str, int], list[shapes.Operation]] = {}
        for operation in model.operations.values():
            self._routes.setdefault((operation.method, len(operation.segments)), []).append(operation)

    def route(self, request: Request) -> Match:
        """Find the operation. Works on the raw path, split before decoding: a label may hold an encoded slash.

        Raises `ApiError` UnknownOperationException.
        """
        segments = request.raw_path.split("/")[1:]
        for operation in self._routes.get((request.method, len(segments)), ()):
            labels = _match(operation.segments, segments)
            if labels is not None:
                return Match(operation, labels)
        message = f"{request.method} {request.raw_path[:200]} is no operation of this service."
        raise ApiError("UnknownOperationException", 404, message)

    def parse(self, match: Match, request: Request) -> Any:
        """The members of the request, as the operation's input type: every one of them checked.

        Raises `ApiError`: InvalidRequestException where the body is no JSON or a member has the wrong JSON type,
        else InvalidParameterException (where the operation has it), naming all members that break a constraint.
        """
        operation = match.operation
        body = _json_object(request.body)
        query = _query(request.query)
        members: dict[str, Any] = {}
        for member in operation.members:
            if member.location == "body":
                value = body.get(member.wire_name)
            elif member.location == "uri":
                value = _decoded(match.labels[member.wire_name])
            else:
                value = _from_query(member, query.get(member.wire_name))
            if value is not None:
                members[member.name] = value
        try:
            return msgspec.convert(members, operation.input_type)
        except msgspec.ValidationError as error:
            raise self._explained(operation, members) from error

    def _explained(self, operation: shapes.Operation, members: Mapping[str, Any]) -> ApiError:
        try:
            violations = self._model.broken_members(operation, members)
        except RecursionError:
            return invalid_request("The request body is nested too deeply.")
        wrong_types = [violation.text for violation in violations if violation.wrong_type]
        if wrong_types:
            return invalid_request("; ".join(wrong_types) + ".")
        texts = [violation.text for violation in violations]
        count = f"{len(texts)} validation error{'s' if len(texts) > 1 else ''} detected: "
        return translate(Invalid(count + "; ".join(texts)), operation.errors)


def serialise(operation: shapes.Operation, output: Mapping[str, Any]) -> Response:
    """The answer of an operation. One without an output shape answers with no body at all; None is left out."""
    if not operation.has_output:
        return Response(200, b"")
    return Response(200, msgspec.json.encode({name: value for name, value in output.items() if value is not None}))


def serialise_error(error: ApiError, *, modelled: bool) -> Response:
    """An error's answer. The model names the member `Message`; AWS's own front answers `message`."""
    # A message may quote what came over the wire, and that may be any octets.
    message = error.message.encode("utf-8", "replace").decode()
    body = {"Message" if modelled else "message": message}
    return Response(error.status, msgspec.json.encode(body), error_type=error.code)


def invalid_request(message: str) -> ApiError:
    """The error for a request that cannot be understood, which every operation has."""
    return ApiError("InvalidRequestException", 400, message)


def _match(template: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    labels = {}
    for wanted, segment in zip(template, segments, strict=True):
        if wanted.startswith("{"):
            labels[wanted[1:-1]] = segment
        elif wanted != segment:
            return None
    return labels


def _json_object(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_request(f"The request body is no valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise invalid_request("The request body must be a JSON object.")
    return value


def _decoded(encoded: str) -> str:
    if "%" not in encoded and encoded.isascii():
        return encoded
    try:
        return unquote_to_bytes(encoded.encode(*OCTETS)).decode()
    except UnicodeDecodeError as error:
        raise invalid_request("A path or query value is no valid UTF-8.") from error


def _query(query: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        values.setdefault(_decoded(name), []).append(_decoded(value.replace("+", " ")))
    return values


def _from_query(member: shapes.Member, values: list[str] | None) -> Any:
    if values is None or member.type == "list":
        return values
    if member.type in ("integer", "long"):
        text = values[0]
        # Anything else stays text, and is refused as no integer.
        return int(text) if _INTEGER.fullmatch(text) else text
    return values[0]
