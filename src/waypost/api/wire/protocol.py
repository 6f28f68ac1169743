"""The AWS protocols: how a request is parsed into an operation and its members, and how an output or error is
serialised as a response.

There are two protocols. In rest-json, which all SDKs use, the method and the path identify the operation, and its
members are in the path, the query, headers and the body. In JSON 1.1, which the examples in the API Reference use, a
request is `POST /`, the header X-Amz-Target identifies the operation, and all members are in the body. The content type
of a request is ignored.

Members that are not in the model are ignored. For JSON 1.1, the translation in `json_form` is not implemented, because
Amazon Connect does not need it.

Sources: the AWS protocols restJson1 and awsJson1_1 in the Smithy documentation. The page docs/aws-differences.md lists
our decisions about cases that these sources do not cover.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from waypost.api.errors import ApiError, translate
from waypost.api.wire import bodies, constraints, rest_json, shapes
from waypost.api.wire.http import Request, Response
from waypost.domain.errors import Invalid

TARGET_PREFIX = "AmazonConnectService."
"""The prefix of an operation's name in X-Amz-Target."""

_BACKSLASH = ord("\\")


class Form(msgspec.Struct, frozen=True):
    """The protocol of a request and its response."""

    content_type: bytes
    has_target: bool
    """Whether the header X-Amz-Target names the operation, and the body contains all members."""


REST_JSON = Form(rest_json.CONTENT_TYPE, has_target=False)
JSON_1_1 = Form(b"application/x-amz-json-1.1", has_target=True)


class Match(msgspec.Struct, frozen=True):
    """The operation that a request names, with the request's protocol and the labels in the request's path. The labels
    are still encoded.
    """

    operation: shapes.Operation
    form: Form
    labels: Mapping[str, str]


class Protocol:
    """Routes and parses the requests for the operations of a service model."""

    def __init__(self, model: shapes.Model) -> None:
        self._operations = model.operations
        self._constraints = constraints.Constraints(model)
        self._routes: dict[tuple[str, int], list[shapes.Operation]] = {}
        self._greedy_routes: list[shapes.Operation] = []
        for operation in model.operations.values():
            if operation.is_greedy:
                self._greedy_routes.append(operation)
            else:
                self._routes.setdefault((operation.method, len(operation.segments)), []).append(operation)

    def route(self, request: Request) -> Match:
        """Find the operation that a request names.

        The raw path is split before it is decoded, because a label may contain an encoded slash. Raises an `ApiError`
        with the code UnknownOperationException if the request names no operation that Waypost implements.
        """
        segments = request.raw_path.split("/")[1:]
        for operation in self._routes.get((request.method, len(segments)), ()):
            labels = _match(operation.segments, segments)
            if labels is not None:
                return Match(operation, REST_JSON, labels)
        for operation in self._greedy_routes:
            fixed = len(operation.segments) - 1
            if operation.method == request.method and len(segments) > fixed:
                labels = _match(operation.segments, [*segments[:fixed], "/".join(segments[fixed:])])
                if labels is not None:
                    return Match(operation, REST_JSON, labels)
        if form(request.method, request.raw_path).has_target:
            return self._target(request.header("x-amz-target"))
        raise self._unknown(f"{request.method} {request.raw_path[:200]}")

    def _target(self, target: str | None) -> Match:
        if target is None:
            raise self._unknown("POST / without the header X-Amz-Target")
        operation = self._operations.get(target.removeprefix(TARGET_PREFIX))
        if operation is None or not target.startswith(TARGET_PREFIX):
            raise self._unknown(f"X-Amz-Target {target[:200]}")
        return Match(operation, JSON_1_1, {})

    def _unknown(self, what: str) -> ApiError:
        """Return the error for an operation that Waypost does not implement.

        The error message lists the operations that Waypost implements, because callers often try AWS operations that
        Waypost does not have.
        """
        names = ", ".join(sorted(self._operations))
        return ApiError(
            "UnknownOperationException",
            404,
            f"{what} is not an operation that Waypost implements. Waypost implements {names}.",
        )

    def parse(self, match: Match, request: Request) -> Any:
        """Parse and validate all members of a request; return them as the operation's input type.

        Raises an `ApiError` with the code InvalidRequestException if the body is not JSON, or if a member has the wrong
        JSON type. If members violate a constraint, raises an `ApiError` with the code InvalidParameterException, whose
        message names the invalid members. If the model does not permit InvalidParameterException for the operation, the
        code is InvalidRequestException instead.
        """
        operation, body = match.operation, request.body
        in_body = match.form.has_target
        members = bodies.members(body) if in_body else rest_json.members(operation, match.labels, request)
        try:
            parsed = msgspec.convert(members, operation.input_type)
        except msgspec.ValidationError as error:
            raise self._explained(operation, members) from error
        # The input types allow the character NUL, but PostgreSQL cannot store it. NUL can occur in a request only in
        # escaped form.
        if (_BACKSLASH in body and b"\\u0000" in body) or "%00" in request.raw_path or "%00" in request.query:
            self._refuse_nul(operation, members)
        return parsed

    def _refuse_nul(self, operation: shapes.Operation, members: Mapping[str, Any]) -> None:
        # The character may also be in a member that is not in the model. Such a member is ignored.
        if self._constraints.broken(operation.input.shape, members):
            raise self._explained(operation, members)

    def _explained(self, operation: shapes.Operation, members: Mapping[str, Any]) -> ApiError:
        violations = self._constraints.broken(operation.input.shape, members)
        wrong_types = [violation.text for violation in violations if violation.wrong_type]
        if wrong_types:
            return bodies.invalid_request("; ".join(wrong_types) + ".")
        texts = [violation.text for violation in violations]
        count = f"{len(texts)} validation error{'s' if len(texts) > 1 else ''} detected: "
        return translate(Invalid(count + "; ".join(texts)), operation.errors)


def form(method: str, path: str) -> Form:
    """Return the protocol of a request. This function also works for a request that is refused before it is routed."""
    return JSON_1_1 if path == "/" and method == "POST" else REST_JSON


def serialise(operation: shapes.Operation, output: Mapping[str, Any], *, form: Form = REST_JSON) -> Response:
    """Serialise the output of an operation as a response. Members whose value is None are left out.

    If the operation has no output shape, the body is empty in rest-json, and an empty object in JSON 1.1.
    """
    layout = operation.output
    if layout is None:
        return Response(200, b"{}" if form.has_target else b"", form.content_type)
    if None in output.values():
        output = {name: value for name, value in output.items() if value is not None}
    if layout.is_plain:
        return Response(200, msgspec.json.encode(output), form.content_type)
    return rest_json.response(layout, output, operation.json.write)


def serialise_error(error: ApiError, *, modelled: bool, form: Form = REST_JSON) -> Response:
    """Serialise an error as a response.

    For an error that the model defines, the message is in the member `Message`, as the model specifies. For all other
    errors, the message is in the member `message`, as in responses from the AWS front end.
    """
    # A message may quote data from the client, which can contain arbitrary bytes.
    message = error.message.encode("utf-8", "replace").decode()
    body = {"Message" if modelled else "message": message}
    if form.has_target:
        body = {"__type": error.code, **body}
    return Response(error.status, msgspec.json.encode(body), form.content_type, error.code)


def _match(template: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    labels = {}
    for wanted, segment in zip(template, segments, strict=True):
        if wanted.startswith("{"):
            labels[wanted[1:-1]] = segment
        elif wanted != segment:
            return None
    return labels
