"""The table of the requests that the inspection API answers, for its routes and its OpenAPI description."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from waypost.app import inspection_schema as schema
from waypost.domain.iam.actions import (
    ADVANCE_CLOCK,
    CHANGE_ROUTES,
    CHECK_SERVER,
    DELETE_MAIL,
    INJECT_FAULTS,
    INSPECT,
    LIST_ROUTES,
    REDRIVE,
    RESET,
)
from waypost.domain.mail.delivery import Reason
from waypost.domain.mail.fault_rules import Action, Stage
from waypost.domain.mail.mail_search import QUERY_LIMIT
from waypost.domain.mail.routes import Fault, LineEnds, Tls
from waypost.inspection.requests import HIGHEST_PART, IDS_LIMIT, MAX_PAGE_SIZE, PAGE_SIZE, STATUSES

Schema = Mapping[str, Any]
"""A JSON schema."""


class Parameter(Struct, frozen=True):
    """A query parameter or header field of a request."""

    name: str
    note: str
    schema: Schema
    required: bool = False
    place: str = "query"


class Operation(Struct, frozen=True):
    """A request that the API answers."""

    method: str
    path: str
    """The path below `/_waypost`, in which `{id}` and `{number}` stand for parts of the path."""
    name: str
    """The name of the page that answers the request."""
    action: str | None
    """The action that the policy of the access key must allow; None if the request needs no access key."""
    summary: str
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    """The schema of the body, which is JSON; None if the request has no JSON body."""
    is_open_to_local: bool = False
    """Whether a program on the server's machine needs no access key for this request."""
    media_type: str = "application/json"
    """The media type of the response. The schema of a JSON response is in `inspection_schema.ANSWERS`."""

    @property
    def answer(self) -> type | None:
        """The type of the JSON response; None if the response is not described by the schema."""
        path = self.path.replace("{id}", "ID").replace("{number}", "N")
        return schema.ANSWERS.get(f"{self.method} {path}")


_TEXT: Schema = {"type": "string", "minLength": 1}
_TIME: Schema = {"type": "string", "format": "date-time"}
_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PLACE: Schema = {"type": "string", "pattern": rf"^{_ID}(\.{_ID})?$"}
_IDS: Schema = {"type": "array", "items": _TEXT, "maxItems": IDS_LIMIT}

ADDRESS = Parameter("address", "an email address of the account", _TEXT)
LIMIT = Parameter(
    "limit",
    "the maximum number of items",
    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE},
)
AFTER = Parameter("after", "the id of the message or delivery after which the page begins", _PLACE)
NEXT = Parameter("after", "the `next` of the previous page", _TEXT)
SINCE = Parameter("since", "the earliest time", _TIME)
GIVEN_UP_BEFORE = Parameter("given_up_before", "the time before which the delivery was given up", _TIME)
DESTINATION = Parameter("destination", "the destination of a route", _TEXT)
PARTS_ADDRESS = Parameter("address", "the email address whose copy is read", _TEXT, required=True)


def _object(required: tuple[str, ...] = (), **members: Schema) -> Schema:
    return {
        "type": "object",
        "properties": members,
        "required": list(required),
        "additionalProperties": False,
    }


OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/health", "health", None, "Report that the server process runs"),
    Operation("GET", "/ready", "ready", None, "Report whether the store takes writes"),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        INSPECT,
        "Read the metrics for Prometheus",
        is_open_to_local=True,
        media_type="text/plain",
    ),
    Operation("GET", "/doctor", "doctor", CHECK_SERVER, "Check the server, its machine and its database"),
    Operation("GET", "/openapi.json", "openapi", None, "Describe this API"),
    Operation(
        "GET",
        "/instance",
        "instance",
        INSPECT,
        "Find the oldest instance in a region",
        (Parameter("region", "the region", {"type": "string"}),),
    ),
    Operation(
        "GET",
        "/messages",
        "messages",
        INSPECT,
        "List the inbox of an address, or the deliveries of the account",
        (
            ADDRESS,
            Parameter("reason", "the reason for the deliveries", {"enum": [*Reason]}),
            Parameter("status", "the status of the deliveries", {"enum": [*STATUSES]}),
            LIMIT,
            AFTER,
        ),
    ),
    Operation("GET", "/messages/{id}", "message", INSPECT, "Show a message, its deliveries and its trace"),
    Operation(
        "DELETE",
        "/messages/{id}",
        "delete",
        DELETE_MAIL,
        "Delete the deliveries of a message",
        (Parameter("cancel", "whether to delete queued deliveries too", {"enum": ["true", "false"]}),),
    ),
    Operation(
        "POST",
        "/messages/delete",
        "delete_many",
        DELETE_MAIL,
        "Delete messages or deliveries",
        body=_object(("ids",), ids=_IDS, cancel={"type": "boolean"}),
    ),
    Operation(
        "GET",
        "/messages/{id}/raw",
        "raw",
        INSPECT,
        "Get the exact bytes of a copy",
        (PARTS_ADDRESS,),
        media_type="message/rfc822",
    ),
    Operation("GET", "/messages/{id}/parts", "parts", INSPECT, "List the header fields and parts of a message"),
    Operation(
        "GET",
        "/messages/{id}/parts/{number}",
        "part",
        INSPECT,
        "Get the decoded content of a part",
        media_type="*/*",
    ),
    Operation("GET", "/messages/{id}/text", "text", INSPECT, "Get the text of a message", media_type="text/plain"),
    Operation(
        "GET",
        "/messages/{id}/html",
        "html",
        INSPECT,
        "Get HTML of a message that is safe to show",
        (
            Parameter("part", "the number of the part", {"type": "integer", "minimum": 1, "maximum": HIGHEST_PART}),
            Parameter("remote", "whether to keep references to remote pictures", {"enum": ["true", "false"]}),
        ),
    ),
    Operation("GET", "/refusals", "refusals", INSPECT, "List the refusals of mail for the account", (LIMIT, NEXT)),
    Operation(
        "GET",
        "/search",
        "search",
        INSPECT,
        "Search mail",
        (
            Parameter("q", "the query", {"type": "string", "minLength": 1, "maxLength": QUERY_LIMIT}, required=True),
            LIMIT,
            NEXT,
        ),
    ),
    Operation("GET", "/counts", "counts", INSPECT, "Count mail over time"),
    Operation(
        "GET",
        "/events",
        "events",
        INSPECT,
        "Follow the changes to the mail of the account",
        (
            Parameter("after", "the number of the last change", {"type": "string", "pattern": "^[0-9]+$"}),
            Parameter("Last-Event-ID", "the same, with precedence", {"type": "string"}, place="header"),
        ),
        media_type="text/event-stream",
    ),
    Operation(
        "GET",
        "/trace",
        "traced",
        INSPECT,
        "Find the traces of messages, and refusals",
        (Parameter("what", "a message id, a Message-ID or an address", _TEXT, required=True), LIMIT),
    ),
    Operation(
        "GET",
        "/explain",
        "explained",
        INSPECT,
        "Explain what would happen to mail",
        (
            Parameter("address", "the recipient", _TEXT, required=True),
            Parameter("from", "the sender; empty for the null sender", {"type": "string"}),
        ),
    ),
    Operation(
        "POST",
        "/explain",
        "explained",
        INSPECT,
        "Explain what would happen to the message in the body",
        (
            Parameter("address", "the recipient", _TEXT, required=True),
            Parameter("from", "the sender; empty for the null sender", {"type": "string"}),
        ),
    ),
    Operation(
        "GET",
        "/queue",
        "waiting",
        INSPECT,
        "List the queued deliveries",
        (Parameter("destination", "the destination of a route", _TEXT), AFTER, LIMIT),
    ),
    Operation(
        "GET",
        "/dead-letters",
        "dead_letters",
        INSPECT,
        "List the dead letters",
        (ADDRESS, SINCE, GIVEN_UP_BEFORE, DESTINATION, AFTER, LIMIT),
    ),
    Operation(
        "POST",
        "/dead-letters/remove",
        "remove",
        DELETE_MAIL,
        "Remove dead letters",
        body=_object(
            (),
            ids=_IDS,
            all={"type": "boolean"},
            address=_TEXT,
            since=_TIME,
            given_up_before=_TIME,
            destination=_TEXT,
            dry_run={"type": "boolean"},
        ),
    ),
    Operation(
        "POST",
        "/dead-letters/redrive",
        "redrive",
        REDRIVE,
        "Attempt dead letters again",
        body=_object((), ids=_IDS, all={"type": "boolean"}, address=_TEXT, since=_TIME),
    ),
    Operation(
        "POST",
        "/replay",
        "replay",
        REDRIVE,
        "Forward the mail of an alias again",
        body=_object(("address", "since"), address=_TEXT, since=_TIME),
    ),
    Operation("GET", "/clock", "clock", INSPECT, "Show the mail clock"),
    Operation(
        "POST",
        "/clock/advance",
        "advance",
        ADVANCE_CLOCK,
        "Advance the virtual clock",
        body=_object(("by",), by={"type": "string", "pattern": "^[0-9]{1,9}[dhms]$"}),
    ),
    Operation("GET", "/faults", "faults", INJECT_FAULTS, "List the fault rules"),
    Operation(
        "POST",
        "/faults",
        "add_fault",
        INJECT_FAULTS,
        "Add a fault rule",
        body=_object(
            ("stage", "action"),
            stage={"enum": [*Stage]},
            action={"enum": [*Action]},
            sender=_TEXT,
            recipient=_TEXT,
            source=_TEXT,
            larger_than={"type": "integer", "minimum": 1},
            probability={"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            times={"type": "integer", "minimum": 1, "maximum": 1_000_000},
            delay={"type": "string", "pattern": "^[0-9]{1,9}[dhms]$"},
            reply=_TEXT,
        ),
    ),
    Operation("DELETE", "/faults", "reset_faults", INJECT_FAULTS, "Remove all added fault rules"),
    Operation("DELETE", "/faults/{id}", "remove_fault", INJECT_FAULTS, "Remove an added fault rule"),
    Operation("GET", "/routes", "routes", LIST_ROUTES, "List the routes"),
    Operation(
        "POST",
        "/routes",
        "add_route",
        CHANGE_ROUTES,
        "Add a route",
        body=_object(
            ("match", "to"),
            match=_TEXT,
            to=_TEXT,
            keep={"type": "boolean"},
            tls={"enum": [*Tls]},
            user=_TEXT,
            secret=_TEXT,
            rewrite_sender={"type": "boolean"},
            allow_private={"type": "boolean"},
            connections={"type": "integer", "minimum": 1, "maximum": 1_000},
            line_ends={"enum": [*LineEnds]},
            fault={"enum": [*Fault]},
            before={"type": "integer", "minimum": 1, "maximum": 999_999},
        ),
    ),
    Operation(
        "DELETE",
        "/routes/{number}",
        "remove_route",
        CHANGE_ROUTES,
        "Remove a route",
        (Parameter("name", "the log name of the route, if it must still be the same route", _TEXT),),
    ),
    Operation("POST", "/reset", "reset", RESET, "Make a server for tests forget everything", body=_object()),
)
"""All requests that the API answers."""
