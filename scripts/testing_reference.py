"""Generates the reference page of `waypost.testing` from its signatures and docstrings."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from waypost import testing
from waypost.testing import pytest_plugin

GROUPS = {
    "The server": ("Waypost", "WaypostContainer"),
    "Mail": ("Mail", "Attachment", "Trace", "TraceEvent", "Sent", "DeadLetter"),
    "What a test makes": ("EmailAddress", "AliasLink", "AddedRoute", "AddedFaultRule", "MailClock"),
    "For unittest, and as a mock": ("WaypostMixin", "mock_connect_email", "ConnectEmailMock"),
    "Errors": ("NoSuchMail", "CallFailed", "ServerRefused", "NoServer", "ServerDied"),
    "A server without the kit": ("server", "Server"),
}
"""The names of the package, in the order of the page."""

FIXTURES = ("waypost", "waypost_client", "waypost_environment", "waypost_server", "waypost_settings")


def page() -> str:
    """Return the page."""
    lines = [
        "# Test kit",
        "",
        "Everything on this page is in `waypost.testing`. [How to use it](../how-to/test-with-waypost.md).",
        "",
        "## Fixtures of pytest",
        "",
        "| fixture | what it is |",
        "|---|---|",
        *(f"| `{name}` | {_cell(getattr(pytest_plugin, name))} |" for name in FIXTURES),
        "",
        f"The marker is `{pytest_plugin.MARKER.partition(':')[0]}`, and the option is `--waypost-log FILE`.",
    ]
    for title, names in GROUPS.items():
        lines += ["", f"## {title}"]
        for name in names:
            lines += ["", *_section(name, getattr(testing, name))]
    return "\n".join(lines) + "\n"


def _section(name: str, thing: Any) -> Iterator[str]:
    """Yield the lines about a class or a function."""
    yield f"### `{name}{_signature(thing)}`"
    yield ""
    yield _doc(thing)
    if not inspect.isclass(thing):
        return
    if made := getattr(vars(thing).get("__init__"), "__doc__", None):
        yield ""
        yield inspect.cleandoc(made)
    members = list(_members(thing))
    if members:
        yield ""
        yield "| member | what it is |"
        yield "|---|---|"
        yield from members


def _members(thing: type) -> Iterator[str]:
    described = _attributes(thing)
    for name, text in described.items():
        yield f"| `{name}` | {_cell_text(text)} |"
    for name, member in vars(thing).items():
        if name.startswith("_") or name in described or not inspect.getdoc(member):
            continue
        if isinstance(member, property) or inspect.isfunction(member) or hasattr(member, "func"):
            shown = f"{name}{_signature(member)}" if inspect.isfunction(member) else name
            yield f"| `{shown}` | {_cell(member)} |"


def _attributes(thing: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a class, by their names, in the order of the source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    blocks = [node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    pairs = [pair for block in blocks for pair in pairwise(block)]
    return {name: text for assigned, below in pairs if (name := _assigned(assigned)) and (text := _string(below))}


def _assigned(statement: ast.stmt) -> str:
    """Return the public name that `name = …`, `name: …` or `self.name = …` assigns, or an empty string."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(attr=name)]):
            return name if not name.startswith("_") else ""
        case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name if not name.startswith("_") else ""
    return ""


def _string(statement: ast.stmt) -> str:
    """Return the text of a statement that is only a string, or an empty string."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return ""


def _signature(thing: Any) -> str:
    if dataclasses.is_dataclass(thing) or (inspect.isclass(thing) and issubclass(thing, BaseException | str | tuple)):
        return ""
    if inspect.isclass(thing) and "__init__" not in vars(thing):
        return ""
    signature = inspect.signature(thing)
    empty = inspect.Parameter.empty
    kept = [one.replace(annotation=empty) for one in signature.parameters.values() if one.name != "self"]
    return str(signature.replace(parameters=kept, return_annotation=inspect.Signature.empty)).replace("|", "\\|")


def _doc(thing: Any) -> str:
    return inspect.cleandoc(inspect.getdoc(thing) or "")


def _cell(thing: Any) -> str:
    return _cell_text(_doc(thing))


def _cell_text(text: str) -> str:
    return " ".join(inspect.cleandoc(text).split()).replace("|", "\\|")
