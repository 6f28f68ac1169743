"""Generates the reference page of the inspection API, from `inspection_api.md` in this folder and the schema."""

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from waypost.app import inspection_schema as schema
from waypost.domain.mail import trace_events
from waypost.inspection import asgi as inspection

MANY = 4
"""If this many kinds of events have a member, its row says "several" instead of listing the kinds."""


def page() -> str:
    """Return the page: the requests of the inspection API, and all members of the responses, from the schema."""
    template = Path(__file__).with_name("inspection_api.md").read_text(encoding="utf-8")
    found: dict[type, list[str]] = {}
    for request, answer in schema.ANSWERS.items():
        _add_answers(answer, f"`{request.replace(' ', f' {inspection.PREFIX}')}`", found)
    _add_answers(schema.Error, "every request that fails, with a status of 400 or more", found)
    answers = [line for answer, requests in found.items() for line in _answer(answer, requests)]
    template = template.replace("<!-- answers -->", "\n".join(answers).strip())
    return template.replace("<!-- events -->", "\n".join(_events_of_a_trace()))


def _add_answers(answer: Any, request: str, found: dict[type, list[str]]) -> None:
    """Add a response type and the request that returns it to `found`; nested types follow it without a request."""
    if is_typeddict(answer):
        found.setdefault(answer, []).extend([request] if request else [])
        for of in get_type_hints(answer).values():
            _add_answers(of, "", found)
    for of in get_args(answer):
        _add_answers(of, "", found)


def _answer(answer: type, requests: Sequence[str]) -> list[str]:
    """Return the section on one response type."""
    rows = []
    for name, annotation in get_type_hints(answer, include_extras=True).items():
        of, *notes = get_args(annotation)
        optional = "; optional" if name in answer.__optional_keys__ else ""  # type: ignore[attr-defined]
        rows.append(f"| `{name}` | {_json_type(of)} | {notes[-1]}{optional} |")
    returned_by = [f"This object is the response to {' and '.join(requests)}.\n"] if requests else []
    return [f"### {_heading(answer)}\n", *returned_by, "| member | type | meaning |", "|---|---|---|", *rows, ""]


def _heading(answer: type) -> str:
    return inspect.cleandoc(answer.__doc__ or "").removesuffix(".")


def _json_type(of: Any) -> str:
    """Return the type of a member, in words."""
    if of == schema.TraceLine:
        return "[event](#the-events-of-a-trace)"
    if is_typeddict(of):
        anchor = re.sub(r"[^a-z -]", "", _heading(of).lower()).replace(" ", "-")
        return f"[{_heading(of)[0].lower()}{_heading(of)[1:]}](#{anchor})"
    if get_origin(of) is list:
        return f"list: {_json_type(get_args(of)[0])}"
    if get_origin(of) is UnionType:
        return f"{_json_type(get_args(of)[0])}, or null"
    return {str: "string", int: "number", float: "number", bool: "boolean"}[of]


def _events_of_a_trace() -> list[str]:
    """Return a table of the kinds of events, and a table of their members."""
    kinds, notes = [], dict[tuple[str, str], list[str]]()
    for kind, event in trace_events.KINDS.items():
        found = trace_events.members_of(event)
        kinds.append(
            f"| `{kind}` | {inspect.cleandoc(event.__doc__ or '')} | {', '.join(f'`{one.name}`' for one in found)} |"
        )
        for one in found:
            notes.setdefault((one.name, one.note), []).append(f"`{kind}`")
    members = [
        f"| `{name}` | {', '.join(of) if len(of) < MANY else 'several'} | {note} |"
        for (name, note), of in notes.items()
    ]
    return [
        "| event | what happened | members |",
        "|---|---|---|",
        *kinds,
        "",
        "| member | events | meaning |",
        "|---|---|---|",
        *members,
    ]
