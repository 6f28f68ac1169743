"""The reference page of the inspection API: `inspection_api.md` beside this file, and what the schema says."""

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
"""Kinds of events that a row does not list any more."""


def page() -> str:
    """The inspection API: its requests, and all that is in its answers, from the schema."""
    template = Path(__file__).with_name("inspection_api.md").read_text(encoding="utf-8")
    found: dict[type, list[str]] = {}
    for request, answer in schema.ANSWERS.items():
        _add_answers(answer, f"`{request.replace(' ', f' {inspection.PREFIX}')}`", found)
    _add_answers(schema.Error, "every request, with a status from 400 on", found)
    answers = [line for answer, requests in found.items() for line in _answer(answer, requests)]
    template = template.replace("<!-- answers -->", "\n".join(answers).strip())
    return template.replace("<!-- events -->", "\n".join(_events_of_a_trace()))


def _add_answers(answer: Any, request: str, found: dict[type, list[str]]) -> None:
    """Note that a request is answered so. The answers within an answer come behind it, and are of no request."""
    if is_typeddict(answer):
        found.setdefault(answer, []).extend([request] if request else [])
        for of in get_type_hints(answer).values():
            _add_answers(of, "", found)
    for of in get_args(answer):
        _add_answers(of, "", found)


def _answer(answer: type, requests: Sequence[str]) -> list[str]:
    """A section on one answer."""
    rows = []
    for name, annotation in get_type_hints(answer, include_extras=True).items():
        of, *notes = get_args(annotation)
        seldom = "; not always there" if name in answer.__optional_keys__ else ""  # type: ignore[attr-defined]
        rows.append(f"| `{name}` | {_json_type(of)} | {notes[-1]}{seldom} |")
    told = [f"Of {', '.join(requests)}.\n"] if requests else []
    return [f"### {_heading(answer)}\n", *told, "| member | type | meaning |", "|---|---|---|", *rows, ""]


def _heading(answer: type) -> str:
    return inspect.cleandoc(answer.__doc__ or "").removesuffix(".")


def _json_type(of: Any) -> str:
    """The type of a member, in words."""
    if of == schema.TraceLine:
        return "[event](#the-events-of-a-trace)"
    if is_typeddict(of):
        anchor = re.sub(r"[^a-z -]", "", _heading(of).lower()).replace(" ", "-")
        return f"[{_heading(of)[0].lower()}{_heading(of)[1:]}](#{anchor})"
    if get_origin(of) is list:
        return f"list: {_json_type(get_args(of)[0])}"
    if get_origin(of) is UnionType:
        return f"{_json_type(get_args(of)[0])}, or null"
    return {str: "text", int: "number", bool: "true or false"}[of]


def _events_of_a_trace() -> list[str]:
    """What each kind of event tells, and what each member means."""
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
        "| member | of | meaning |",
        "|---|---|---|",
        *members,
    ]
